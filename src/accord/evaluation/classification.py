"""Classification from logits: top-1, top-5, macro and per-class accuracy, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from accord.errors import DataError, ShapeError
from accord.evaluation.embedder import check_finite
from accord.evaluation.metric import Metric, mean_metric, ratio_metric
from accord.evaluation.multilabel import multilabel_metrics

if TYPE_CHECKING:
    from accord.data.corpus import Corpus


@dataclass(frozen=True)
class Classification:
    """Outcome of a single-label classification.

    Args:
        labels: ``(N,)`` true classes.
        predicted: ``(N,)`` most likely classes.
        in_top5: ``(N,)`` bool, the true class is among the five most likely; None with five classes or fewer.
        classes: class names.
        groups: ``(N,)`` rows resampled together, or None.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    in_top5: NDArray[np.bool_] | None
    classes: tuple[str, ...]
    groups: NDArray[Any] | None = None

    @property
    def confusion(self) -> NDArray[np.int64]:
        """``(C, C)`` counts: row is the true class, column the predicted one."""
        from torchmetrics.functional.classification import multiclass_confusion_matrix

        predicted, labels = torch.from_numpy(self.predicted), torch.from_numpy(self.labels)
        counts = multiclass_confusion_matrix(predicted, labels, num_classes=max(len(self.classes), 2))
        return np.asarray(counts.numpy()[: len(self.classes), : len(self.classes)], dtype=np.int64)

    def metrics(self) -> list[Metric]:
        """Top-1, top-5 (with more than five classes) and macro accuracy; chance is a uniform guess."""
        chance = 100 / len(self.classes)
        right = self.predicted == self.labels
        metrics = [mean_metric("top-1", right, chance=chance, groups=self.groups)]
        if self.in_top5 is not None:
            metrics.append(mean_metric("top-5", self.in_top5, chance=5 * chance, groups=self.groups))
        present = np.unique(self.labels)
        of_class = (self.labels[:, None] == present).astype(np.float64)  # (N, P)
        macro = ratio_metric(
            "macro accuracy",
            np.concatenate([of_class * right[:, None], of_class], axis=1),
            lambda totals: 100 * _nanmean(totals[:, : len(present)] / totals[:, len(present) :]),
            chance=chance,
            groups=self.groups,
        )
        return [*metrics, macro]

    def per_class(self) -> list[Metric]:
        """Accuracy on the rows of each class that occurs, named after the class."""
        right = self.predicted == self.labels
        rows = [self.labels == index for index in range(len(self.classes))]
        return [
            mean_metric(
                name,
                right[mine],
                chance=100 / len(self.classes),
                groups=None if self.groups is None else self.groups[mine],
            )
            for name, mine in zip(self.classes, rows, strict=True)
            if mine.any()
        ]


def in_classes_of(corpus: Corpus, classes: tuple[str, ...]) -> Corpus:
    """The corpus with its labels as numbers, or columns, of a classifier's classes, which have to include its own.

    Other data may hold the classes in another order, or some of them only.

    Raises:
        DataError: it has a class that the classifier does not know.
    """
    if corpus.classes == classes:
        return corpus
    unknown = sorted(set(corpus.classes) - set(classes))
    if unknown:
        raise DataError(
            f"{corpus.name} has {len(unknown)} classes that the model was not trained on (the first: {unknown[0]!r}): "
            "evaluate by another task, such as --task zero_shot"
        )
    place = np.array([classes.index(name) for name in corpus.classes])
    labels = np.asarray(corpus.labels)
    if labels.ndim == 1:
        return corpus.with_labels(np.where(labels < 0, -1, place[labels]), classes=classes)
    wide = np.zeros((len(corpus), len(classes)), dtype=labels.dtype)
    wide[:, place] = labels
    return corpus.with_labels(wide, classes=classes)


