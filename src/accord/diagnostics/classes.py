"""How classes lie in a space: spread between and within, and whether the nearest mean of a class is that of one's own.

Fisher's ratio of scatters; the within-class variability of neural collapse, NC1 (Papyan, Han and Donoho 2020, PNAS);
the silhouette (Rousseeuw 1987) with the means of the classes in the place of their rows, which costs N C instead of N².
A row is never held against a mean that it, or another row of its group, is a part of.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.diagnostics.finding import Diagnostic
from accord.diagnostics.space import Factor
from accord.evaluation.metric import mean_metric
from accord.functional.clusters.k_means import class_means

_BLOCK = 4096  # rows whose distances to all means are held at once


def class_diagnostics(name: str, x: Tensor, classes: Factor, groups: NDArray[Any] | None = None) -> list[Diagnostic]:
    """Ratio of scatters, NC1, silhouette by class means, and accuracy of the nearest class mean.

    Args:
        name: what the embeddings are called, such as their modality.
        x: ``(N, D)`` unit norm.
        classes: the class of each row; rows of none are left out. At least two classes have rows.
        groups: ``(N,)`` rows of equal value are one thing; None: every row is its own.

    Returns:
        The numbers; the last two only where some class has rows of two groups.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
        >>> found = class_diagnostics("image", x, Factor(np.array([0, 0, 1, 1]), ("a", "b")))
        >>> [(item.name, round(item.value, 2)) for item in found][2:]
        [('image silhouette', 0.18), ('image nearest class mean', 50.0)]
    """
    rows = classes.known
    x = x[torch.from_numpy(rows)].float()
    own = classes.select(rows).packed()
    labels = torch.from_numpy(own.values)
    means, counts = class_means(x, labels, len(own.names))
    found = _scatter(name, x, labels, means, counts)
    mine, other = _distances(x, labels, means, counts, None if groups is None else groups[rows])
    held = np.isfinite(mine)
    if not held.any():
        return found
    mine, other = mine[held], other[held]
    silhouette = (other - mine) / np.maximum(np.maximum(mine, other), np.finfo(np.float32).tiny)
    within = None if groups is None else groups[rows][held]
    nearest = mean_metric(f"{name} nearest class mean", mine < other, chance=100 / len(own.names), groups=within)
    return [
        *found,
        Diagnostic(
            f"{name} silhouette",
            float(silhouette.mean()),
            "how much nearer the mean of the own class is than the next; 1 when classes are points, 0 on the border",
            n=len(mine),
        ),
        Diagnostic.of(nearest, "percent of rows that lie nearest to the mean of their own class, themselves left out"),
    ]


def _scatter(name: str, x: Tensor, labels: Tensor, means: Tensor, counts: Tensor) -> list[Diagnostic]:
    """What the scatters between and within classes say."""
    share = counts.double() / len(x)
    centred = means.double() - share @ means.double()
    between = torch.einsum("c,cd,ce->de", share, centred, centred)
    rest = x - means[labels]
    within = (rest.T @ rest).double() / len(x)
    ratio = between.trace() / within.trace().clamp_min(torch.finfo(torch.float32).tiny)
    variability = (within @ torch.linalg.pinv(between, hermitian=True)).trace() / len(means)
    return [
        Diagnostic(
            f"{name} scatter ratio",
            float(ratio),
            "variance between classes over that within (Fisher); higher is further apart",
            chance=(len(means) - 1) / (len(x) - len(means)) if len(x) > len(means) else None,
            n=len(x),
        ),
        Diagnostic(
            f"{name} within-class variability",
            float(variability),
            "NC1 of neural collapse: variance within classes where they differ; 0 when every class is one point",
            n=len(x),
        ),
    ]


def _distances(
    x: Tensor, labels: Tensor, means: Tensor, counts: Tensor, groups: NDArray[Any] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far each row is from the mean of its class without its group, and from the nearest other mean.

    The first is infinite where its class has no other group.
    """
    part, total, size = _own_parts(x, labels, groups)
    mine, other = [], []
    for start in range(0, len(x), _BLOCK):
        rows = slice(start, start + _BLOCK)
        label, held = labels[rows], part[rows]
        left = counts[label] - size[held]
        without = (means[label] * counts[label][:, None] - total[held]) / left.clamp_min(1)[:, None]
        distance = (x[rows] - without).norm(dim=1)
        mine.append(distance.masked_fill(left == 0, torch.inf))
        everywhere = torch.cdist(x[rows], means)  # (B, C)
        other.append(everywhere.scatter(1, label[:, None], torch.inf).amin(dim=1))
    return torch.cat(mine).numpy(), torch.cat(other).numpy()


def _own_parts(x: Tensor, labels: Tensor, groups: NDArray[Any] | None) -> tuple[Tensor, Tensor, Tensor]:
    """Which part of its class each row belongs to by its group, and the sum and the number of rows of each part."""
    if groups is None:
        return torch.arange(len(x)), x, x.new_ones(len(x))
    _, code = np.unique(groups, return_inverse=True)
    _, part = np.unique(code.reshape(-1) * (int(labels.max()) + 1) + labels.numpy(), return_inverse=True)
    of = torch.from_numpy(part.reshape(-1))
    means, size = class_means(x, of, int(of.max()) + 1)
    return of, means * size[:, None], size
