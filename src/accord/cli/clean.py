"""``accord clean``: which rows are wrong, and what would be right; ``accord clean apply``: the table without them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli import complete
from accord.cli.options import Device, DeviceOption, Given, WorkersOption, takes_columns
from accord.cli.runs import known_run
from accord.cli.settings import parse_settings

EXAMPLE = """Example:

accord clean pack:emoji --out runs/clean-emoji

accord clean photos.csv --image file --text title --run clip:models/vit-b-32

accord clean runs/emoji.parquet

accord clean pictures --method capro --set method.vanilla_epochs=10

Then decide on the page review.html, save the decisions, and: accord clean apply runs/clean-emoji decisions.json"""

APPLY_EXAMPLE = """Example:

accord clean apply runs/clean-emoji decisions.json --out runs/cleaned.parquet"""


@takes_columns
def clean(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            autocompletion=complete.sources,
            help="What to judge: anything that train takes, or a Parquet file of embeddings. It is not changed.",
        ),
    ],
    run: Annotated[
        str | None,
        typer.Option(
            callback=lambda run: run and known_run(run),
            autocompletion=complete.runs,
            help="The model to judge by: folder of a run, house, clip:FOLDER. Default: the file's vectors, or house.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete.method_names,
            help="Instead of --run: train this method, which judges rows, on DATA.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder to write. Default: runs/clean-DATA."),
    ] = None,
    review: Annotated[int, typer.Option(min=0, help="How many doubted rows the review page shows.")] = 1000,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="With --method: a setting of its training; repeatable."),
    ] = None,
    *,
    columns: Given,
    device: DeviceOption = Device.auto,
    workers: WorkersOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Find pairs that do not belong together and labels that are wrong; propose what is right, and say why.

    Writes clean.parquet, and review.html, on which to accept or reject each proposal; `accord clean apply` then writes
    the corrected table.
    """
    from accord import pipeline

    how: dict[str, Any] = {"columns": columns, "review": review, "device": device.value, "workers": workers}
    how |= {"method": method, "out": out, "settings": parse_settings(settings or ()), "progress": not quiet}
    found = pipeline.clean(source, run, **how)
    for line in found.sentences():
        typer.echo(line)
    typer.echo(f"rows:   {found.path / 'clean.parquet'}")
    typer.echo(f"review: {found.review}")
    typer.echo(f"next:   accord clean apply {found.path} decisions.json --out cleaned.parquet")


def apply(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", exists=True, file_okay=False, help="What accord clean wrote.")
    ],
    decisions: Annotated[
        Path | None,
        typer.Argument(
            metavar="DECISIONS",
            exists=True,
            dir_okay=False,
            help="File that the review page saved. Default: accept every proposal, drop other doubted rows.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(dir_okay=False, help="Table to write, .parquet or .csv; the data stay as they are.")
    ] = Path("cleaned.parquet"),
) -> None:
    """Write a new table with the accepted corrections, without the dropped rows; the data themselves stay unchanged."""
    from accord import pipeline

    done = pipeline.apply_decisions(folder, decisions, out=out)
    typer.echo(
        f"{done.rows:,} rows: {done.corrected:,} corrected, {done.dropped:,} dropped, {done.undecided:,} undecided"
    )
    if done.unjudged:
        typer.echo(
            f"{done.unjudged:,} of them were not judged, such as rows that could not be read, and are as they were"
        )
    typer.echo(f"table:  {done.path}")
