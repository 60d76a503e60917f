"""Rows of which it is known what is wrong with them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def pairs(count: int = 300, wrong: float = 0.2, seed: int = 0, noise: float = 1.0) -> tuple[Tensor, Tensor, np.ndarray]:
    """Two sides that share 8 directions of 32, and which pairs are wrong; hubs among the second side."""
    random = np.random.default_rng(seed)
    shared = random.standard_normal((count, 8))
    turn = random.standard_normal((8, 32))
    order, moved = np.arange(count), random.permutation(count)[: int(wrong * count)]
    order[moved] = np.roll(moved, 1)
    hub = random.standard_normal(32) * 3
    one = shared @ turn + noise * random.standard_normal((count, 32)) + hub
    other = shared @ turn + noise * random.standard_normal((count, 32)) + hub * random.uniform(0, 1.5, (count, 1))
    sides = (F.normalize(torch.from_numpy(side).float(), dim=1) for side in (one, other[order]))
    first, second = sides
    return first, second, order != np.arange(count)


def labelled(
    count: int = 300, classes: int = 5, wrong: float = 0.2, seed: int = 0
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Unit vectors in clusters, labels of which a share is wrong, and the right ones."""
    random = np.random.default_rng(seed)
    right = random.integers(0, classes, count)
    rows = 2.0 * random.standard_normal((classes, 16))[right] + random.standard_normal((count, 16))
    given, moved = right.copy(), random.permutation(count)[: int(wrong * count)]
    given[moved] = (given[moved] + random.integers(1, classes, len(moved))) % classes
    return F.normalize(torch.from_numpy(rows).float(), dim=1), given, right


def average_precision(suspicion: np.ndarray, wrong: np.ndarray) -> float:
    """Of the wrong rows, by how suspicious each row is."""
    hit = wrong[np.argsort(-suspicion, kind="stable")]
    return float((np.cumsum(hit) / np.arange(1, len(hit) + 1) * hit).sum() / hit.sum())
