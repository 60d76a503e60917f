"""Graphs of meta-paths: how alike two nodes are by the paths between them, their best neighbours, and normalisation.

PathSim (Sun et al. 2011, VLDB) and the preparation of MEOW (Yu et al. 2023, SDM), computed over the edges only, so that
a sparse matrix of counts is never made dense. Nothing here carries gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from accord.functional.checks import as_float, check_ndim, check_range, check_shape


@torch.no_grad()
def pathsim(counts: Tensor) -> Tensor:
    """How alike two nodes are by the paths between them: ``2 A_ij / (A_ii + A_jj)`` (PathSim; Sun et al. 2011, VLDB).

    Args:
        counts: ``(N, N)`` number of path instances A, the diagonal included; dense, sparse COO or sparse CSR.

    Returns:
        ``(N, N)`` in the layout of ``counts``, float32 at least; 0 where there is no path, and where neither node
        has a path to itself.

    Raises:
        ShapeError: ``counts`` is not square.

    Example:
        >>> pathsim(torch.tensor([[4, 2], [2, 1]]))
        tensor([[1.0000, 0.8000],
                [0.8000, 1.0000]])
    """
    row, column, value = _edges(counts=counts)
    return _from_edges(row, column, _edge_pathsim(row, column, value, len(counts)), counts)


@torch.no_grad()
def topk_neighbors(counts: Tensor, k: int) -> Tensor:
    """Keep of every row the k entries of largest PathSim, with their counts; the diagonal competes (MEOW).

    The result is not symmetric. Of equal PathSim the lower column is taken.

    Args:
        counts: ``(N, N)`` number of path instances, the diagonal included; dense, sparse COO or sparse CSR.
        k: entries per row; rows that have fewer keep all.

    Returns:
        ``(N, N)`` in the layout and type of ``counts``.

    Raises:
        ShapeError: ``counts`` is not square.
        ValueError: k below 1.

    Example:
        >>> topk_neighbors(torch.tensor([[4, 2, 1], [2, 4, 3], [1, 3, 9]]), k=2)
        tensor([[4, 2, 0],
                [2, 4, 0],
                [0, 3, 9]])
    """
    check_range(1, max(k, 1), k=k)
    row, column, value = _edges(counts=counts)
    likeness = _edge_pathsim(row, column, value, len(counts))
    order = likeness.argsort(descending=True, stable=True)
    order = order[row[order].argsort(stable=True)]  # by row, then by PathSim
    ranked = row[order]
    place = torch.arange(len(order), device=order.device) - torch.searchsorted(ranked, ranked)
    kept = order[place < k]
    return _from_edges(row[kept], column[kept], value[kept], counts)


@torch.no_grad()
def normalize_adjacency(adjacency: Tensor) -> Tensor:
    """``D^-½ Aᵀ D^-½`` with the row sums of A on the diagonal of D; a row of sum 0 stays 0 (MEOW).

    The transpose matters after :func:`topk_neighbors`: messages then flow against the kept edges.

    Args:
        adjacency: ``(N, N)`` non-negative A; dense, sparse COO or sparse CSR.

    Returns:
        ``(N, N)`` in the layout of ``adjacency``, float32 at least.

    Raises:
        ShapeError: ``adjacency`` is not square.

    Example:
        >>> normalize_adjacency(torch.tensor([[0.0, 4.0], [1.0, 0.0]]))
        tensor([[0.0000, 0.5000],
                [2.0000, 0.0000]])
    """
    row, column, value = _edges(adjacency=adjacency)
    value = as_float(value)
    degree = value.new_zeros(len(adjacency)).index_add(0, row, value)
    scale = degree.rsqrt().masked_fill(degree <= 0, 0)
    return _from_edges(column, row, scale[column] * value * scale[row], adjacency)


@torch.no_grad()
def cluster_negative_weights(assignments: Sequence[Tensor], rows: slice | None = None) -> Tensor:
    """In how many clusterings two samples lie in different clusters: the weight of a negative (MEOW).

    Args:
        assignments: T clusterings, each ``(N,)`` cluster numbers.
        rows: the rows wanted, so that ``(N, N)`` need never be held; None for all.

    Returns:
        ``(N, N)``, or ``(R, N)`` for a slice of R rows, float32 in 0 … T; 0 for a sample and itself.

    Raises:
        ShapeError: clusterings of different length.
        ValueError: no clustering.

    Example:
        >>> cluster_negative_weights([torch.tensor([0, 0, 1]), torch.tensor([0, 1, 2])])
        tensor([[0., 1., 2.],
                [1., 0., 2.],
                [2., 2., 0.]])
    """
    check_range(1, max(len(assignments), 1), **{"number of assignments": len(assignments)})
    check_ndim(1, **{"assignments[0]": assignments[0]})
    weight = torch.zeros((), device=assignments[0].device)
    for position, cluster in enumerate(assignments):
        check_shape((len(assignments[0]),), **{f"assignments[{position}]": cluster})
        anchors = cluster if rows is None else cluster[rows]
        weight = weight + (anchors[:, None] != cluster).float()
    return weight


def _edge_pathsim(row: Tensor, column: Tensor, value: Tensor, count: int) -> Tensor:
    """PathSim of every edge, ``(E,)``."""
    value = as_float(value)
    diagonal = row == column
    own = value.new_zeros(count).index_add(0, row[diagonal], value[diagonal])
    both = own[row] + own[column]
    return torch.where(both > 0, 2 * value / both, 0)


def _edges(**named: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column and value of the entries of one square matrix that are not 0, in row-major order, each ``(E,)``."""
    matrix = next(iter(named.values()))
    check_ndim(2, **named)
    check_shape((len(matrix), len(matrix)), **named)
    if matrix.layout == torch.strided:
        row, column = matrix.nonzero(as_tuple=True)
        return row, column, matrix[row, column]
    entries = matrix.to_sparse_coo().coalesce()
    row, column = entries.indices()
    real = entries.values() != 0
    return row[real], column[real], entries.values()[real]


def _from_edges(row: Tensor, column: Tensor, value: Tensor, like: Tensor) -> Tensor:
    """The matrix of the edges, of the size and layout of ``like``."""
    if like.layout == torch.strided:
        return value.new_zeros(like.shape).index_put((row, column), value)
    matrix = torch.sparse_coo_tensor(torch.stack([row, column]), value, like.shape, check_invariants=True).coalesce()
    return matrix if like.layout == torch.sparse_coo else matrix.to_sparse_csr()
