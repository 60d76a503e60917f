"""How near things are along a graph of nearest neighbours: the geodesic similarity of G2L (Li et al. 2023, ICCV).

Two things that look different may be joined by a chain of things of which each looks like the next. The shortest paths
are cut at a length. On a processor they are those of SciPy's Dijkstra; on an accelerator those of Bellman and Ford on
the table of neighbours, where all sources and graphs take each hop together, so that nothing leaves the device.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import as_float, check_ndim, check_positive, check_range, check_shape

CHUNK_ELEMENTS = 1 << 22  # distances held at a time: 16 MiB in float32


@torch.no_grad()
def geodesic_similarity(
    features: Tensor,
    sources: Tensor,
    k: int = 5,
    cutoff: float = 0.5,
    *,
    owner: Tensor | None = None,
    hops: int | None = None,
) -> Tensor:
    """1 minus the length of the shortest path from each source, 0 where none is short enough (G2L).

    From every item an edge leads to each of its ``k`` nearest others by Euclidean distance, and is 1 - cosine long.
    Items of the same direction are at distance 0, so that their similarity is 1.

    Args:
        features: ``(P, D)`` items, not normalised; ``(V, P, D)`` for several graphs.
        sources: ``(n,)`` number of the item that each row of the answer starts from.
        k: neighbours of an item, at most P - 1.
        cutoff: longest path, in (0, 1].
        owner: ``(n,)`` the graph that each source is in, where there are several.
        hops: most edges of a path, on an accelerator. None for as many as it takes, for which it is asked after every
            hop. A processor follows all.

    Returns:
        ``(n, P)`` without gradient, 1 at the sources, else 0 or in [1 - cutoff, 1].

    Raises:
        ShapeError: shapes that do not fit together, or several graphs without owners.
        ValueError: k, cutoff or hops out of range.

    Example:
        >>> line = torch.tensor([[1.0, 0.0], [0.9, 0.4], [0.7, 0.7], [-1.0, 0.0]])
        >>> geodesic_similarity(line, torch.tensor([0]), k=2)
        tensor([[1.0000, 0.9138, 0.8472, 0.0000]])
    """
    check_ndim(2 if owner is None else 3, features=features)
    check_shape((len(sources),), **({} if owner is None else {"owner": owner}))
    items = features[None] if owner is None else features
    count = items.shape[1]
    check_range(1, count - 1, k=k)
    check_range(0.0, 1.0, cutoff=cutoff)
    check_positive(cutoff=cutoff)
    owner = torch.zeros_like(sources) if owner is None else owner
    with torch.autocast(features.device.type, enabled=False):
        near, length = _edges(as_float(items), k)  # (V, P, k)
        if features.device.type == "cpu":
            distance = _shortest(near, length, sources, owner, cutoff)
        else:
            distance = _relaxed(near, length, sources, owner, cutoff, hops)
        return (1 - distance).clamp(min=0)


def _shortest(near: Tensor, length: Tensor, sources: Tensor, owner: Tensor, cutoff: float) -> Tensor:
    """Lengths ``(n, P)`` of the shortest paths, graph by graph; infinite where none is short enough."""
    from scipy.sparse import csr_array  # slow to import, and needed here only
    from scipy.sparse.csgraph import dijkstra

    count, k = near.shape[1:]
    begins = np.arange(0, count * k + 1, k)  # of the edges of each item
    found = length.new_empty(len(sources), count)
    for number in owner.unique().tolist():
        rows = owner == number
        edges = length[number].flatten().double().numpy(), near[number].flatten().numpy(), begins
        graph = csr_array(edges, shape=(count, count))
        found[rows] = torch.from_numpy(dijkstra(graph, indices=sources[rows].numpy(), limit=cutoff)).to(found)
    return found


def _relaxed(
    near: Tensor, length: Tensor, sources: Tensor, owner: Tensor, cutoff: float, hops: int | None = None
) -> Tensor:
    """The same after so many hops along all edges at once, the least of those that lead to an item."""
    count = near.shape[1]
    distance = length.new_full((len(sources), count), torch.inf).scatter(1, sources[:, None], 0.0)
    target, step = near.flatten(1)[owner], length[owner]  # (n, P·k), (n, P, k)
    for _ in range(count - 1 if hops is None else hops):
        reached = (distance[..., None] + step).flatten(1)
        shorter = distance.scatter_reduce(1, target, reached.masked_fill(reached > cutoff, torch.inf), "amin")
        if hops is None and bool((shorter == distance).all()):
            return distance
        distance = shorter
    return distance


def _edges(items: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest other items of each, and the lengths of the edges to them: ``(V, P, k)`` both."""
    unit = F.normalize(items, dim=-1)
    near, length = [], []
    for graph, direction in zip(items, unit, strict=True):
        square = graph.square().sum(dim=1)
        for rows in _chunks(len(graph)):
            distance = torch.addmm(square, graph[rows], graph.T, alpha=-2)  # and a number of the row's own
            distance.diagonal(rows.start).fill_(torch.inf)
            nearest = distance.topk(k, dim=1, largest=False).indices
            near.append(nearest)
            length.append(1 - torch.einsum("rd,rkd->rk", direction[rows], direction[nearest]))
    shape = (*items.shape[:2], k)
    return torch.cat(near).view(shape), torch.cat(length).view(shape).clamp(min=0)


def _chunks(count: int) -> Iterator[slice]:
    """Slices of rows of which the distances to all ``count`` are held at a time."""
    step = max(1, CHUNK_ELEMENTS // count)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))
