"""``order``: whether the order of frames reaches a classifier's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from accord.errors import ConfigError
from accord.evaluation.classification import in_classes_of
from accord.evaluation.frame_order import evaluate_order
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Can, Labels, Rows
from accord.evaluation.task import Options, Task
from accord.methods.abilities import Classifies

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model


class OrderOptions(Options):
    """Options of the task."""

    seed: int = Field(0, ge=0, description="which of the shuffled orders")


def run(model: Model, prepared: Prepared, options: OrderOptions) -> list[Metric]:
    """Accuracies with frames as they are, shuffled and reversed, and how many answers change.

    Raises:
        ConfigError: the method does not look at clips, or rows have several labels.
    """
    if "video" not in model.inputs:
        read = " and ".join(model.inputs)
        raise ConfigError(f"task order reorders the frames of clips, and {model.method.name} looks at {read}")
    if prepared.test.multi_label:
        raise ConfigError("task order asks for the one right class of a clip, and rows here may have several labels")
    return evaluate_order(model, in_classes_of(prepared.test.having("video"), model.classes), options.seed)


TASK = Task(
    "order",
    measures="top-1 of a classifier of clips with the frames as they are, shuffled and reversed, and the share of "
    "answers that change",
    needs=(Can(Classifies), Labels(known=True), Rows("video")),
    order=None,
    options=OrderOptions,
    run=run,
)
