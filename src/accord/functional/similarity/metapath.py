"""Graphs of meta-paths: how alike two nodes are by the paths between them, their best neighbours, and normalisation.

PathSim (Sun et al. 2011, VLDB) and the preparation of MEOW (Yu et al. 2023, SDM), computed over the edges only, so that
a sparse matrix of counts is never made dense. Nothing here carries gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import as_float, check_ndim, check_range, check_shape, check_share


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
    own = as_float(_diagonal(row, column, value, len(counts)))
    return _from_edges(row, column, _likeness(as_float(value), own[row], own[column]), counts)


@torch.no_grad()
def topk_neighbors(counts: Tensor, k: int, *, own: Tensor | None = None, first: int = 0) -> Tensor:
    """Keep of every row the k entries of largest PathSim, with their counts; the diagonal competes (MEOW).

    The result is not symmetric. Of equal PathSim the lower column is taken.

    Args:
        counts: ``(N, N)`` number of path instances, the diagonal included; dense, sparse COO or sparse CSR. With
            ``own``, a block ``(R, N)`` of its rows, for graphs whose whole matrix would not fit.
        k: entries per row; rows that have fewer keep all.
        own: ``(N,)`` the diagonal of the whole matrix, where ``counts`` is a block.
        first: number of the first row of the block.

    Returns:
        As ``counts``, in its layout and type.

    Raises:
        ShapeError: ``counts`` is not square, or no block of a matrix with the diagonal ``own``.
        ValueError: k below 1.

    Example:
        >>> topk_neighbors(torch.tensor([[4, 2, 1], [2, 4, 3], [1, 3, 9]]), k=2)
        tensor([[4, 2, 0],
                [2, 4, 0],
                [0, 3, 9]])
        >>> topk_neighbors(torch.tensor([[1, 3, 9]]), k=2, own=torch.tensor([4, 4, 9]), first=2)
        tensor([[0, 3, 9]])
    """
    check_range(1, max(k, 1), k=k)
    if own is None:
        row, column, value = _edges(counts=counts)
        own = _diagonal(row, column, value, len(counts))
    else:
        check_shape((None, len(own)), counts=counts)
        row, column, value = _entries(counts)
    likeness = _likeness(as_float(value), as_float(own)[row + first], as_float(own)[column])
    kept = _largest_of_rows(row, column, likeness, k, len(counts))
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
def row_normalize_features(x: Tensor) -> Tensor:
    """Features whose rows sum to 1 in absolute value; a row of zeros stays (MEOW).

    Args:
        x: ``(N, F)``, dense or sparse COO.

    Returns:
        ``(N, F)`` in the layout of ``x``, float32 at least.

    Raises:
        ShapeError: ``x`` is not a matrix.

    Example:
        >>> row_normalize_features(torch.tensor([[1.0, 3.0], [0.0, 0.0]]))
        tensor([[0.2500, 0.7500],
                [0.0000, 0.0000]])
    """
    check_ndim(2, x=x)
    x = as_float(x)
    if x.layout == torch.strided:
        return F.normalize(x, p=1, dim=1)
    x = x.coalesce()
    row, value = x.indices()[0], x.values()
    total = value.new_zeros(len(x)).index_add(0, row, value.abs())[row]
    value = torch.where(total > 0, value / total, 0)
    return torch.sparse_coo_tensor(x.indices(), value, x.shape, check_invariants=True).coalesce()


@torch.no_grad()
def mask_edges(adjacency: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """A perturbed graph: without self-loops and a random share of its directed edges, all weights 1, plus I (MEOW).

    Args:
        adjacency: ``(N, N)`` sparse; its entries are the edges, whatever their weights.
        share: of the edges that are dropped, in [0, 1).
        generator: decides which.

    Returns:
        ``(N, N)`` sparse COO float32, not normalised.

    Raises:
        ShapeError: ``adjacency`` is not square.
        ValueError: a share outside [0, 1].

    Example:
        >>> mask_edges(torch.tensor([[5.0, 3.0], [0.0, 7.0]]).to_sparse(), 0.0).to_dense()
        tensor([[1., 1.],
                [0., 1.]])
    """
    check_share(share=share)
    row, column, _ = _edges(adjacency=adjacency)
    other = row != column
    row, column = row[other], column[other]
    kept = _kept(len(row), share, generator).to(row.device)
    own = torch.arange(len(adjacency), device=row.device)
    index = torch.stack([torch.cat([row[kept], own]), torch.cat([column[kept], own])])
    ones = torch.ones(index.shape[1], device=row.device)
    return torch.sparse_coo_tensor(index, ones, adjacency.shape, check_invariants=True).coalesce()


@torch.no_grad()
def mask_features(x: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Set a random share of the entries that are not 0 to 0 (MEOW).

    Args:
        x: ``(N, F)``, dense or sparse.
        share: of the entries, in [0, 1).
        generator: decides which.

    Returns:
        ``(N, F)``: dense as ``x``, or sparse COO.

    Raises:
        ValueError: a share outside [0, 1].

    Example:
        >>> mask_features(torch.ones(2, 2), 0.5, torch.Generator().manual_seed(0)).sum()
        tensor(2.)
    """
    check_share(share=share)
    row, column, value = _entries(x)
    kept = _kept(len(row), share, generator).to(row.device)
    if x.layout == torch.strided:
        return torch.zeros_like(x).index_put((row[kept], column[kept]), value[kept])
    index = torch.stack([row[kept], column[kept]])
    return torch.sparse_coo_tensor(index, value[kept], x.shape, check_invariants=True).coalesce()


