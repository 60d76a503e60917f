"""``accord zero-shot``: sort files into classes that are only named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accord.cli.options import Device, DeviceOption, WorkersOption
from accord.cli.runs import RunArgument

EXAMPLE = """Example:

accord zero-shot house cat.png --class cat --class dog --class bird --class fish"""


def zero_shot(
    run: RunArgument,
    items: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Pictures or recordings, or folders of them.")],
    name: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="A class to choose from; repeatable. Default: those of the run."),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option("--classes", exists=True, dir_okay=False, help="File of class names, one a line."),
    ] = None,
    templates: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Prompt templates, one a line with {} for the name."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to print for each file.")] = 1,
    device: DeviceOption = Device.auto,
    workers: WorkersOption = None,
) -> None:
    """Sort files into classes by their names alone; the model need not have been trained on them.

    Without names, the classifier of the run sorts them, if it has one, as after accord transfer. A file that cannot be
    read is left out, and named on stderr.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from accord import pipeline
    from accord.cli.output import console

    classes = [*(name or []), *([] if names is None else _lines(names))]
    table = Table(box=SIMPLE_HEAD)
    for column in ("file", "class", "probability"):
        table.add_column(column, justify="right" if column == "probability" else "left")
    for found in pipeline.zero_shot(run, items, classes, templates, device=device.value, workers=workers):
        for place, (label, share) in enumerate(found.classes[:top]):
            table.add_row(str(found.file) if place == 0 else "", label, f"{share:.2f}")
    console().print(table)


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
