"""``correspondence``: whether the cells of two pictures of one thing find each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.evaluation.correspondence import evaluate_correspondence
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Maps, Rows
from accord.evaluation.task import Options, Task

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model


def run(model: Model, prepared: Prepared, options: Options) -> list[Metric]:
    """Shares of cells that are found at their place."""
    return evaluate_correspondence(model, prepared.test)


TASK = Task(
    "correspondence",
    measures="how often a cell's nearest cell in another picture of the same thing lies at the same place",
    needs=(Maps(), Rows("image", "group")),
    order=None,  # layouts that agree are for people to say
    run=run,
)
