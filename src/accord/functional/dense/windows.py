"""Soft windows around points of a frame, and what two neighbouring frames show inside theirs (ILA).

Tu et al. 2023, ICCV: for each pair of neighbouring frames a point is predicted in either; a window around
it weighs the frame's cells, the two contents are drawn together, and each frame gets back what it showed in its pairs.
Points are ``(x, y)`` in [-1, 1], x along the columns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import as_float, check_range, check_shape, check_trailing_shape


def soft_window(points: Tensor, size: int, flat: float = 0.25, slope: float = 1.5) -> Tensor:
    """Weights of the cells of a square map around a point: 1 near it, falling to 0 along both axes.

    Cell j lies at ``u_j = 2j / (W - 1) - 1``; ``mask[i, j] = s(u_i - y) s(u_j - x)`` with s(d) = 1 for |d| ≤ flat, else
    ``max(0, 1 - slope (|d| - flat))``.

    Args:
        points: ``(..., 2)`` as x, y.
        size: W, cells on a side, at least 2.
        flat: half the width of the part that counts fully.
        slope: how fast the weight falls beyond it.

    Returns:
        ``(..., W, W)``, rows first.

    Raises:
        ShapeError: points of another shape.
        ValueError: a map of a single cell.

    Example:
        >>> soft_window(torch.tensor([1.0, 0.0]), 3)
        tensor([[0., 0., 0.],
                [0., 0., 1.],
                [0., 0., 0.]])
    """
    across, down = _along_axes(points, size, points.new_zeros(1), flat, slope)
    return down[..., :, None] * across[..., None, :]


def neighbour_average(
    points: Tensor, size: int, delta: float | Tensor, flat: float = 0.25, slope: float = 1.5
) -> Tensor:
    """The mean of the windows around a point and around its eight neighbours, ``delta`` away along the axes.

    One window is flat in its middle and beyond its edges, where no gradient reaches the point; nine are so at fewer
    places.

    Args:
        points: ``(..., 2)`` as x, y.
        size: W, cells on a side, at least 2.
        delta: how far away the neighbours are; a scalar tensor stays on its device.
        flat: as of :func:`soft_window`.
        slope: likewise.

    Returns:
        ``(..., W, W)``, rows first.

    Raises:
        ShapeError: points of another shape.
        ValueError: a map of a single cell.

    Example:
        >>> point = torch.tensor([0.0, 0.0])
        >>> torch.allclose(neighbour_average(point, 7, delta=0.0), soft_window(point, 7))
        True
    """
    steps = torch.tensor([-1, 0, 1], dtype=as_float(points).dtype, device=points.device) * delta
    # The mean over all nine pairs of steps is the product of the means along the axes.
    across, down = _along_axes(points, size, steps, flat, slope)
    return down[..., :, None] * across[..., None, :]


def merge_pairs(prev: Tensor, cur: Tensor, mask: Tensor | None = None) -> Tensor:
    """What T frames showed in their T - 1 pairs of neighbours: the first and last in one, the others the mean of two.

    Args:
        prev: ``(B, T-1, ...)`` of the earlier frame of each pair.
        cur: ``(B, T-1, ...)`` of the later one.
        mask: ``(B, T-1)`` bool, pairs of which both frames are real; None for all. A frame in none of them gets zeros.

    Returns:
        ``(B, T, ...)``.

    Raises:
        ShapeError: shapes that differ.

    Example:
        >>> merge_pairs(torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 5.0]]))
        tensor([[1., 3., 5.]])
    """
    check_shape(tuple(prev.shape), cur=cur)
    real = torch.ones(prev.shape[:2], dtype=torch.bool, device=prev.device) if mask is None else mask
    check_shape(tuple(prev.shape[:2]), mask=real)
    real = real.view(*real.shape, *[1] * (prev.ndim - 2))
    # A frame is the earlier one of the pair of its own number, and the later one of that before.
    total = _padded(prev.where(real, 0), (0, 1)) + _padded(cur.where(real, 0), (1, 0))
    count = _padded(real.to(prev.dtype), (0, 1)) + _padded(real.to(prev.dtype), (1, 0))
    return total / count.clamp_min(1)


def pair_cosine_loss(p: Tensor, q: Tensor, mask: Tensor | None = None, *, reduction: str = "mean") -> Tensor:
    """How far apart the contents of two windows point, ``1 - cos(p, q)`` (ILA's alignment loss).

    Args:
        p: ``(..., C)``.
        q: ``(..., C)``.
        mask: ``(...)`` bool, the pairs that count; None for all.
        reduction: ``mean`` over the pairs that count, 0 without any, or ``none``.

    Returns:
        Scalar; ``(...)`` without reduction, 0 for what does not count. float64 for such input, else float32.

    Raises:
        ShapeError: shapes that differ.

    Example:
        >>> pair_cosine_loss(torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        tensor(0.5000)
    """
    check_shape(tuple(p.shape), q=q)
    away = 1 - F.cosine_similarity(as_float(p), as_float(q), dim=-1)
    if mask is not None:
        check_shape(tuple(away.shape), mask=mask)
        away = away.where(mask, 0)
    if reduction == "none":
        return away
    return away.sum() / (away.numel() if mask is None else mask.sum().clamp_min(1))


def _along_axes(points: Tensor, size: int, steps: Tensor, flat: float, slope: float) -> tuple[Tensor, Tensor]:
    """Weights ``(..., W)`` of columns and of rows, their means over points moved by ``steps (S,)``."""
    check_trailing_shape((2,), points=points)
    check_range(2, max(size, 2), size=size)
    points = as_float(points)
    grid = torch.linspace(-1, 1, size, dtype=points.dtype, device=points.device)
    moved = points[..., None] + steps.to(points)  # (..., 2, S)
    away = (grid - moved[..., None]).abs()  # (..., 2, S, W)
    falling = F.relu(1 - slope * (away - flat))
    weights = torch.where(away <= flat, 1.0, falling).mean(dim=-2)  # flat up to its edge, where no gradient comes in
    return weights[..., 0, :], weights[..., 1, :]


def _padded(part: Tensor, side: tuple[int, int]) -> Tensor:
    """``(B, T-1, ...)`` with a step of zeros before or behind."""
    return F.pad(part, (*[0, 0] * (part.ndim - 2), *side))
