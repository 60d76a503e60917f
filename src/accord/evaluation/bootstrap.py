"""Percentile bootstrap (Efron, 1979) of means, medians and ratios of sums, vectorised over resamples.

Items that are not independent (two drawings of one concept, several captions of one picture) are drawn
together: pass their group and whole groups are resampled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accord.errors import ShapeError

if TYPE_CHECKING:
    from scipy.sparse import csr_array  # slow to import, and Metric is of every verb

Floats = NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95
_CELLS = 4_000_000  # numbers held at once while resampling
_NARROW = 16  # columns up to which rows of the same kind are looked for


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
        from scipy.sparse import csr_array

        distinct, codes = np.unique(values, return_inverse=True)
        counts = csr_array((np.ones(len(values)), (np.arange(len(values)), codes)), shape=(len(values), len(distinct)))
        medians = bootstrap_totals(counts, seed, resamples, groups, lambda totals: _medians(distinct, totals))
        return percentile_interval(medians)
    totals = bootstrap_totals(np.stack([values, np.ones_like(values)], axis=1), seed, resamples, groups)
    return percentile_interval(totals[:, 0] / totals[:, 1])


def bootstrap_totals(
    parts: ArrayLike | csr_array,
    seed: int = 0,
    resamples: int = RESAMPLES,
    groups: ArrayLike | None = None,
    statistic: Callable[[Floats], Floats] | None = None,
) -> Floats:
    """Column sums of ``parts`` on every resample; any ratio of counts is then a ratio of columns.

    Args:
        parts: ``(N, M)`` additive quantities of each item, e.g. hits and trials; may be sparse.
        seed: seed of the resampling.
        resamples: number of resamples R.
        groups: ``(N,)`` items of equal value are drawn together.
        statistic: maps ``(r, M)`` totals of some resamples to ``(r, ...)``, so that not all totals are held at once.

    Returns:
        ``(R, M)`` totals, or what ``statistic`` makes of them.

    Raises:
        ShapeError: no items, or ``groups`` of another length.

    Example:
        >>> bootstrap_totals([[1.0, 2.0]] * 5, resamples=2)
        array([[ 5., 10.],
               [ 5., 10.]])
    """
    from scipy.sparse import csr_array

    values = _by_group(parts if isinstance(parts, csr_array) else np.asarray(parts, dtype=np.float64), groups)
    blocks = (np.asarray(weights @ rows) for weights, rows in _resamples(values, seed, resamples))
    return np.concatenate([block if statistic is None else statistic(block) for block in blocks])


def percentile_interval(samples: ArrayLike) -> tuple[float, float]:
    """The central 95 % of the resampled values; undefined ones (NaN) are left out.

    >>> percentile_interval([3.0, 3.0, float("nan")])
    (3.0, 3.0)
    """
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(np.asarray(samples, dtype=np.float64), [tail, 100 - tail])
    return float(low), float(high)


def _by_group(values: Floats | csr_array, groups: ArrayLike | None) -> Floats | csr_array:
    """Sums ``(G, M)`` of the rows of each group: what is drawn as one."""
    count = values.shape[0]
    if count == 0:
        raise ShapeError("scores: no items to resample; check that the evaluated split is not empty")
    if groups is None:
        return values
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    if len(codes) != count:
        raise ShapeError(f"groups: {len(codes)} entries for {count} scores; expected one group per score")
    from scipy.sparse import csr_array

    member = csr_array((np.ones(count), (codes.reshape(-1), np.arange(count))), shape=(len(names), count))
    return member @ values


def _resamples(values: Floats | csr_array, seed: int, resamples: int) -> Iterator[tuple[Floats, Floats | csr_array]]:
    """Blocks ``(r, U)`` of how often each row was drawn, beside the ``(U, M)`` rows.

    Rows of few kinds (0/1 scores) are drawn by kind: the counts of the kinds are multinomial.
    """
    rng = np.random.default_rng(seed)
    count, width = values.shape
    if isinstance(values, np.ndarray) and width <= _NARROW:
        kinds, sizes = np.unique(values, axis=0, return_counts=True)
        if len(kinds) * 8 <= count:
            yield rng.multinomial(count, sizes / count, size=resamples).astype(np.float64), kinds
            return
    block = max(1, _CELLS // max(count, width))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(0, count, size=(rows, count)) + np.arange(rows)[:, None] * count
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64), values


def _medians(distinct: Floats, counts: Floats) -> Floats:
    """Median of values that occur ``counts (r, U)`` times each, ``distinct (U,)`` ascending."""
    cumulated = np.cumsum(counts, axis=1)
    half = cumulated[:, -1:] / 2
    lower = np.argmax(cumulated >= half, axis=1)
    upper = np.argmax(cumulated > half, axis=1)
    return np.asarray((distinct[lower] + distinct[upper]) / 2)
