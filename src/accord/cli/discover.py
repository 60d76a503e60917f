"""``accord discover``: the classes that nobody has labelled yet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli import complete
from accord.cli.options import Device, DeviceOption, Given, WorkersOption, takes_columns
from accord.cli.runs import known_run

EXAMPLE = """Example:

accord discover photos.csv --labelled species --run clip:models/vit-b-32 --out runs/species

accord discover pack:emoji --modality text --out runs/kinds

accord discover runs/photos.parquet --labelled label --classes 40 --out runs/species"""
_LISTED = 40  # classes in the terminal


def optional_run(run: str | None) -> str | None:
    """The run as given, if there is a model of that name."""
    return run if run is None else known_run(run)


@takes_columns
def discover(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            autocompletion=complete.sources,
            help="A Parquet file that accord embed wrote, or any other with vectors; or what train takes.",
        ),
    ],
    labelled: Annotated[
        str | None,
        typer.Option(
            metavar="COL", help="Column with the class of some rows, empty in the others. Default: all classes are new."
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            callback=optional_run,
            autocompletion=complete.runs,
            help="What embeds DATA: folder of a run, a model that ships, or one from elsewhere (clip:FOLDER); not for "
            "vectors. Default: house, which knows drawings, where DATA hold pictures.",
        ),
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(help="What classes are found by: image, text and so on. Default: any other before text."),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(min=1, help="A first guess at the number of classes, known ones included. Default: one is made."),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=0, help="In how many parts of the rows classes are found again, for their stability.")
    ] = 5,
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder to write; new, empty, or of classes found earlier.")
    ] = Path("discovered"),
    seed: Annotated[int, typer.Option(min=0, help="Of the random starts.")] = 0,
    *,
    columns: Given,
    device: DeviceOption = Device.auto,
    workers: WorkersOption = None,
) -> None:
    """Find the classes among rows of which some are labelled, or none: how many there are, and what they show.

    Labelled rows keep their class; the others join one or form new ones, which are named by what their captions say or
    by the words nearest to them. OUT gets discover.html, classes.csv, classes.json and discovered.parquet.
    """
    from accord import pipeline
    from accord.cli.output import console

    options: dict[str, Any] = {"run": run, "modality": modality, "classes": classes, "repeats": repeats, "out": out}
    where: dict[str, Any] = {"seed": seed, "columns": columns, "device": device.value, "workers": workers}
    found = pipeline.discover(source, labelled, **options, **where)
    console().print(_table(found))
    if len(found.classes) > _LISTED:
        typer.echo(f"{len(found.classes) - _LISTED} more in {found.path / 'classes.csv'}")
    typer.echo(found.sentence())
    typer.echo(f"page: {found.page}")


def _table(found: Any) -> Any:
    """New classes, the largest first, then the known ones."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD)
    for column, justify in (("class", "left"), ("", "left"), ("rows", "right"), ("stability", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("words", overflow="fold")
    for one in sorted(found.classes, key=lambda one: not one.new)[:_LISTED]:
        stability = "" if one.stability is None else f"{one.stability:.2f}"
        words = ", ".join(word for word, _ in one.words if word != one.name)
        table.add_row(Text(one.name), "new" if one.new else "", f"{one.rows:,}", stability, Text(words))
    return table
