"""How stable classes are: found again in parts of the rows, do they come back?

The clusterwise stability of Hennig (2007, Computational Statistics & Data Analysis 52), by sub-samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SHARE, MOST = 0.8, 10_000  # of the rows that a part has: their share, and at most how many
_ENOUGH = 10  # rows of a class in a part that tell something of it, where it has more than twice as many

Find = Callable[[np.ndarray, int], np.ndarray]  # takes positions of rows and a seed; gives a class for each of them


@dataclass(frozen=True, eq=False)
class Stability:
    """What came of finding classes anew.

    Args:
        overlap: of each class its mean best overlap in [0, 1]; None where too few of its rows were drawn.
        counts: number of classes in each repeat.
    """

    overlap: tuple[float | None, ...]
    counts: tuple[int, ...] = ()


def find_again(
    find: Find,
    assigned: np.ndarray,
    labels: np.ndarray,
    count: int,
    *,
    repeats: int,
    seed: int,
    say: Callable[[str], None],
) -> Stability:
    """Find classes in parts of the rows, each time from the beginning, and compare them with those of all rows.

    A part is a share of the rows without a label, and of those of each label. Only rows without a label are compared,
    since the others are given.

    Args:
        find: finds classes; knows nothing of those that were found before.
        assigned: ``(N,)`` those of all rows.
        labels: ``(N,)`` given classes, -1 for none.
        count: number of classes.
        repeats: how many parts.
        seed: of what is drawn.
        say: takes a line of progress.
    """
    overlaps, counts = [], []
    for repeat in range(1, repeats + 1):
        rows = part_of(labels, np.random.default_rng((seed, repeat)))
        found = find(rows, seed + repeat)
        counts.append(len(np.unique(found)))
        free = labels[rows] < 0
        overlaps.append(best_overlap(assigned[rows][free], found[free], count))
        drawn = np.bincount(assigned[rows][free], minlength=count)
        size = np.bincount(assigned[labels < 0], minlength=count)
        overlaps[-1][drawn < np.minimum(_ENOUGH, np.maximum(size / 2, 1))] = np.nan
        say(f"part {repeat} of {repeats}: {counts[-1]} classes in {len(rows):,} rows")
    told = np.array(overlaps).reshape(repeats, count)
    seen = ~np.isnan(told)
    mean = np.nansum(told, axis=0) / np.maximum(seen.sum(axis=0), 1)
    known = zip(mean.tolist(), seen.any(axis=0), strict=True)
    return Stability(tuple(value if there else None for value, there in known), tuple(counts))


def part_of(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions of the rows of a part, ascending: as large a share of the rows of each label, and of those without.

    Example:
        >>> part_of(np.array([-1] * 10 + [0] * 5), np.random.default_rng(0)).tolist()
        [0, 1, 2, 3, 4, 6, 8, 9, 11, 12, 13, 14]
    """
    share = min(SHARE, MOST / len(labels))
    drawn = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        drawn.append(rng.choice(rows, math.ceil(share * len(rows)), replace=False))
    return np.sort(np.concatenate(drawn))


def best_overlap(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    """Jaccard overlap ``(K,)`` of each of K classes with the most similar of another division of the same rows.

    Args:
        first: ``(n,)`` classes below K.
        second: ``(n,)`` other classes, any numbers.
        count: K.

    Returns:
        In [0, 1]; NaN for a class without rows.

    Example:
        >>> best_overlap(np.array([0, 0, 1, 1]), np.array([5, 5, 5, 9]), 3).round(2).tolist()
        [0.67, 0.5, nan]
    """
    names, other = np.unique(second, return_inverse=True)
    both = np.bincount(first * len(names) + other, minlength=count * len(names)).reshape(count, len(names))
    mine, theirs = both.sum(axis=1), both.sum(axis=0)
    either = mine[:, None] + theirs - both
    overlap = (both / np.maximum(either, 1)).max(axis=1, initial=0.0)
    return np.where(mine > 0, overlap, np.nan)
