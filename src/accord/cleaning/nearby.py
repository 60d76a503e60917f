"""The nearest other rows of every row, in blocks: of few rows all are compared, of many inverted lists are asked."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from accord.searching.neighbours import ASKED, PER_LIST, Neighbours, lists_for

_EXACT = 20_000  # rows up to which all are compared
_BLOCK = 4096
SAME = 0.999  # cosine from which two things are the same


def nearest_others(vectors: Tensor, k: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Positions and cosines of the nearest other rows, nearest first.

    Args:
        vectors: ``(N, D)`` unit norm.
        k: how many, at most N - 1.
        seed: of the rows by which lists are learnt.

    Returns:
        ``(N, k)`` int64 positions, the row's own where there are fewer, and ``(N, k)`` cosines.

    Example:
        >>> nearest_others(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), 1)[0].T
        tensor([[1, 0, 1]])
    """
    rows, index = vectors.numpy(), _index(vectors.numpy(), seed)
    index.add(np.arange(len(rows), dtype=np.int64), rows)
    index.look_into_enough([rows[:: max(1, len(rows) // ASKED)]])
    found = torch.empty(len(rows), k, dtype=torch.int64)
    cosines = torch.empty(len(rows), k)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        ids, near = (torch.from_numpy(part) for part in index.search_all(rows[block], k + 1))
        own = torch.arange(len(rows))[block, None]
        other = (ids != own) & (ids >= 0)
        order = (~other).to(torch.int8).argsort(dim=1, stable=True)[:, :k]  # the row itself, and gaps, last
        ids, near, other = ids.gather(1, order), near.gather(1, order), other.gather(1, order)
        found[block], cosines[block] = torch.where(other, ids, own), torch.where(other, near, -1.0)
    return found, cosines


def _index(rows: np.ndarray, seed: int) -> Neighbours:
    if len(rows) <= _EXACT:
        return Neighbours.exact(rows.shape[1])
    lists = lists_for(len(rows))
    chosen = np.random.default_rng(seed).permutation(len(rows))[: lists * PER_LIST]
    return Neighbours.approximate(rows[np.sort(chosen)], lists)
