"""``accord probe``: how embeddings lie, and what they tell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli import complete
from accord.cli.options import Device, DeviceOption, Given, WorkersOption, takes_columns
from accord.cli.runs import run_or_table
from accord.diagnostics.measures import measure_names
from accord.errors import no_such

EXAMPLE = """Example:

accord probe runs/first --figure runs/first.png

accord probe runs/first photos.csv --label kind --factor colour --factor weight

accord probe vectors.parquet --label species --json numbers.json

accord probe video:frames:efficientnet_lite0 clips.csv --against text:minilm --layers --frames 1,2,4,8"""
AGAINST = "Against another model"


def run_table_or_encoder(name: str) -> str:
    """The name as given, if there is a run, a table or an encoder of that name."""
    from accord.encoders.registry import modalities

    modality, _, encoder = name.partition(":")
    return name if encoder and modality in modalities() else run_or_table(name)


def counts(given: str | None) -> tuple[int, ...]:
    """Numbers from 1 that are written with commas between them."""
    try:
        found = tuple(int(part) for part in (given or "").split(",") if part.strip())
    except ValueError:
        found = (0,)
    if any(number < 1 for number in found):
        raise typer.BadParameter(f"{given!r}: expected numbers from 1 with commas between them, such as 1,2,4,8")
    return found


def known_measures(names: list[str] | None) -> list[str] | None:
    """The measures as given, if there are measures of those names."""
    unknown = [name for name in names or () if name not in measure_names()]
    if unknown:
        raise typer.BadParameter(no_such("measure", unknown[0], measure_names()))
    return names


@takes_columns
def probe(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN|PARQUET",
            callback=run_table_or_encoder,
            autocompletion=complete.runs_and_tables,
            help="Folder of a trained run, a model that ships (house), one from elsewhere (clip:FOLDER), or a Parquet "
            "file with vectors; with --against also MODALITY:ENCODER.",
        ),
    ],
    source: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="Other data than the run's own held-out rows.")
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MEASURE",
            callback=known_measures,
            autocompletion=complete.measure_names,
            help=f"What to measure: {', '.join(measure_names())}; repeatable. Default: all that fit.",
        ),
    ] = None,
    factor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COL",
            help="A column that says more of the rows, of words or numbers: do the embeddings tell it? Repeatable.",
        ),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(dir_okay=False, help="PNG, SVG or PDF that shows what was measured.")
    ] = None,
    json: Annotated[Path | None, typer.Option(dir_okay=False, help="JSON file for the numbers.")] = None,
    seed: Annotated[int, typer.Option(help="Draws rows where there are many, and splits.")] = 0,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|PARQUET|MODALITY:ENCODER",
            callback=lambda name: None if name is None else run_table_or_encoder(name),
            autocompletion=complete.runs_and_tables,
            rich_help_panel=AGAINST,
            help="Another model: do both find the same rows alike? Mutual nearest neighbours, and CKA.",
        ),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", rich_help_panel=AGAINST, help="Every layer of encoders.")] = False,
    frames: Annotated[
        str | None, typer.Option(metavar="N,N,…", rich_help_panel=AGAINST, help="Frames that clips are shown with.")
    ] = None,
    captions: Annotated[
        str | None, typer.Option(metavar="N,N,…", rich_help_panel=AGAINST, help="Captions that rows are shown with.")
    ] = None,
    neighbours: Annotated[int, typer.Option(min=1, rich_help_panel=AGAINST, help="Nearest rows compared.")] = 10,
    most: Annotated[
        int, typer.Option("--rows", min=3, rich_help_panel=AGAINST, help="Rows looked at, at most.")
    ] = 1024,
    *,
    columns: Given,
    device: DeviceOption = Device.auto,
    workers: WorkersOption = None,
) -> None:
    """Say how embeddings fill their space, how far modalities and classes lie apart, and what they do not tell."""
    from accord import pipeline
    from accord.cli.output import show_diagnostics

    common: dict[str, Any] = {"json_file": json, "seed": seed, "columns": columns}
    common |= {"device": device.value, "workers": workers}
    if against is None:
        if given := _given(layers=layers, frames=frames, captions=captions):
            raise typer.BadParameter(f"{given} is about two models: name the other one with --against")
        numbers = pipeline.probe(run, source, figure, measures=measure or (), factors=factor or (), **common)
    else:
        if given := _given(measure=measure, factor=factor):
            raise typer.BadParameter(f"{given} is about one model: leave --against out")
        shown: dict[str, Any] = {"layers": layers, "frames": counts(frames), "captions": counts(captions)}
        numbers = pipeline.agreement(run, against, source, figure, k=neighbours, rows=most, **shown, **common)
    show_diagnostics(numbers)
    for what, written in (("figure", figure), ("numbers", json)):
        if written is not None:
            typer.echo(f"{what}: {written}")


def _given(**options: object) -> str:
    """The first option that was given, as it is written."""
    return next((f"--{name}" for name, value in options.items() if value), "")