@torch.no_grad()
def cluster_negative_weights(
    assignments: Sequence[Tensor], rows: slice | None = None, columns: slice | None = None
) -> Tensor:
    """In how many clusterings two samples lie in different clusters: the weight of a negative (MEOW).

    Args:
        assignments: T clusterings, each ``(N,)`` cluster numbers.
        rows: the rows wanted, so that ``(N, N)`` need never be held; None for all.
        columns: the columns wanted, likewise.

    Returns:
        ``(N, N)``, or ``(R, M)`` for slices of R rows and M columns, float32 in 0 … T; 0 for a sample and itself.

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
        others = cluster if columns is None else cluster[columns]
        weight = weight + (anchors[:, None] != others).float()
    return weight


def _kept(count: int, share: float, generator: torch.Generator | None) -> Tensor:
    """Positions ``(n,)`` of what is left of ``count`` things without a share of them, ascending."""
    order = torch.randperm(count, generator=generator)
    return order[round(share * count) :].sort().values


def _diagonal(row: Tensor, column: Tensor, value: Tensor, count: int) -> Tensor:
    """The diagonal ``(N,)`` of a matrix of ``count`` rows from its entries."""
    own = row == column
    return value.new_zeros(count).index_add(0, row[own], value[own])


def _likeness(value: Tensor, own_row: Tensor, own_column: Tensor) -> Tensor:
    """PathSim ``(E,)`` of entries from their counts and those on the diagonal."""
    both = own_row + own_column
    return torch.where(both > 0, 2 * value / both, 0)


def _largest_of_rows(row: Tensor, column: Tensor, value: Tensor, k: int, rows: int) -> Tensor:
    """Positions of the k largest values of every row, of equal ones the lower columns; ``row (E,)`` ascends."""
    length = torch.bincount(row, minlength=rows)
    end = length.cumsum(dim=0)
    kept = torch.ones_like(row, dtype=torch.bool)
    for stop, count in zip(end[length > k].tolist(), length[length > k].tolist(), strict=True):
        part = slice(stop - count, stop)
        least = value[part].topk(k).values[-1]
        best = value[part] > least
        tied = (value[part] == least).nonzero().squeeze(1)
        best[tied[column[part][tied].topk(k - int(best.sum()), largest=False).indices]] = True
        kept[part] = best
    return kept.nonzero().squeeze(1)


def _edges(**named: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The entries of one square matrix, see :func:`_entries`."""
    matrix = next(iter(named.values()))
    check_ndim(2, **named)
    check_shape((len(matrix), len(matrix)), **named)
    return _entries(matrix)


def _entries(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column and value of the entries that are not 0, row after row, each ``(E,)``."""
    if matrix.layout == torch.strided:
        row, column = matrix.nonzero(as_tuple=True)
        return row, column, matrix[row, column]
    if matrix.layout == torch.sparse_csr:
        row = torch.arange(len(matrix), device=matrix.device).repeat_interleave(matrix.crow_indices().diff())
        column, value = matrix.col_indices().long(), matrix.values()
    else:
        entries = matrix.coalesce()
        row, column = entries.indices()
        value = entries.values()
    real = value != 0
    return row[real], column[real], value[real]


def _from_edges(row: Tensor, column: Tensor, value: Tensor, like: Tensor) -> Tensor:
    """The matrix of the edges, of the size and layout of ``like``."""
    if like.layout == torch.strided:
        return value.new_zeros(like.shape).index_put((row, column), value)
    matrix = torch.sparse_coo_tensor(torch.stack([row, column]), value, like.shape, check_invariants=True).coalesce()
    return matrix if like.layout == torch.sparse_coo else matrix.to_sparse_csr()
