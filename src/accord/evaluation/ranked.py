"""Area under the curve of precision over recall, by trapezoids, with intervals over recordings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from accord.evaluation.bootstrap import bootstrap_totals, percentile_interval
from accord.evaluation.metric import Metric

Floats = NDArray[np.float64]
_DRAWN = 200  # points of a curve that is drawn


def pr_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under precision over recall, by trapezoids; NaN where nothing is positive.

    As videos with weak labels are scored (Wu et al. 2020, XD-Violence). Average precision counts steps instead, and is
    a little lower where scores are few.

    Args:
        labels: ``(N,)`` true where positive.
        scores: ``(N,)``, higher where surer; equal ones count together.

    Example:
        >>> pr_auc([1, 0, 1], [0.9, 0.8, 0.7])
        0.7916666666666666
    """
    truth, order = np.asarray(labels, dtype=bool), _Order(np.asarray(scores, dtype=np.float64))
    return float(order.area(order.counts(truth).sum(axis=1)[None])[0])


def pr_metric(name: str, labels: ArrayLike, scores: ArrayLike, groups: ArrayLike) -> Metric:
    """:func:`pr_auc` in percent with its 95 % interval over groups; chance is the share of positives.

    Args:
        name: name of the metric.
        labels: ``(N,)`` true where positive.
        scores: ``(N,)``.
        groups: ``(N,)`` items of equal value are drawn together.

    Example:
        >>> str(pr_metric("AP", [1, 0, 1, 0], [0.9, 0.1, 0.8, 0.2], [0, 0, 1, 1]))
        'AP 100.0 % [100.0, 100.0], chance 50.0, n = 4'
    """
    truth, order = np.asarray(labels, dtype=bool), _Order(np.asarray(scores, dtype=np.float64))
    if not truth.any():
        return Metric(name, np.nan, None, None, None, len(truth))
    counts = order.counts(truth)  # (2 · U, N), all and positive ones at each score
    value = order.area(counts.sum(axis=1)[None])[0]
    samples = bootstrap_totals(csr_array(counts.T), groups=groups, statistic=order.area)
    low, high = percentile_interval(samples)
    return Metric(name, 100 * float(value), 100 * low, 100 * high, 100 * float(truth.mean()), len(truth))


def curve_points(labels: ArrayLike, scores: ArrayLike) -> list[tuple[float, float]]:
    """Recall and precision in percent, from the highest score on, at most some hundred points.

    >>> curve_points([1, 0, 1], [0.9, 0.8, 0.7])[-1]
    (100.0, 66.66666666666666)
    """
    truth, order = np.asarray(labels, dtype=bool), _Order(np.asarray(scores, dtype=np.float64))
    recall, precision = order.curve(order.counts(truth).sum(axis=1)[None])
    places = np.unique(np.linspace(0, recall.shape[1] - 1, _DRAWN).astype(int))
    return [(100 * float(recall[0, place]), 100 * float(precision[0, place])) for place in places]


class _Order:
    """Scores from the highest on, equal ones in one place."""

    def __init__(self, scores: Floats) -> None:
        distinct, place = np.unique(-scores, return_inverse=True)
        self.places, self.place = len(distinct), place.reshape(-1)

    def counts(self, truth: NDArray[np.bool_]) -> csr_array:
        """``(2 · U, N)``: where each item stands among all, and among the positive ones."""
        items = np.arange(len(truth))
        rows = np.concatenate([self.place, self.places + self.place[truth]])
        shape = (2 * self.places, len(truth))
        return csr_array((np.ones(len(rows)), (rows, np.concatenate([items, items[truth]]))), shape=shape)

    def curve(self, totals: Floats) -> tuple[Floats, Floats]:
        """Recall and precision ``(R, U + 1)`` of ``(R, 2 · U)`` counts, from recall 0 with precision 1 on."""
        called, right = (np.cumsum(half, axis=1) for half in np.split(totals, 2, axis=1))
        with np.errstate(invalid="ignore", divide="ignore"):
            recall, precision = right / right[:, -1:], np.where(called > 0, right / called, 1.0)
        return np.pad(recall, ((0, 0), (1, 0))), np.pad(precision, ((0, 0), (1, 0)), constant_values=1.0)

    def area(self, totals: Floats) -> Any:
        """The areas ``(R,)``; NaN where nothing was positive."""
        recall, precision = self.curve(totals)
        return (np.diff(recall, axis=1) * (precision[:, 1:] + precision[:, :-1]) / 2).sum(axis=1)
