"""Nearest-neighbour graphs, k-reciprocal re-ranking, and smoothing of features over a graph.

k-reciprocal re-ranking (Zhong et al. 2017, CVPR) is computed exactly, in float32, with neighbour sets held as
short padded lists instead of dense N×N matrices: O(N·k1) memory. Smoothing is the simple graph convolution of
Wu et al. (2019, ICML), as CAPro (Qin et al. 2023, NeurIPS) uses it to repair texts over the visual graph.
Nothing here but :func:`sgc_smooth` carries gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import (
    as_float,
    check_ndim,
    check_range,
    check_same_width,
    check_shape,
    check_share,
)

CHUNK_ELEMENTS = 1 << 22  # numbers in the largest temporary of a chunk of rows: 16 MiB in float32


class Neighbours(NamedTuple):
    """The kept neighbours of every row, nearest first.

    Args:
        idx: ``(N, k)`` row numbers.
        sim: ``(N, k)`` cosine similarity, the edge weight that :func:`sgc_smooth` takes.
        dist: ``(N, k)`` k-reciprocal distance, in ascending order.
    """

    idx: Tensor
    sim: Tensor
    dist: Tensor


@torch.no_grad()
def knn_graph(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest other rows of every row by cosine, exact, in memory linear in N.

    Args:
        x: ``(N, D)``, any norm.
        k: neighbours per row, at most N - 1; the row itself is never one.

    Returns:
        ``(N, k)`` row numbers and ``(N, k)`` cosine similarities, most similar first.

    Raises:
        ShapeError: ``x`` is not a matrix.
        ValueError: k outside [1, N - 1].

    Example:
        >>> index, similarity = knn_graph(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), k=1)
        >>> index.squeeze(1).tolist()
        [1, 0, 1]
    """
    check_ndim(2, x=x)
    check_range(1, len(x) - 1, k=k)
    x = F.normalize(as_float(x), dim=1)
    index, similarity = [], []
    for rows in _chunks(len(x), len(x)):
        cosine = x[rows] @ x.T
        cosine.diagonal(rows.start).fill_(-torch.inf)
        best = cosine.topk(k, dim=1)
        index.append(best.indices)
        similarity.append(best.values)
    return torch.cat(index), torch.cat(similarity)


@torch.no_grad()
def k_reciprocal_distance(query: Tensor, gallery: Tensor, k1: int = 20, k2: int = 6, lam: float = 0.3) -> Tensor:
    """Distance of queries to a gallery that also asks whether their neighbourhoods agree (Zhong et al. 2017).

    ``(1 - lam) · Jaccard distance of the expanded k-reciprocal sets + lam · squared Euclidean distance
    divided by the row's largest``, both over the union of query and gallery. An item counts among its own
    neighbours.

    Args:
        query: ``(Q, D)`` unit norm.
        gallery: ``(N, D)`` unit norm.
        k1: neighbours in which reciprocity is looked for.
        k2: neighbours over which the sets' weights are averaged.
        lam: weight of the Euclidean distance, in [0, 1].

    Returns:
        ``(Q, N)``, 0 for the same and at most 1.

    Raises:
        ShapeError: not matrices of equal width.
        ValueError: k1 or k2 below 1, lam outside [0, 1].

    Example:
        >>> gallery = F.normalize(torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.3]]), dim=1)
        >>> k_reciprocal_distance(torch.tensor([[1.0, 0.0]]), gallery, k1=2, k2=1).argmax().item()
        2
    """
    check_same_width(query=query, gallery=gallery)
    items = torch.cat([as_float(query), as_float(gallery)])
    sets = _ReciprocalSets(items, k1, k2, lam)
    candidates = torch.arange(len(query), len(items), device=items.device)
    return sets.distance(torch.arange(len(query), device=items.device), candidates.expand(len(query), -1))


@torch.no_grad()
def k_reciprocal_neighbours(
    x: Tensor, k: int, *, pool: int | None = None, k1: int = 20, k2: int = 6, lam: float = 0.3
) -> Neighbours:
    """The k best other rows of every row by k-reciprocal distance among its ``pool`` nearest by cosine.

    Args:
        x: ``(N, D)``, any norm.
        k: neighbours kept per row.
        pool: neighbours that are re-ranked, by default 4 k (at most N - 1).
        k1: see :func:`k_reciprocal_distance`.
        k2: see :func:`k_reciprocal_distance`.
        lam: see :func:`k_reciprocal_distance`.

    Returns:
        :class:`Neighbours`.

    Raises:
        ShapeError: ``x`` is not a matrix.
        ValueError: k outside [1, pool], pool outside [1, N - 1], or as :func:`k_reciprocal_distance`.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
        >>> k_reciprocal_neighbours(x, k=1, k1=1, k2=1).idx.squeeze(1).tolist()
        [1, 0, 3, 2]
    """
    check_ndim(2, x=x)
    pool = min(4 * k, len(x) - 1) if pool is None else pool
    check_range(1, pool, k=k)
    index, similarity = knn_graph(x, pool)
    x = F.normalize(as_float(x), dim=1)
    distance = _ReciprocalSets(x, k1, k2, lam).distance(torch.arange(len(x), device=x.device), index)
    order = distance.argsort(dim=1, stable=True)[:, :k]
    return Neighbours(index.gather(1, order), similarity.gather(1, order), distance.gather(1, order))


