"""How often the neighbours of a row are of its class, and which classes mix with which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.diagnostics.space import LEAST, Factor
from accord.errors import DataError
from accord.evaluation.knn import nearest_outside
from accord.evaluation.metric import Metric, mean_metric

K = 10
ROWS = 20_000  # rows that are held against each other at most


@dataclass(frozen=True, eq=False)
class Purity:
    """Neighbours of rows by class.

    Args:
        share: ``(N,)`` of the nearest rows that are looked at, the share of the own class; NaN where it has no others.
        chance: ``(N,)`` that share among all rows of other groups.
        classes: the class of each row.
        neighbours: ``(N, k)`` class of the nearest rows.
        groups: ``(N,)`` or None.
    """

    share: NDArray[np.float64]
    chance: NDArray[np.float64]
    classes: Factor
    neighbours: NDArray[np.int64]
    groups: NDArray[Any] | None = None

    def metric(self, name: str, of: int | None = None) -> Metric:
        """Mean share in percent, its interval and its chance level; of the rows of one class, or of all."""
        rows = np.isfinite(self.share) & (True if of is None else self.classes.values == of)
        groups = None if self.groups is None else self.groups[rows]
        return mean_metric(name, self.share[rows], chance=100 * float(self.chance[rows].mean()), groups=groups)

    def worst(self, count: int) -> list[int]:
        """The classes of lowest purity, the lowest first, of those with at least 5 rows."""
        known = np.isfinite(self.share)
        rows = np.bincount(self.classes.values[known], minlength=len(self.classes.names))
        total = np.bincount(self.classes.values[known], self.share[known], minlength=len(self.classes.names))
        mean = np.where(rows >= LEAST, total / np.maximum(rows, 1), np.inf)
        return [int(of) for of in np.argsort(mean, kind="stable")[:count] if np.isfinite(mean[of])]

    def mixes_with(self, of: int) -> tuple[str, float] | None:
        """The class that most neighbours of another class are of, and the percentage of all; None for none."""
        near = self.neighbours[self.classes.values == of]
        counts = np.bincount(near.reshape(-1), minlength=len(self.classes.names))
        total, counts[of] = counts.sum(), 0
        most = int(counts.argmax())
        return (self.classes.names[most], 100 * float(counts[most] / total)) if counts[most] else None


def neighbour_purity(
    x: Tensor, classes: Factor, groups: NDArray[Any] | None = None, k: int = K, seed: int = 0
) -> Purity:
    """Look at the k nearest rows of each row, or at as many as its class has others, where these are fewer.

    So a class that lies together has purity 1, however small it is.

    Args:
        x: ``(N, D)`` unit norm.
        classes: the class of each row; rows of none are left out.
        groups: ``(N,)`` rows of equal value are no neighbours of each other; None: every row is its own.
        k: neighbours; fewer where there are not as many.
        seed: draws 20,000 rows where there are more.

    Raises:
        DataError: all rows are of one group.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> neighbour_purity(x, Factor(np.array([0, 0, 1, 1]), ("a", "b"))).share.tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    rows = drawn_rows(classes.known, seed)
    own = classes.select(rows).packed()
    groups = None if groups is None else groups[rows]
    same_class, outside = _others(own.values, groups)  # (N,), (N,)
    k = min(k, int(outside.min()))
    if k < 1:
        raise DataError("purity of neighbours: all rows are of one group; leave --group out")
    near = own.values[nearest_outside(x[torch.from_numpy(rows)], k, groups)[1].numpy()]  # (N, k)
    looked = np.minimum(same_class, k)
    same = ((near == own.values[:, None]) & (np.arange(k) < looked[:, None])).sum(axis=1)
    share = np.where(looked > 0, same / np.maximum(looked, 1), np.nan)
    return Purity(share, same_class / outside, own, near, groups)


def drawn_rows(rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """At most 20,000 of the rows, in order."""
    if len(rows) <= ROWS:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, ROWS, replace=False))


def _others(labels: NDArray[np.int64], groups: NDArray[Any] | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many rows of other groups have a row's class, and how many there are at all."""
    code = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1].reshape(-1)
    _, part, size = np.unique(code * (labels.max(initial=0) + 1) + labels, return_inverse=True, return_counts=True)
    return np.bincount(labels)[labels] - size[part.reshape(-1)], len(labels) - np.bincount(code)[code]