def score_classes(
    logits: Tensor, labels: ArrayLike, classes: Sequence[str] = (), groups: ArrayLike | None = None
) -> Classification:
    """Compare logits with the true classes.

    Args:
        logits: ``(N, C)``; equal logits are not forgiven, the first of them is predicted.
        labels: ``(N,)`` true classes in [0, C).
        classes: C names; empty numbers them.
        groups: ``(N,)`` rows resampled together.

    Raises:
        ShapeError: sizes disagree or a label is out of range.
        DataError: logits are not finite.

    Example:
        >>> outcome = score_classes(torch.eye(3), [0, 1, 0])
        >>> outcome.predicted, outcome.confusion[0]
        (array([0, 1, 2]), array([1, 0, 1]))
    """
    truth = np.asarray(labels, dtype=np.int64)
    if logits.ndim != 2 or len(logits) != len(truth):
        raise ShapeError(f"logits: shape {tuple(logits.shape)} for {len(truth)} labels; expected (N, C)")
    count = logits.shape[1]
    if len(truth) and not (truth.min() >= 0 and truth.max() < count):
        raise ShapeError(f"labels reach from {truth.min()} to {truth.max()}; the logits have {count} classes")
    check_finite("logits", logits)
    order = logits.argsort(dim=1, descending=True, stable=True)[:, :5].cpu().numpy()
    return Classification(
        labels=truth,
        predicted=order[:, 0],
        in_top5=(order == truth[:, None]).any(axis=1) if count > 5 else None,
        classes=tuple(classes) or tuple(str(index) for index in range(count)),
        groups=None if groups is None else np.asarray(groups),
    )


def given_labels(corpus: Corpus) -> NDArray[np.int64]:
    """The labels that came with the corpus: ``(N,)`` classes, -1 for none of them, or ``(N, C)`` multi-hot.

    Raises:
        DataError: the corpus has no labels.
    """
    if corpus.labels is None:
        raise DataError(f"{corpus.name} has no labels; name the column that holds them, for example --label class")
    return np.asarray(corpus.labels, dtype=np.int64)


def labelled_rows(corpus: Corpus) -> Corpus:
    """The rows that bear one of the classes; all where a row may bear several."""
    if corpus.labels is None or not corpus.unlabelled:
        return corpus
    return corpus.select(np.flatnonzero(corpus.labels >= 0))


def check_same_classes(corpus: Corpus, reference: Corpus) -> None:
    """Refuse a reference whose class indices would mean something else, or that has no rows.

    Raises:
        DataError: the reference is empty, or the classes differ; names one.
    """
    if not len(reference):
        raise DataError("there are no training rows to learn the classes from; evaluate on the run's own data")
    if corpus.classes != reference.classes:
        alien = sorted(set(corpus.classes) ^ set(reference.classes)) or ["the order"]
        raise DataError(
            f"{corpus.name} and {reference.name} have different classes ({alien[0]}): open both with the same classes"
        )


def scored_rows(corpus: Corpus) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of a corpus that can be scored and what they are scored against.

    The hidden truth where it is known, the given labels otherwise; rows of none of the classes are left out.

    Returns:
        Positions ``(n,)`` and labels ``(n,)``, or ``(n, C)`` for a multi-label corpus.

    Raises:
        DataError: the corpus has no labels.
    """
    given = given_labels(corpus)
    labels = given if corpus.truth is None else np.asarray(corpus.truth, dtype=np.int64)
    rows = np.arange(len(labels)) if labels.ndim == 2 else np.flatnonzero(labels >= 0)
    return rows, labels[rows]


def evaluate_classification(logits: Tensor, corpus: Corpus) -> list[Metric]:
    """Metrics of a classifier's logits over a corpus, against the hidden truth where it is known.

    Args:
        logits: ``(N, C)``, one row per row of the corpus.
        corpus: labelled; its groups are resampled together.
    """
    rows, labels = scored_rows(corpus)
    return label_metrics(logits[torch.from_numpy(rows)], labels, corpus.classes, group_rows(corpus, rows))


def label_metrics(
    scores: Tensor, labels: ArrayLike, classes: Sequence[str], groups: ArrayLike | None = None
) -> list[Metric]:
    """Single-label metrics for labels ``(N,)``, multi-label metrics at the top 3 for labels ``(N, C)``."""
    truth = np.asarray(labels)
    if truth.ndim == 2:
        return multilabel_metrics(scores, truth, k=min(3, truth.shape[1]), groups=groups)
    return score_classes(scores, truth, classes, groups).metrics()


def group_rows(corpus: Corpus, rows: NDArray[np.int64]) -> NDArray[np.str_] | None:
    """Groups of these rows, or None for a corpus without groups."""
    groups = corpus.groups()
    return None if groups is None else groups[rows]


def _nanmean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row means without the undefined entries; a class that a resample did not draw counts neither way."""
    defined = ~np.isnan(values)
    return np.asarray(np.where(defined, values, 0).sum(axis=1) / np.maximum(defined.sum(axis=1), 1))
