"""The nearest other rows of every row, in blocks: of few rows all are compared, of many inverted lists are asked."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from accord.searching.neighbours import PER_LIST, Neighbours, lists_for

_EXACT = 20_000  # rows up to which all are compared
_BLOCK = 4096
_PROBES = 16  # lists that are looked into: near rows will do where the nearest would take minutes to find
SAME = 0.999  # cosine from which two things are the same


class Nearby:
    """Rows among which the nearest are looked for.

    Args:
        vectors: ``(N, D)`` unit norm.
        seed: of the rows by which lists are learnt.

    Example:
        >>> rows = Nearby(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]))
        >>> rows.others(1)[0].T
        tensor([[1, 0, 1]])
    """

    def __init__(self, vectors: Tensor, seed: int = 0) -> None:
        self._rows = vectors.numpy()
        self._index = _index(self._rows, seed)
        self._index.add(np.arange(len(vectors), dtype=np.int64), self._rows)

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Positions, -1 for none, and cosines ``(B, k)`` of the rows nearest to each of ``queries`` ``(B, D)``."""
        blocks = [self._index.search_all(block, k, _PROBES) for block in np.split(queries.numpy(), _cuts(len(queries)))]
        ids, cosines = (np.concatenate(part) for part in zip(*blocks, strict=True))
        return torch.from_numpy(ids), torch.from_numpy(cosines)

    def others(self, k: int) -> tuple[Tensor, Tensor]:
        """Positions and cosines ``(N, k)`` of the nearest other rows of every row, nearest first.

        Where fewer are found, the row's own position and -1 stand in their place.
        """
        ids, near = self.search(torch.from_numpy(self._rows), k + 1)
        own = torch.arange(len(ids))[:, None]
        other = (ids != own) & (ids >= 0)
        order = (~other).to(torch.int8).argsort(dim=1, stable=True)[:, :k]  # the row itself, and gaps, last
        ids, near, other = ids.gather(1, order), near.gather(1, order), other.gather(1, order)
        return torch.where(other, ids, own), torch.where(other, near, -1.0)


def _cuts(count: int) -> range:
    return range(_BLOCK, count, _BLOCK)


def _index(rows: np.ndarray, seed: int) -> Neighbours:
    if len(rows) <= _EXACT:
        return Neighbours.exact(rows.shape[1])
    lists = lists_for(len(rows))
    chosen = np.random.default_rng(seed).permutation(len(rows))[: lists * PER_LIST]
    return Neighbours.approximate(rows[np.sort(chosen)], lists)