def sgc_smooth(x: Tensor, nbr_idx: Tensor, nbr_sim: Tensor, self_weight: float = 0.0, steps: int = 1) -> Tensor:
    """Replace every row by the weighted mean of its neighbours (CAPro's text enhancement, ``x ← A x``).

    The edge weights are clipped to [0, 1] and self-edges dropped; the graph is made symmetric by the larger
    weight of the two directions, its rows are normalised, ``self_weight`` is added to the diagonal, and the
    rows are normalised again. A row without any neighbour of positive weight keeps its own features.

    Args:
        x: ``(N, D)``; carries gradient.
        nbr_idx: ``(N, k)`` row numbers of the neighbours.
        nbr_sim: ``(N, k)`` similarities. The released code of CAPro stores *distances* here, so that the
            farther neighbour weighs more; to compare with it, pass ``Neighbours.dist``.
        self_weight: weight of the own features against 1 for all neighbours together; 0 replaces them.
        steps: number of times the smoothing is applied.

    Returns:
        ``(N, D)``, not normalised.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a negative self weight or fewer than one step.

    Example:
        >>> sgc_smooth(torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([[1], [0], [1]]), torch.ones(3, 1)).T
        tensor([[2., 2., 2.]])
    """
    check_ndim(2, x=x)
    check_shape((len(x), None), nbr_idx=nbr_idx)
    check_shape(tuple(nbr_idx.shape), nbr_sim=nbr_sim)
    check_range(1, steps, steps=steps)
    if not self_weight >= 0:
        raise ValueError(f"self_weight = {self_weight}: expected a number ≥ 0")
    with torch.autocast(x.device.type, enabled=False):
        x = as_float(x)
        adjacency = _smoothing_matrix(nbr_idx, nbr_sim.to(x), self_weight)
        for _ in range(steps):
            x = torch.sparse.mm(adjacency, x)
    return x


def _smoothing_matrix(nbr_idx: Tensor, nbr_sim: Tensor, self_weight: float) -> Tensor:
    """Row-stochastic sparse ``(N, N)`` of :func:`sgc_smooth`."""
    count, k = nbr_idx.shape
    source = torch.arange(count, device=nbr_idx.device)
    row, column, weight = (
        source.repeat_interleave(k),
        nbr_idx.flatten(),
        nbr_sim.detach().flatten().clamp(0, 1),
    )
    real = (row != column) & (weight > 0)
    row, column, weight = row[real], column[real], weight[real]
    edge, slot = torch.cat([row * count + column, column * count + row]).unique(return_inverse=True)
    largest = weight.new_zeros(len(edge)).scatter_reduce(0, slot, weight.repeat(2), "amax")  # symmetric
    row, column = edge // count, edge % count
    degree = weight.new_zeros(count).index_add(0, row, largest)
    own = torch.full_like(degree, self_weight / (1 + self_weight)).masked_fill(degree == 0, 1)
    weight = largest / degree[row] * (1 - own[row])
    index = torch.stack([torch.cat([row, source]), torch.cat([column, source])])
    value = torch.cat([weight, own])
    return torch.sparse_coo_tensor(index, value, (count, count), check_invariants=True).coalesce()


