"""``few_labels``: classification from a few labels of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from accord.evaluation.few_labels import DRAWS, PER_CLASS, evaluate_few_labels
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Embeds, Labels, Reference, Shared, main_modality
from accord.evaluation.task import Options, Task

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model


class FewLabelsOptions(Options):
    """Options of the task."""

    per_class: tuple[int, ...] = Field(PER_CLASS, min_length=1, description="labels of each class")
    draws: int = Field(DRAWS, ge=1, description="how often they are drawn")


def run(model: Model, prepared: Prepared, options: FewLabelsOptions) -> list[Metric]:
    """F1 and AUC of probes that are fitted on so many labels."""
    test, modality = prepared.test, main_modality(model, prepared.test)
    return evaluate_few_labels(model, test, prepared.reference, modality, options.per_class, options.draws)


TASK = Task(
    "few_labels",
    measures="macro-F1, micro-F1 and AUC of a linear classifier from 20, 40 and 60 labels of each class, ten draws",
    needs=(Labels(), Shared(), Reference("label")),
    usual=(Embeds("graph"),),
    order=80,
    options=FewLabelsOptions,
    run=run,
)
