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

accord probe vectors.parquet --label species --json numbers.json"""


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
            callback=run_or_table,
            autocompletion=complete.runs_and_tables,
            help="Folder of a trained run, a model that ships (house), one from elsewhere (clip:FOLDER), or a Parquet "
            "file with vectors.",
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
    *,
    columns: Given,
    device: DeviceOption = Device.auto,
    workers: WorkersOption = None,
) -> None:
    """Say how embeddings fill their space, how far modalities and classes lie apart, and what they do not tell."""
    from accord import pipeline
    from accord.cli.output import show_diagnostics

    chosen: dict[str, Any] = {"measures": measure or (), "factors": factor or (), "json_file": json, "seed": seed}
    chosen |= {"columns": columns, "device": device.value, "workers": workers}
    show_diagnostics(pipeline.probe(run, source, figure, **chosen))
    for what, written in (("figure", figure), ("numbers", json)):
        if written is not None:
            typer.echo(f"{what}: {written}")