class _ReciprocalSets:
    """Expanded k-reciprocal neighbour sets of all items as padded lists: member numbers and weights.

    ``member (M, W)`` holds item numbers, M where the list is shorter; ``weight (M, W)`` is zero there.
    """

    def __init__(self, items: Tensor, k1: int, k2: int, lam: float) -> None:
        check_range(1, max(k1, 1), k1=k1)
        check_range(1, max(k2, 1), k2=k2)
        check_share(lam=lam)
        self.items, self.lam = items, lam
        self.ranked, self.largest = _ranked(items, max(k1 + 1, k2))
        wide = self.ranked[:, : k1 + 1]
        narrow = self.ranked[:, : round(k1 / 2) + 1]
        self.member, self.weight = self._expand(wide, _mutual(wide), narrow, _mutual(narrow))
        if k2 > 1:
            self.member, self.weight = self._average(self.ranked[:, :k2])

    def euclidean(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Squared distance of items ``rows (c,)`` to ``columns (c, P)`` over the row's largest: ``(c, P)``."""
        near = self.items[rows]
        inner = torch.einsum("cd,cpd->cp", near, self.items[columns])
        square = self.items.square().sum(dim=1)
        distance = (square[rows, None] + square[columns] - 2 * inner).clamp_(min=0)
        return distance.masked_fill_(rows[:, None] == columns, 0) / self.largest[rows, None]

    def distance(self, rows: Tensor, columns: Tensor) -> Tensor:
        """k-reciprocal distance of items ``rows (R,)`` to ``columns (R, P)``: ``(R, P)``."""
        widest = max(self.member.shape[1], self.items.shape[1])
        parts = [
            (1 - self.lam) * self._jaccard(rows[part], columns[part])
            + self.lam * self.euclidean(rows[part], columns[part])
            for part in _chunks(len(rows), columns.shape[1] * widest + len(self.items))
        ]
        return torch.cat(parts)

    def _jaccard(self, rows: Tensor, columns: Tensor) -> Tensor:
        dense = self.items.new_zeros(len(rows), len(self.items) + 1)  # the last column takes the padding
        dense.scatter_(1, self.member[rows], self.weight[rows])
        there = dense.gather(1, self.member[columns].flatten(1)).view(*columns.shape, -1)  # (c, P, W)
        shared = torch.minimum(there, self.weight[columns]).sum(dim=-1)
        return 1 - shared / (2 - shared)

    def _expand(
        self, wide: Tensor, is_mutual: Tensor, narrow: Tensor, narrow_is_mutual: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Each mutual neighbour brings its own smaller set along when more than 2/3 of it is already in."""
        members, weights = [], []
        rows = torch.arange(len(wide), device=wide.device)
        for part in _chunks(len(wide), wide.shape[1] ** 2 * narrow.shape[1]):
            near, mutual = wide[part], is_mutual[part]
            brought = narrow[near]  # (c, K, H)
            real = narrow_is_mutual[near] & mutual[:, :, None]
            inside = ((brought[..., None] == near[:, None, None, :]) & mutual[:, None, None, :]).any(dim=-1)
            welcome = 3 * (inside & real).sum(dim=-1) > 2 * real.sum(dim=-1)
            listed = torch.cat([near, brought.flatten(1)], dim=1)
            kept = torch.cat([mutual, (real & welcome[:, :, None]).flatten(1)], dim=1)
            member = _unique_rows(listed.masked_fill(~kept, len(wide)), padding=len(wide))
            inner = self.euclidean(rows[part], member.clamp(max=len(wide) - 1))
            weight = torch.exp(-inner).masked_fill_(member == len(wide), 0)
            members.append(member)
            weights.append(weight / weight.sum(dim=1, keepdim=True))
        return _stack_padded(members, len(wide)), _stack_padded(weights, 0)

    def _average(self, nearest: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of the weights over the nearest items."""
        members, weights = [], []
        for part in _chunks(len(nearest), nearest.shape[1] * self.member.shape[1]):
            member = self.member[nearest[part]].flatten(1)  # (c, k2 W), an item may stand several times
            weight = self.weight[nearest[part]].flatten(1) / nearest.shape[1]
            unique = _unique_rows(member, padding=len(nearest))
            place = torch.searchsorted(unique, member).clamp_(max=unique.shape[1] - 1)
            members.append(unique)
            weights.append(weight.new_zeros(unique.shape).scatter_add_(1, place, weight))
        return _stack_padded(members, len(nearest)), _stack_padded(weights, 0)


def _ranked(items: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Nearest ``k`` items of each, itself first, ``(M, k)``; and the largest squared distance, ``(M,)``."""
    square = items.square().sum(dim=1)
    ranked, largest = [], []
    for rows in _chunks(len(items), len(items)):
        distance = square[rows, None] + square - 2 * items[rows] @ items.T
        distance.diagonal(rows.start).fill_(-torch.inf)  # first also among duplicates
        ranked.append(distance.topk(min(k, len(items)), dim=1, largest=False).indices)
        largest.append(distance.amax(dim=1))
    return torch.cat(ranked), torch.cat(largest).clamp_(min=torch.finfo(items.dtype).tiny)


def _mutual(near: Tensor) -> Tensor:
    """Whether item i is among the neighbours of its neighbour ``near[i, a]``; ``(M, K)`` bool."""
    rows = torch.arange(len(near), device=near.device)
    parts = [
        (near[near[part]] == rows[part, None, None]).any(dim=-1) for part in _chunks(len(near), near.shape[1] ** 2)
    ]
    return torch.cat(parts)


def _unique_rows(listed: Tensor, padding: int) -> Tensor:
    """Sort every row, drop repeated numbers, and cut the padding that no row needs."""
    listed = listed.sort(dim=1).values
    repeated = torch.zeros_like(listed, dtype=torch.bool)
    repeated[:, 1:] = listed[:, 1:] == listed[:, :-1]
    listed = listed.masked_fill(repeated, padding).sort(dim=1).values
    return listed[:, : max(1, int((listed < padding).sum(dim=1).max()))].contiguous()


def _stack_padded(parts: list[Tensor], padding: float) -> Tensor:
    """Concatenate rows of different widths."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([F.pad(part, (0, width - part.shape[1]), value=padding) for part in parts])


def _chunks(rows: int, width: int) -> Iterator[slice]:
    """Slices of rows such that ``rows in slice × width`` stays below ``CHUNK_ELEMENTS``."""
    step = max(1, CHUNK_ELEMENTS // max(1, width))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
