"""Whether two sets of embeddings of the same rows agree on which rows are alike, whatever their axes and widths.

Neighbour lists are compared (mutual k-nearest neighbours and its kin) or kernels (CKA). Nothing of N × N is held: lists
and sums are made from blocks of rows.

Huh et al. (2024, ICML, "The Platonic Representation Hypothesis"); Kornblith et al. (2019, ICML) for CKA; Song et al.
(2012, JMLR) for the unbiased HSIC.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import as_float, check_choice, check_ndim, check_positive, check_range

BLOCK = 1 << 23  # numbers of a block of similarities
GUARD = 1e-6  # of the ratio of kernels, as published


@torch.no_grad()
def knn_indices(x: Tensor, k: int, rows: int | None = None) -> Tensor:
    """The k rows of largest cosine for each row, itself left out, the nearest first.

    Args:
        x: ``(N, D)``.
        k: from 1 to N - 1.
        rows: of a block; None for what suits the memory.

    Returns:
        ``(N, k)`` int64.

    Raises:
        ShapeError: not a matrix.
        ValueError: k outside its range.

    Example:
        >>> knn_indices(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), k=1).tolist()
        [[1], [0], [1]]
    """
    check_ndim(2, x=x)
    check_range(1, len(x) - 1, k=k)
    unit = F.normalize(as_float(x), dim=1)
    found = []
    for first in range(0, len(unit), rows or _rows(len(unit))):
        near = unit[first : first + (rows or _rows(len(unit)))] @ unit.T
        own = torch.arange(len(near), device=x.device)
        near[own, first + own] = -torch.inf
        found.append(near.topk(k, dim=1).indices)
    return torch.cat(found)


def neighbour_overlap(one: Tensor, other: Tensor) -> Tensor:
    """Share ``(N,)`` of each row's neighbours in one list that are in the other as well.

    Args:
        one: ``(N, k)``.
        other: ``(N, k)``.

    Example:
        >>> neighbour_overlap(torch.tensor([[1, 2], [0, 2]]), torch.tensor([[2, 3], [4, 5]]))
        tensor([0.5000, 0.0000], dtype=torch.float64)
    """
    return (one[:, :, None] == other[:, None, :]).any(dim=2).double().mean(dim=1)


def mutual_knn_per_item(x: Tensor, y: Tensor, k: int = 10) -> Tensor:
    """Share ``(N,)`` of the k nearest neighbours of each row that are so in both spaces.

    Args:
        x: ``(N, D)``.
        y: ``(N, E)``, row i of the same thing as row i of ``x``.
        k: neighbours.

    Example:
        >>> mutual_knn_per_item(torch.eye(3), torch.eye(3), k=2)
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    _check_paired(x, y)
    return neighbour_overlap(knn_indices(x, k), knn_indices(y, k))


def mutual_knn(x: Tensor, y: Tensor, k: int = 10) -> float:
    """Mean share of the k nearest neighbours that are so in both spaces; by chance ``k / (N - 1)``.

    Compare only what was measured with the same rows and the same k. Rows that are equal have neighbours in no certain
    order: leave duplicates out.

    Args:
        x: ``(N, D)``.
        y: ``(N, E)``.
        k: neighbours, below N.

    Raises:
        ShapeError: not matrices of as many rows.
        ValueError: k outside its range.

    Source:
        Huh et al. (2024), section 2; "Dynamic Reflections" (2026), section 3.

    Example:
        >>> x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
        >>> mutual_knn(x, 3 * x @ torch.linalg.qr(x.T @ x).Q, k=5)  # turned and scaled
        1.0
    """
    return float(mutual_knn_per_item(x, y, k).mean())


def cycle_knn(x: Tensor, y: Tensor, k: int = 10) -> float:
    """Share of rows that are among the x-neighbours of one of their y-neighbours; not symmetric, near 1 for large k.

    Args:
        x: ``(N, D)``.
        y: ``(N, E)``.
        k: neighbours, below N.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
        >>> cycle_knn(x, x, k=1)
        1.0
    """
    _check_paired(x, y)
    there = knn_indices(x, k)[knn_indices(y, k)]  # (N, k, k)
    return float((there == torch.arange(len(x), device=x.device)[:, None, None]).flatten(1).any(dim=1).double().mean())


def lcs_knn(x: Tensor, y: Tensor, k: int = 10) -> float:
    """Mean length of the longest common subsequence of the two lists of neighbours, the nearest first.

    Args:
        x: ``(N, D)``.
        y: ``(N, E)``.
        k: neighbours, below N.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
        >>> lcs_knn(x, x, k=3)
        3.0
    """
    _check_paired(x, y)
    one, other = knn_indices(x, k), knn_indices(y, k)
    longest = one.new_zeros(len(x), k + 1)
    for place in range(k):
        before, longest = longest, torch.zeros_like(longest)
        same = one[:, place, None] == other
        for end in range(1, k + 1):
            grown = before[:, end - 1] + 1
            longest[:, end] = torch.where(same[:, end - 1], grown, torch.maximum(before[:, end], longest[:, end - 1]))
    return float(longest[:, -1].double().mean())


