"""``linear_probe``: a linear classifier on the frozen embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.evaluation.linear_probe import evaluate_linear_probe
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Labels, Reference, Shared, main_modality
from accord.evaluation.task import Options, Task

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model


def run(model: Model, prepared: Prepared, options: Options) -> list[Metric]:
    """Accuracies of a probe that is fitted on the training rows."""
    return evaluate_linear_probe(model, prepared.test, prepared.reference, main_modality(model, prepared.test))


TASK = Task(
    "linear_probe",
    measures="accuracy of a linear classifier on the frozen embeddings",
    needs=(Labels(), Shared(), Reference("label")),
    order=None,
    suggested=True,
    run=run,
)
