"""The directions in which rows vary most."""

from __future__ import annotations

import torch
from torch import Tensor

from accord.functional.checks import as_float, check_finite, check_ndim, check_range


@torch.no_grad()
def principal_axes(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Mean and directions of :func:`accord.functional.principal_components`, to place other rows beside these.

    Args:
        x: ``(N, D)``; finite.
        dim: how many directions, at most D.

    Returns:
        ``(D,)`` mean and ``(D, dim)`` orthonormal axes: the coordinates of a row are ``(row - mean) @ axes``.

    Raises:
        ShapeError: ``x`` is not a matrix.
        ValueError: a row that is not finite, dim outside [1, D].

    Example:
        >>> mean, axes = principal_axes(torch.tensor([[1.0, 5.0], [3.0, 5.0]]), dim=1)
        >>> mean, axes.abs()
        (tensor([2., 5.]), tensor([[1.],
                [0.]]))
    """
    check_ndim(2, x=x)
    check_range(1, x.shape[1], dim=dim)
    check_finite(x=x)
    with torch.autocast(x.device.type, enabled=False):
        x = as_float(x)
        mean = x.mean(dim=0)
        x = x - mean
        axes = torch.linalg.eigh((x.T @ x).double().cpu()).eigenvectors  # ascending; on the CPU: not all have float64
        return mean, axes[:, -dim:].flip(1).to(x)
