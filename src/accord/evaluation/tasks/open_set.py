"""``open_set``: whether a method's own classifier is less sure of rows that belong to none of its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from accord.evaluation.classification import group_rows, in_classes_of
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Can, Labels, Subjects, Unlabelled
from accord.evaluation.open_set import OpenSet, open_set_sweep
from accord.evaluation.sections import Curves
from accord.evaluation.task import Options, Task
from accord.methods.abilities import Classifies

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model


def run(model: Model, prepared: Prepared, options: Options) -> list[Metric]:
    """How well confidence tells known rows from unknown ones."""
    return [_swept(model, prepared).separation]


def shows(model: Model, prepared: Prepared, options: Options) -> list[Curves]:
    """Known rows that are still right and unknown ones that are rejected, over the threshold."""
    sweep = _swept(model, prepared)
    lines = {
        "known rows right": list(zip(sweep.thresholds.tolist(), sweep.known.tolist(), strict=True)),
        "unknown rows rejected": list(zip(sweep.thresholds.tolist(), sweep.unknown.tolist(), strict=True)),
    }
    lead = "A row whose likeliest class is less probable than the threshold is called unknown."
    return [Curves(lead, lines, x="threshold", y="percent of rows", title="Open set")]


def _swept(model: Model, prepared: Prepared) -> OpenSet:
    test = in_classes_of(prepared.test.having(*model.method.subjects_of(prepared.test.columns.readable)), model.classes)
    labels = np.asarray(test.labels if test.truth is None else test.truth)
    return open_set_sweep(model.classify(test), labels, group_rows(test, np.arange(len(test))))


TASK = Task(
    "open_set",
    measures="AUROC of the classifier's confidence between rows of its classes and rows of none",
    needs=(Can(Classifies), Labels(known=True), Unlabelled(), Subjects()),
    order=None,  # a row without a label need not be one of none of the classes: people have to say so
    run=run,
    shows=shows,
)
