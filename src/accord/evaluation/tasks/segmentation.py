"""``segmentation``: what the features of cells say about masks, and how well a method's own parts fit them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.evaluation.dense import evaluate_segmentation
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Maps, Reference, Rows
from accord.evaluation.task import Options, Task

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model


def run(model: Model, prepared: Prepared, options: Options) -> list[Metric]:
    """Scores of a probe on single cells, and of parts."""
    return evaluate_segmentation(model, prepared.test.having("image"), prepared.reference.having("image"))


TASK = Task(
    "segmentation",
    measures="mIoU of a linear probe on single cells of the feature map, nearest cells in other pictures; parts that a "
    "method finds by itself",
    needs=(Rows("image", "mask"), Maps(), Reference("mask")),
    order=70,
    run=run,
)