@torch.no_grad()
def cka(
    x: Tensor, y: Tensor, kernel: Literal["linear", "rbf"] = "linear", unbiased: bool = False, sigma: float = 1.0
) -> float:
    """Centred kernel alignment of two spaces: 1 where their kernels are alike; more for wide and deep models.

    ``h(K, L) / (sqrt(h(K, K) h(L, L)) + 1e-6)`` on rows of unit norm, with ``h = tr(KHLH)``, or its unbiased estimate,
    for which the diagonals are left out.

    Args:
        x: ``(N, D)``.
        y: ``(N, E)``.
        kernel: inner product, or ``exp(-|a - b|² / (2 σ²))``.
        unbiased: the estimate of Song et al., which needs four rows.
        sigma: σ.

    Raises:
        ShapeError: not matrices of as many rows.
        ValueError: unknown kernel, σ that is not positive, too few rows.

    Example:
        >>> x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
        >>> round(cka(x, x @ torch.linalg.qr(x.T @ x).Q), 4)
        1.0
    """
    _check_paired(x, y)
    check_choice(("linear", "rbf"), kernel=kernel)
    check_positive(sigma=sigma)
    if unbiased:
        check_range(4, max(len(x), 4), **{"number of rows": len(x)})
    sides = [F.normalize(as_float(side).double(), dim=1) for side in (x, y)]
    width = sigma if kernel == "rbf" else None
    cross, own_x, own_y = (_hsic(sides[one], sides[other], width, unbiased) for one, other in ((0, 1), (0, 0), (1, 1)))
    return float(cross / ((own_x * own_y).sqrt() + GUARD))


@torch.no_grad()
def cknna(x: Tensor, y: Tensor, k: int = 10) -> float:
    """CKA with linear kernels and the unbiased HSIC, of those entries alone that are neighbours in both spaces.

    Args:
        x: ``(N, D)``.
        y: ``(N, E)``.
        k: neighbours, below N.

    Source:
        Huh et al. (2024), appendix A.

    Example:
        >>> x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
        >>> round(cknna(x, x, k=5), 4)
        1.0
    """
    _check_paired(x, y)
    check_range(4, max(len(x), 4), **{"number of rows": len(x)})
    sides = [F.normalize(as_float(side).double(), dim=1) for side in (x, y)]
    lists = [knn_indices(side, k) for side in sides]
    cross, own_x, own_y = (_hsic_near(sides, lists, pair) for pair in ((0, 1), (0, 0), (1, 1)))
    return float(cross / ((own_x * own_y).sqrt() + GUARD))


def _hsic(x: Tensor, y: Tensor, sigma: float | None, unbiased: bool) -> Tensor:
    """``h(K, L)`` from sums over blocks of rows: tr(KL), and the sums of the rows of both kernels."""
    count = len(x)
    trace, rows_k, rows_l = x.new_zeros(()), [], []
    for first, k, m in _kernels(x, y, sigma):
        if unbiased:
            own = torch.arange(len(k), device=k.device)
            k[own, first + own] = m[own, first + own] = 0
        trace = trace + (k * m).sum()
        rows_k.append(k.sum(dim=1))
        rows_l.append(m.sum(dim=1))
    sums_k, sums_l = torch.cat(rows_k), torch.cat(rows_l)
    if unbiased:
        return _unbiased(trace, sums_k.sum(), sums_l.sum(), sums_k @ sums_l, count)
    return trace - 2 * (sums_k @ sums_l) / count + sums_k.sum() * sums_l.sum() / count**2


def _unbiased(trace: Tensor, sum_k: Tensor, sum_l: Tensor, sum_kl: Tensor, n: int) -> Tensor:
    """The unbiased HSIC from tr(KL), ΣK, ΣL and Σ(KL) of kernels without diagonals."""
    return (trace + sum_k * sum_l / ((n - 1) * (n - 2)) - 2 * sum_kl / (n - 2)) / (n * (n - 3))


def _kernels(x: Tensor, y: Tensor, sigma: float | None) -> Iterator[tuple[int, Tensor, Tensor]]:
    """The first row and both kernels ``(R, N)`` of each block of rows."""
    for first in range(0, len(x), _rows(len(x))):
        block = slice(first, first + _rows(len(x)))
        k, m = x[block] @ x.T, y[block] @ y.T
        if sigma is not None:  # rows have unit norm: the squared distance is 2 - 2 cos
            k, m = ((((each - 1) / sigma**2).exp()) for each in (k, m))
        yield first, k, m


def _hsic_near(sides: list[Tensor], lists: list[Tensor], pair: tuple[int, int]) -> Tensor:
    """The unbiased HSIC of the linear kernels where both lists name the entry; both are sparse."""
    one, other = pair
    count, k = lists[one].shape
    both = (lists[one][:, :, None] == lists[other][:, None, :]).any(dim=2)
    row = torch.arange(count, device=both.device)[:, None].expand(-1, k)[both]
    column = lists[one][both]
    k_values, l_values = ((sides[side][row] * sides[side][column]).sum(dim=1) for side in pair)
    codes, order = (row * count + column).sort()
    place = torch.searchsorted(codes, column * count + row).clamp(max=max(len(codes) - 1, 0))
    mirrored = codes[place] == column * count + row  # the mask is not symmetric: tr(KL) is over what it names twice
    trace = (k_values * l_values[order[place]])[mirrored].sum()
    columns_k = k_values.new_zeros(count).index_add(0, column, k_values)
    rows_l = l_values.new_zeros(count).index_add(0, row, l_values)
    return _unbiased(trace, k_values.sum(), l_values.sum(), columns_k @ rows_l, count)


def _check_paired(x: Tensor, y: Tensor) -> None:
    check_ndim(2, x=x, y=y)
    check_range(len(x), len(x), **{"rows of y": len(y)})


def _rows(count: int) -> int:
    """Rows of a block."""
    return max(1, min(count, BLOCK // max(count, 1)))
