"""``classification``: a method's own classifier against the labels, compared by the names of classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field
from torch import Tensor

from accord.evaluation.classification import (
    Classification,
    evaluate_classification,
    in_classes_of,
    labelled_rows,
    score_classes,
)
from accord.evaluation.metric import Metric
from accord.evaluation.multi_view import multi_view_scores
from accord.evaluation.needs import Can, Labels, Subjects
from accord.evaluation.sections import Classes, ClassRow, Confusion, Item, Section
from accord.evaluation.task import Options, Task
from accord.methods.abilities import Classifies

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.data.recipe import Prepared
    from accord.training.model import Model

_SHOWN = 4  # rows of a class, right and wrong


class ClassificationOptions(Options):
    """Options of the task."""

    clips: int = Field(1, ge=1, description="moments at which a clip is looked at, whose answers are summed; papers: 4")
    crops: int = Field(1, ge=1, description="places along the longer side of its frames, likewise; papers: 3")


def run(model: Model, prepared: Prepared, options: ClassificationOptions) -> list[Metric]:
    """Accuracies of the rows that have what the method looks at."""
    test = prepared.test.having(*model.method.subjects_of(prepared.test.columns.readable))
    return evaluate_classification(_scores(model, test, options), in_classes_of(test, model.classes))


def _scores(model: Model, test: Corpus, options: ClassificationOptions) -> Tensor:
    """The classifier's logits, or sums over several views."""
    clips, crops = options.clips, options.crops
    if clips == crops == 1:
        return model.classify(test)
    return model.once(test, f"{clips} x {crops} views", lambda: multi_view_scores(model, test, clips, crops))


def shows(model: Model, prepared: Prepared, options: ClassificationOptions) -> Iterator[Section]:
    """What is taken for what, and how well each class is known; nothing where rows have several labels."""
    test = labelled_rows(
        in_classes_of(prepared.test.having(*model.method.subjects_of(prepared.test.columns.readable)), model.classes)
    )
    if test.labels is None or test.multi_label or not len(test):
        return
    outcome = score_classes(_scores(model, test, options), test.labels, test.classes, test.groups())
    yield Confusion(tuple(outcome.classes), outcome.confusion.tolist())
    yield Classes(tuple(_of_class(metric, outcome) for metric in outcome.per_class()), corpus=test)


def _of_class(metric: Metric, outcome: Classification) -> ClassRow:
    index = outcome.classes.index(metric.name)
    mine = np.flatnonzero(outcome.labels == index)
    right = mine[outcome.predicted[mine] == index][:_SHOWN]
    wrong = mine[outcome.predicted[mine] != index][:_SHOWN]
    return ClassRow(
        metric.name,
        metric.value,
        len(mine),
        right=tuple(Item(row=int(row)) for row in right),
        wrong=tuple(Item(row=int(row), text=outcome.classes[outcome.predicted[row]]) for row in wrong),
    )


TASK = Task(
    "classification",
    measures="top-1, top-5 and macro accuracy of the method's own classifier; mAP where rows have several labels",
    needs=(Can(Classifies), Labels(), Subjects()),
    usual=(Labels(known=True),),
    order=10,
    options=ClassificationOptions,
    run=run,
    shows=shows,
)
