"""``joint``: retrieval among three and more modalities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from accord.evaluation.joint import evaluate_joint
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Shared
from accord.evaluation.task import Options, Task

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model


class JointOptions(Options):
    """Options of the task."""

    candidates: int = Field(0, ge=0, description="tuples that a matching head scores for each query; 0: none")


def run(model: Model, prepared: Prepared, options: JointOptions) -> list[Metric]:
    """Recalls in all directions."""
    return evaluate_joint(model, prepared.test, options.candidates)


TASK = Task(
    "joint",
    measures="recall of each modality from all others together, and back",
    needs=(Shared(at_least=3),),
    order=60,
    options=JointOptions,
    run=run,
)
