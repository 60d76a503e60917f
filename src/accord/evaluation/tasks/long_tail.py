"""``long_tail``: average precision of labels by how many training rows have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field

from accord.evaluation.classification import group_rows, in_classes_of, scored_rows
from accord.evaluation.long_tail import bucketed_average_precision
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Labels, Reference, Shared, main_modality
from accord.evaluation.task import Options, Task
from accord.evaluation.zero_shot import class_scores
from accord.methods.abilities import Classifies, MatchesLabels

if TYPE_CHECKING:
    from torch import Tensor

    from accord.data.corpus import Corpus
    from accord.data.recipe import Prepared
    from accord.training.model import Model


class LongTailOptions(Options):
    """Options of the task."""

    buckets: int = Field(5, ge=1, description="buckets of as many labels each, by their training rows")


def run(model: Model, prepared: Prepared, options: LongTailOptions) -> list[Metric]:
    """Precisions of the frequent, the rare and the unseen labels."""
    test = prepared.test.having(main_modality(model, prepared.test))
    rows, labels = scored_rows(test)
    target = labels if labels.ndim == 2 else np.eye(len(test.classes), dtype=np.int64)[labels]
    scores = _scores(model, test)[torch.from_numpy(rows)]
    counts = _counts(prepared.reference, test.classes)
    return bucketed_average_precision(scores, target, counts, options.buckets, group_rows(test, rows))


def _scores(model: Model, test: Corpus) -> Tensor:
    """Of each row with each class: by the method's own classifier where it knows all of them, else by their names."""
    known = set(test.classes) <= set(model.classes)
    if model.can(Classifies) and known and not model.can(MatchesLabels):
        logits = model.classify(test)
        return logits[:, [model.classes.index(name) for name in test.classes]]
    return class_scores(model, test, test.classes, modality=main_modality(model, test))


def _counts(reference: Corpus, classes: tuple[str, ...]) -> np.ndarray:
    """Training rows of each class."""
    given = in_classes_of(reference, classes).labels if set(reference.classes) <= set(classes) else reference.labels
    labels = np.asarray(given)
    if labels.ndim == 2:
        return np.asarray(labels.sum(axis=0))
    return np.bincount(labels[labels >= 0], minlength=len(classes))


TASK = Task(
    "long_tail",
    measures="micro and macro average precision of frequent, rarer and unseen labels, by their training rows",
    needs=(Labels(), Shared(), Reference("label")),
    order=None,
    options=LongTailOptions,
    run=run,
)
