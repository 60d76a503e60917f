"""``accord evaluate``: score a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli import complete
from accord.cli.options import (
    Device,
    DeviceOption,
    Given,
    WorkersOption,
    takes_columns,
)
from accord.cli.runs import RunArgument
from accord.cli.settings import parse_settings
from accord.errors import no_such
from accord.evaluation.tasks import task_names

EXAMPLE = """Example:

accord evaluate runs/first --task retrieval --task zero_shot --set zero_shot.templates=drawing

accord evaluate runs/first photos.csv --image file --text title --label kind

accord evaluate clip:models/vit-b-32 photos.csv --text title"""


def known_tasks(names: list[str] | None) -> list[str] | None:
    """The tasks as given, if there are tasks of those names."""
    unknown = [name for name in names or () if name not in task_names()]
    if unknown:
        raise typer.BadParameter(no_such("task", unknown[0], task_names()))
    return names


@takes_columns
def evaluate(
    run: RunArgument,
    source: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="Other data than the run's own held-out rows.")
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK",
            callback=known_tasks,
            autocompletion=complete.task_names,
            help=f"What to score: {', '.join(task_names())}; repeatable. Default: all that the data allow.",
        ),
    ] = None,
    templates: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Prompt templates for zero_shot: one line each, with {}."),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Items that a second stage scores for each query, in tasks that have one; 0 leaves it out.",
        ),
    ] = None,
    examples: Annotated[
        int,
        typer.Option(min=0, help="Captions of training rows that stand for their class beside its name in zero_shot."),
    ] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TASK.OPTION=VALUE", help="Any option of a task, e.g. knn.k=5; repeatable."),
    ] = None,
    *,
    columns: Given,
    device: DeviceOption = Device.auto,
    workers: WorkersOption = None,
) -> None:
    """Score a trained model, with a 95 % interval and the chance level beside every number."""
    from accord import pipeline
    from accord.cli.output import show_metrics

    options: dict[str, Any] = {"templates": templates, "candidates": candidates, "examples": examples}
    options |= {
        "settings": parse_settings(settings or ()),
        "columns": columns,
        "device": device.value,
        "workers": workers,
    }
    show_metrics(pipeline.evaluate(run, source, tasks=task or (), **options))
