"""``accord diagnose``: how a model's embeddings lie."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accord.cli.options import (
    Device,
    DeviceOption,
    Given,
    takes_columns,
)
from accord.cli.runs import RunArgument

EXAMPLE = """Example:

accord diagnose runs/first --figure runs/gap.png"""


@takes_columns
def diagnose(
    run: RunArgument,
    source: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="Other data than the run's own held-out rows.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(dir_okay=False, help="PNG that shows both modalities and the cosines of pairs.")
    ] = None,
    *,
    columns: Given,
    device: DeviceOption = Device.auto,
) -> None:
    """Say how embeddings fill their space, how far modalities lie apart, and what closing the gap afterwards gives."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from accord import pipeline
    from accord.cli.output import console

    table = Table(box=SIMPLE_HEAD)
    for column, justify in (("what", "left"), ("value", "right"), ("how to read it", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for item in pipeline.diagnose(run, source, figure, columns=columns, device=device.value):
        table.add_row(item.name, f"{item.value:.2f}", item.meaning)
    console().print(table)
    if figure is not None:
        typer.echo(f"figure: {figure}")
