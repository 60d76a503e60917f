"""``linear_probe``: a linear classifier on the frozen embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.evaluation.linear_probe import evaluate_linear_probe
from accord.evaluation.metric import Metric
from accord.evaluation.multi_view import ViewOptions, seen
from accord.evaluation.needs import Labels, Reference, Shared, main_modality
from accord.evaluation.task import Task

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model


def run(model: Model, prepared: Prepared, options: ViewOptions) -> list[Metric]:
    """Accuracies of a probe that is fitted on the training rows."""
    looking, modality = seen(model, "linear_probe", options), main_modality(model, prepared.test)
    return evaluate_linear_probe(looking, prepared.test, prepared.reference, modality)


TASK = Task(
    "linear_probe",
    measures="accuracy of a linear classifier on the frozen embeddings",
    needs=(Labels(), Shared(), Reference("label")),
    order=None,
    suggested=True,
    options=ViewOptions,
    run=run,
)
