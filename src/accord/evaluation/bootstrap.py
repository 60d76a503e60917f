"""Percentile bootstrap (Efron, 1979) of means, medians, ratios and ranking curves, vectorised over resamples.

Items that are not independent (two drawings of one concept, several captions of one picture) are drawn
together: pass their group and whole groups are resampled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accord.errors import ShapeError

Floats = NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95
_CELLS = 4_000_000  # numbers held at once while resampling


def bootstrap_interval(
    scores: ArrayLike,
    seed: int = 0,
    resamples: int = RESAMPLES,
    groups: ArrayLike | None = None,
    statistic: Literal["mean", "median"] = "mean",
) -> tuple[float, float]:
    """95 % interval of the mean or median of per-item scores.

    Args:
        scores: ``(N,)`` one score per item.
        seed: seed of the resampling.
        resamples: number of resamples.
        groups: ``(N,)`` items of equal value are drawn together; None draws items independently.
        statistic: what is computed on every resample.

    Returns:
        Lower and upper bound, in the unit of the scores.

    Raises:
        ShapeError: no scores, or ``groups`` of another length.

    Example:
        >>> bootstrap_interval([1.0, 1.0, 1.0])
        (1.0, 1.0)
        >>> low, high = bootstrap_interval([0.0, 1.0] * 50)
        >>> 0.38 < low < 0.5 < high < 0.62
        True
    """
    values = np.asarray(scores, dtype=np.float64)
    if statistic == "median":
        order = np.argsort(values, kind="stable")
        ordered = values[order]
        medians = bootstrap(lambda drawn: _medians(ordered, drawn[:, order]), len(values), seed, resamples, groups)
        return percentile_interval(medians)
    ones = np.ones_like(values)
    totals = bootstrap_totals(np.stack([values, ones], axis=1), seed, resamples, groups)
    return percentile_interval(totals[:, 0] / totals[:, 1])


def bootstrap_totals(
    parts: ArrayLike, seed: int = 0, resamples: int = RESAMPLES, groups: ArrayLike | None = None
) -> Floats:
    """Column sums of ``parts`` on every resample; any ratio of counts is then a ratio of columns.

    Args:
        parts: ``(N, M)`` additive quantities of each item, e.g. hits and trials.
        seed: seed of the resampling.
        resamples: number of resamples R.
        groups: ``(N,)`` items of equal value are drawn together.

    Returns:
        ``(R, M)`` totals.

    Example:
        >>> bootstrap_totals([[1.0, 2.0]] * 5, resamples=2)
        array([[ 5., 10.],
               [ 5., 10.]])
    """
    values = np.asarray(parts, dtype=np.float64)
    codes, count = _group_codes(groups, len(values))
    summed = np.zeros((count, values.shape[1]))
    np.add.at(summed, codes, values)
    return np.concatenate([weights @ summed for weights in _weights(count, seed, resamples)])


def bootstrap(
    statistic: Callable[[Floats], NDArray[Any]],
    count: int,
    seed: int = 0,
    resamples: int = RESAMPLES,
    groups: ArrayLike | None = None,
) -> NDArray[Any]:
    """``statistic`` of the item weights of every resample.

    Args:
        statistic: maps weights ``(r, N)`` (how often each item was drawn) to ``(r, ...)``.
        count: number of items N.
        seed: seed of the resampling.
        resamples: number of resamples R.
        groups: ``(N,)`` items of equal value are drawn together.

    Returns:
        ``(R, ...)``.

    Example:
        >>> bootstrap(lambda weights: weights.sum(axis=1), count=4, resamples=3)
        array([4., 4., 4.])
    """
    codes, drawn = _group_codes(groups, count)
    return np.concatenate([statistic(weights[:, codes]) for weights in _weights(drawn, seed, resamples, width=count)])


def percentile_interval(samples: ArrayLike) -> tuple[float, float]:
    """The central 95 % of the resampled values; undefined ones (NaN) are left out.

    >>> percentile_interval([3.0, 3.0, float("nan")])
    (3.0, 3.0)
    """
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(np.asarray(samples, dtype=np.float64), [tail, 100 - tail])
    return float(low), float(high)


def ranking_curve(scores: ArrayLike, positive: ArrayLike) -> Callable[[Floats], tuple[Floats, Floats]]:
    """Weighted true and false positives at each distinct threshold, from the highest score down.

    Args:
        scores: ``(N,)`` higher is more likely positive; equal scores share one threshold.
        positive: ``(N,)`` bool.

    Returns:
        A function of weights ``(R, N)`` that gives cumulated ``(R, T)`` true and false positives.

    Example:
        >>> hits, misses = ranking_curve([0.9, 0.5, 0.5], [True, False, True])(np.ones((1, 3)))
        >>> hits, misses
        (array([[1., 2.]]), array([[0., 1.]]))
    """
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    truth = np.asarray(positive, dtype=bool)[order]
    last = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)  # the end of each run of ties

    def curve(weights: Floats) -> tuple[Floats, Floats]:
        drawn = weights[:, order]
        hits = np.cumsum(drawn * truth, axis=1)[:, last]
        misses = np.cumsum(drawn * ~truth, axis=1)[:, last]
        return hits, misses

    return curve


def average_precision(hits: Floats, misses: Floats) -> Floats:
    """Area under precision over recall, step-wise, from :func:`ranking_curve`; NaN without positives.

    >>> average_precision(np.array([[1.0, 1.0, 2.0]]), np.array([[0.0, 1.0, 1.0]])).round(3)
    array([0.833])
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.nan_to_num(hits / (hits + misses))
        gained = np.diff(hits, axis=1, prepend=0.0)
        return np.asarray((gained * precision).sum(axis=1) / hits[:, -1])


def auroc(hits: Floats, misses: Floats) -> Floats:
    """Probability that a positive scores above a negative (ties count half), from :func:`ranking_curve`.

    >>> auroc(np.array([[1.0, 1.0, 2.0]]), np.array([[0.0, 1.0, 1.0]]))
    array([0.5])
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        before = hits - np.diff(hits, axis=1, prepend=0.0) / 2
        fell = np.diff(misses, axis=1, prepend=0.0)
        return np.asarray((fell * before).sum(axis=1) / (hits[:, -1] * misses[:, -1]))


def _group_codes(groups: ArrayLike | None, count: int) -> tuple[NDArray[np.int64], int]:
    if count == 0:
        raise ShapeError("scores: no items to resample; check that the evaluated split is not empty")
    if groups is None:
        return np.arange(count), count
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    if len(codes) != count:
        raise ShapeError(f"groups: {len(codes)} entries for {count} scores; expected one group per score")
    return codes.reshape(-1), len(names)


def _weights(count: int, seed: int, resamples: int, width: int | None = None) -> Iterator[Floats]:
    """How often each of ``count`` units is drawn, in blocks ``(r, count)`` of a bounded size."""
    rng = np.random.default_rng(seed)
    block = max(1, _CELLS // max(count, width or 0))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(0, count, size=(rows, count)) + np.arange(rows)[:, None] * count
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def _medians(ordered: Floats, weights: Floats) -> Floats:
    cumulated = np.cumsum(weights, axis=1)
    half = cumulated[:, -1:] / 2
    lower = np.argmax(cumulated >= half, axis=1)
    upper = np.argmax(cumulated > half, axis=1)
    return np.asarray((ordered[lower] + ordered[upper]) / 2)
