"""``accord diagnose``: how a model's embeddings lie."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli import complete
from accord.cli.options import Device, DeviceOption, Given, WorkersOption, takes_columns
from accord.cli.runs import RunArgument
from accord.diagnostics.measures import measure_names
from accord.errors import no_such

EXAMPLE = """Example:

accord diagnose runs/first --figure runs/gap.png"""


def known_measures(names: list[str] | None) -> list[str] | None:
    """The measures as given, if there are measures of those names."""
    unknown = [name for name in names or () if name not in measure_names()]
    if unknown:
        raise typer.BadParameter(no_such("measure", unknown[0], measure_names()))
    return names


@takes_columns
def diagnose(
    run: RunArgument,
    source: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="Other data than the run's own held-out rows.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(dir_okay=False, help="PNG that shows both modalities and the cosines of pairs.")
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
    *,
    columns: Given,
    device: DeviceOption = Device.auto,
    workers: WorkersOption = None,
) -> None:
    """Say how embeddings fill their space, how far modalities lie apart, and what closing the gap afterwards gives."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from accord import pipeline
    from accord.cli.output import console

    table = Table(box=SIMPLE_HEAD)
    for column, justify in (("what", "left"), ("value", "right"), ("how to read it", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    chosen: dict[str, Any] = {"measures": measure or (), "columns": columns, "device": device.value, "workers": workers}
    for item in pipeline.diagnose(run, source, figure, **chosen):
        table.add_row(item.name, f"{item.value:.2f}", item.meaning)
    console().print(table)
    if figure is not None:
        typer.echo(f"figure: {figure}")
