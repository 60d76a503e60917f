"""Meta-paths of a typed graph: which nodes they reach, how often, and what lies on the way.

A meta-path is a list of node types that begins and ends with the target, such as ``["paper", "author", "paper"]``. A
step is ``TYPE``, or ``RELATION:TYPE`` where several relations lead there; ``~RELATION:TYPE`` goes against the relation.
Counts are made by scipy in blocks of rows: of a graph with hubs the whole matrix would not fit.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from accord.errors import ConfigError
from accord.functional.similarity.metapath import topk_neighbors

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

Relation = tuple[str, str, str]
BLOCK_ENTRIES = 10_000_000  # path counts held at a time: 160 MB


@dataclass(frozen=True)
class Hop:
    """One step of a meta-path.

    Args:
        relation: the relation.
        against: whether it is followed from destination to source.
    """

    relation: Relation
    against: bool = False

    @property
    def end(self) -> str:
        """The node type that the step leads to."""
        return self.relation[0] if self.against else self.relation[2]


@dataclass(frozen=True)
class MetaPath:
    """A chain of steps from the target type back to it.

    Args:
        hops: the steps, at least two.
    """

    hops: tuple[Hop, ...]

    @property
    def between(self) -> tuple[str, ...]:
        """The node types on the way, one for each position."""
        return tuple(hop.end for hop in self.hops[:-1])

    def __str__(self) -> str:
        """Its node types.

        >>> str(read_metapath(["paper", "author", "paper"], [("paper", "by", "author")], "paper"))
        'paper–author–paper'
        """
        return "–".join([self.hops[-1].end, *self.between, self.hops[-1].end])


def read_metapath(path: Sequence[str], relations: Sequence[Relation], target: str) -> MetaPath:
    """The meta-path that a list of steps names.

    Args:
        path: node types, or ``RELATION:TYPE``.
        relations: those of the graph.
        target: the type with which it must begin and end.

    Raises:
        ConfigError: it is too short, does not begin and end with the target, or a step is no relation or several.

    Example:
        >>> read_metapath(["a", "~cites:a", "cites:a"], [("a", "cites", "a")], "a").hops[0].against
        True
        >>> read_metapath(["a", "b", "a"], [("a", "likes", "b"), ("a", "knows", "b")], "a")
        Traceback (most recent call last):
        accord.errors.ConfigError: meta-path a–b–a: the step a–b fits likes:b, knows:b; name one of them
    """
    named = "–".join(step.rpartition(":")[2] for step in path)
    if len(path) < 3 or path[0] != target or path[-1].rpartition(":")[2] != target:
        raise ConfigError(f"meta-path {named}: expected at least three types, {target} the first and the last")
    hops: list[Hop] = []
    start = target
    for step in path[1:]:
        relation, _, end = step.rpartition(":")
        fitting = [hop for hop in _hops_from(start, relations) if hop.end == end]
        if relation:
            fitting = [hop for hop in fitting if _name(hop) == relation]
        if len(fitting) != 1:
            which = ", ".join(f"{_name(hop)}:{end}" for hop in fitting)
            there = ", ".join(sorted({f"{_name(hop)}:{hop.end}" for hop in _hops_from(start, relations)}))
            problem = f"fits {which}; name one of them" if fitting else f"is no relation; from {start} lead: {there}"
            raise ConfigError(f"meta-path {named}: the step {start}–{step} {problem}")
        hops.append(fitting[0])
        start = end
    return MetaPath(tuple(hops))


def shortest_metapaths(relations: Sequence[Relation], target: str) -> list[list[str]]:
    """All meta-paths of two steps that return by the relation by which they left, as lists of steps.

    Raises:
        ConfigError: no relation touches the target.

    Example:
        >>> shortest_metapaths([("paper", "by", "author"), ("paper", "cites", "paper")], "paper")
        [['paper', 'by:author', '~by:paper'], ['paper', 'cites:paper', '~cites:paper']]
    """
    found = []
    for relation in relations:
        ends = [hop for hop in _hops_from(target, [relation]) if not (hop.against and relation[0] == relation[2])]
        found += [[target, f"{_name(hop)}:{hop.end}", f"{_name(_back(hop))}:{target}"] for hop in ends]
    if not found:
        raise ConfigError(f"no relation touches {target!r}: there is no meta-path to learn it by")
    return found


def path_neighbours(graph: HeteroData, path: MetaPath, k: int) -> Tensor:
    """The k nodes most alike by a meta-path (PathSim), of every target node, with the number of paths to them.

    Args:
        graph: the graph; an edge that stands in it twice counts once.
        path: the meta-path.
        k: neighbours kept, the node itself among them.

    Returns:
        Sparse ``(N, N)`` float32, see :func:`accord.functional.topk_neighbors`.

    Raises:
        ValueError: k below 1.
    """
    hops = [_matrix(graph, hop) for hop in path.hops]
    half = len(hops) // 2
    first, second = reduce(_product, hops[:half]), reduce(_product, hops[half:])
    own = torch.from_numpy(np.asarray(first.multiply(second.T).sum(axis=1)).reshape(-1)).float()
    kept = []
    for rows in _blocks(first, second):
        best = topk_neighbors(_tensor(first[rows] @ second), k, own=own, first=rows.start).to_sparse_coo().coalesce()
        kept.append((best.indices() + torch.tensor([[rows.start], [0]]), best.values()))
    index, value = torch.cat([part for part, _ in kept], dim=1), torch.cat([part for _, part in kept])
    return torch.sparse_coo_tensor(index, value, (len(own), len(own)), check_invariants=True).coalesce()


def path_contexts(graph: HeteroData, path: MetaPath) -> list[Tensor]:
    """How often a meta-path comes by each node, for each position between its ends: sparse CSR ``(N, M)``."""
    matrices, found = [_matrix(graph, hop) for hop in path.hops[:-1]], []
    for position in range(len(matrices)):
        counts = reduce(_product, matrices[: position + 1])
        counts.sort_indices()
        found.append(_tensor(counts))
    return found


def _hops_from(start: str, relations: Sequence[Relation]) -> list[Hop]:
    along = [Hop(relation) for relation in relations if relation[0] == start]
    return along + [Hop(relation, against=True) for relation in relations if relation[2] == start]


def _name(hop: Hop) -> str:
    return f"~{hop.relation[1]}" if hop.against else hop.relation[1]


def _back(hop: Hop) -> Hop:
    return Hop(hop.relation, not hop.against)


def _matrix(graph: HeteroData, hop: Hop) -> sp.csr_array:
    """Which nodes a step connects, ``(nodes of its start, nodes of its end)`` of zeros and ones."""
    source, _, destination = hop.relation
    row, column = graph[hop.relation].edge_index.cpu().numpy()
    shape = (int(graph[source].num_nodes), int(graph[destination].num_nodes))
    matrix = sp.csr_array((np.ones(len(row), dtype=np.float32), (row, column)), shape=shape)
    matrix.data[:] = 1
    return matrix.T.tocsr() if hop.against else matrix


def _product(left: sp.csr_array, right: sp.csr_array) -> sp.csr_array:
    return (left @ right).tocsr()


def _tensor(matrix: sp.csr_array) -> Tensor:
    """The same as a tensor in CSR."""
    start, column, value = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(start, column, value, size=matrix.shape, check_invariants=False)


def _blocks(first: sp.csr_array, second: sp.csr_array) -> Iterator[slice]:
    """Slices of rows whose products hold at most about ``BLOCK_ENTRIES`` entries."""
    cost = np.asarray(first.astype(bool).astype(np.int64) @ np.diff(second.indptr)).cumsum()
    start, done = 0, 0
    while start < len(cost):
        stop = max(start + 1, int(np.searchsorted(cost, done + BLOCK_ENTRIES, side="right")))
        yield slice(start, stop)
        start, done = stop, int(cost[stop - 1])
