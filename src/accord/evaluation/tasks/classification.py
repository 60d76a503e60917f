"""``classification``: a method's own classifier against the labels, compared by the names of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.evaluation.classification import evaluate_classification, in_classes_of
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Can, Labels, Subjects
from accord.evaluation.tasks import Options, Task
from accord.methods.abilities import Classifies

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.artifact import Model


def run(model: Model, prepared: Prepared, options: Options) -> list[Metric]:
    """Accuracies of the rows that have what the method looks at."""
    test = prepared.test.having(*model.method.subjects)
    return evaluate_classification(model.classify(test), in_classes_of(test, model.classes))


TASK = Task(
    "classification",
    measures="top-1, top-5 and macro accuracy of the method's own classifier; mAP where rows have several labels",
    needs=(Can(Classifies), Labels(), Subjects()),
    usual=(Labels(known=True),),
    order=10,
    run=run,
)
