"""``knn``: the classes of rows by those of their nearest neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from accord.evaluation.knn import Votes, evaluate_knn
from accord.evaluation.metric import Metric
from accord.evaluation.multi_view import ViewOptions, seen
from accord.evaluation.needs import Cannot, Labels, Reference, Shared, main_modality
from accord.evaluation.task import Task
from accord.methods.abilities import Classifies

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model


class KnnOptions(ViewOptions):
    """Options of the task."""

    k: int | None = Field(None, ge=1, description="neighbours that vote; none: 20, or all where there are fewer")
    votes: Votes = Field("weighted", description="weighted by similarity, or majority")
    recall: tuple[int, ...] = Field((), description="numbers of nearest rows among which one has the class: R@k")


def run(model: Model, prepared: Prepared, options: KnnOptions) -> list[Metric]:
    """Accuracies of the votes of training rows; of the other held-out rows where there are none."""
    reference = prepared.reference if len(prepared.reference) else None
    modality = main_modality(model, prepared.test)
    looking = seen(model, "knn", options)
    return evaluate_knn(looking, prepared.test, reference, options.k, options.votes, modality, options.recall)


TASK = Task(
    "knn",
    measures="accuracy of the nearest neighbours in embedding space",
    needs=(Labels(), Shared()),
    usual=(Cannot(Classifies), Reference("label")),
    order=40,
    options=KnnOptions,
    run=run,
)
