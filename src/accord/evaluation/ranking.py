"""Areas under ranking curves with a bootstrap interval: average precision, and AUROC.

Both are functions of the true and false positives above each threshold. The value uses every distinct score as a
threshold. The interval resamples counts between at most 1000 thresholds, so that a million scores take seconds; it
is moved by the difference that this makes to the value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accord.evaluation.bootstrap import bootstrap_totals, percentile_interval
from accord.evaluation.metric import Metric

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Area = Callable[[Floats, Floats], Floats]

_THRESHOLDS = 1000


def average_precision(hits: Floats, misses: Floats) -> Floats:
    """Area under precision over recall, step-wise.

    Args:
        hits: ``(R, T)`` true positives from the highest threshold down to the lowest.
        misses: ``(R, T)`` false positives.

    Returns:
        ``(R,)``; NaN without positives.

    Example:
        >>> average_precision(np.array([[1.0, 1.0, 2.0]]), np.array([[0.0, 1.0, 1.0]])).round(3)
        array([0.833])
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.nan_to_num(hits / (hits + misses))
        gained = np.diff(hits, axis=1, prepend=0.0)
        return np.asarray((gained * precision).sum(axis=1) / hits[:, -1])


def auroc(hits: Floats, misses: Floats) -> Floats:
    """Probability that a positive scores above a negative, ties counting half; arguments as above.

    >>> auroc(np.array([[1.0, 1.0, 2.0]]), np.array([[0.0, 1.0, 1.0]]))
    array([0.5])
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        before = hits - np.diff(hits, axis=1, prepend=0.0) / 2
        fell = np.diff(misses, axis=1, prepend=0.0)
        return np.asarray((fell * before).sum(axis=1) / (hits[:, -1] * misses[:, -1]))


def area_metric(
    name: str,
    area: Area,
    scores: ArrayLike,
    positive: ArrayLike,
    *,
    chance: float,
    items: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> Metric:
    """An area in percent with its interval.

    Args:
        name: name of the metric.
        area: :func:`average_precision` or :func:`auroc`.
        scores: ``(M,)`` higher is more likely positive.
        positive: ``(M,)`` bool.
        chance: chance level in percent.
        items: ``(M,)`` the item, from 0 to N - 1, that each score belongs to; None is one score per item.
        groups: ``(N,)`` items of equal value are resampled together.

    Example:
        >>> area_metric("AUROC", auroc, [0.9, 0.8, 0.3, 0.1], [True, False, True, False], chance=50.0).value
        75.0
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    owner = np.arange(len(values)) if items is None else np.asarray(items)
    exact = _thresholds(values)
    value = float(100 * area(*_curve(_counts(values, truth, exact, np.zeros_like(owner)).toarray()))[0])
    coarse = exact if len(exact) <= _THRESHOLDS else _spread(values, truth)
    counts = _counts(values, truth, coarse, owner)
    binned = float(100 * area(*_curve(np.asarray(counts.sum(axis=0)).reshape(1, -1)))[0])
    samples = 100 * bootstrap_totals(counts, groups=groups, statistic=lambda totals: area(*_curve(totals)))
    defined = not np.isnan(samples).all()
    low, high = percentile_interval(samples + value - binned) if defined else (None, None)
    return Metric(name, value, low, high, chance, int(owner.max()) + 1)


def _thresholds(values: Floats) -> Floats:
    """Distinct values, highest first."""
    return np.unique(values)[::-1]


def _spread(values: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Thresholds at equal steps of recall and of false alarms, where both areas change."""
    steps = np.linspace(0, 1, _THRESHOLDS // 2)
    parts = [np.quantile(part, steps, method="lower") for part in (values[truth], values[~truth]) if len(part)]
    return _thresholds(np.concatenate([*parts, [values.min()]]))


def _counts(values: Floats, truth: NDArray[np.bool_], thresholds: Floats, owner: NDArray[np.int64]) -> csr_array:
    """``(N, 2T)``: positives, then negatives, of each item that a threshold lets in and the one above does not."""
    from scipy.sparse import csr_array

    size = len(thresholds)
    bins = size - np.searchsorted(thresholds[::-1], values, side="right")  # the highest threshold <= value
    columns = bins + size * ~truth
    return csr_array((np.ones(len(values)), (owner, columns)), shape=(int(owner.max()) + 1, 2 * size))


def _curve(counts: Floats) -> tuple[Floats, Floats]:
    hits, misses = np.split(counts, 2, axis=1)
    return np.cumsum(hits, axis=1), np.cumsum(misses, axis=1)
