"""``accord evaluate``: score a trained model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from accord.cli.options import (
    AudioColumn,
    Device,
    DeviceOption,
    GraphColumns,
    GroupColumn,
    ImageColumn,
    LabelColumn,
    TextColumns,
    VideoColumn,
    given,
)
from accord.cli.runs import RunArgument

EXAMPLE = """Example:

accord evaluate runs/first --task retrieval --task zero_shot

accord evaluate runs/first photos.csv --image file --text title --label kind"""


class Task(StrEnum):
    """What a model can be scored on."""

    retrieval = "retrieval"
    zero_shot = "zero_shot"
    classification = "classification"
    knn = "knn"
    linear_probe = "linear_probe"
    captions = "captions"
    joint = "joint"
    segmentation = "segmentation"
    few_labels = "few_labels"
    clustering = "clustering"
    correspondence = "correspondence"


def evaluate(
    run: RunArgument,
    source: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="Other data than the run's own held-out rows.")
    ] = None,
    task: Annotated[
        list[Task] | None, typer.Option(help="What to score; repeatable. Default: all that the data allow.")
    ] = None,
    templates: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Prompt templates for zero_shot: one line each, with {}."),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Items that a second stage scores for each query: 128 in retrieval (filip, tcl), 0 in joint (gram).",
        ),
    ] = None,
    examples: Annotated[
        int,
        typer.Option(min=0, help="Captions of training rows that stand for their class beside its name in zero_shot."),
    ] = 0,
    image: ImageColumn = None,
    text: TextColumns = None,
    label: LabelColumn = None,
    video: VideoColumn = None,
    audio: AudioColumn = None,
    group: GroupColumn = None,
    graph: GraphColumns = None,
    device: DeviceOption = Device.auto,
) -> None:
    """Score a trained model, with a 95 % interval and the chance level beside every number."""
    from accord import pipeline
    from accord.cli.output import show_metrics

    tasks = [item.value for item in task or ()]
    columns = given(image=image, text=text, label=label, video=video, audio=audio, group=group, graph=graph)
    options = {"templates": templates, "candidates": candidates, "examples": examples, "device": device.value}
    show_metrics(pipeline.evaluate(run, source, tasks=tasks, columns=columns, **options))  # type: ignore[arg-type]
