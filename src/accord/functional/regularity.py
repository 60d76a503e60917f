"""How a set of embeddings fills the sphere: alignment, uniformity, modality gap, effective rank.

Wang and Isola (2020, ICML) for alignment and uniformity, Liang et al. (2022, NeurIPS) for the gap, Roy and
Vetterli (2007, EUSIPCO) for the effective rank.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from accord.functional.checks import as_float, check_ndim, check_positive, check_same_shape, check_same_width
from accord.functional.tiled import tiled_logsumexp


def alignment(x: Tensor, y: Tensor, alpha: float = 2.0) -> Tensor:
    """Mean distance of the pairs, ``mean ||x_i - y_i||^alpha``; 0 when every pair coincides.

    Args:
        x: ``(N, D)`` unit norm.
        y: ``(N, D)`` unit norm.
        alpha: power of the distance.

    Returns:
        Scalar in [0, 2^alpha].

    Raises:
        ShapeError: not two matrices of the same shape.
        ValueError: alpha that is not finite and positive.

    Example:
        >>> alignment(torch.eye(2), torch.eye(2).flip(0))
        tensor(2.)
    """
    check_same_shape(x=x, y=y)
    check_positive(alpha=alpha)
    square = (as_float(x) - as_float(y)).square().sum(dim=1)
    return (square if alpha == 2 else square.pow(alpha / 2)).mean()


def uniformity(x: Tensor, t: float = 2.0) -> Tensor:
    """``log mean exp(-t ||x_i - x_j||²)`` over all pairs i ≠ j; lower is more uniform. Memory linear in N.

    Args:
        x: ``(N, D)``, N ≥ 2, usually unit norm.
        t: sharpness of the kernel.

    Returns:
        Scalar, in [-4 t, 0] for unit norm.

    Raises:
        ShapeError: ``x`` is not a matrix.
        ValueError: fewer than two rows, t that is not finite and positive.

    Example:
        >>> uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        tensor(-8.)
    """
    check_ndim(2, x=x)
    check_positive(t=t)
    if len(x) < 2:
        raise ValueError(f"x has {len(x)} rows: expected at least 2")
    with torch.autocast(x.device.type, enabled=False):
        x = as_float(x)
        half = x.square().sum(dim=1, keepdim=True) / 2
        one = torch.ones_like(half)
        left, right = torch.cat([x, one, -half], dim=1), torch.cat([x, -half, one], dim=1)
        rows = tiled_logsumexp(left, right, 2 * t, exclude_self=True)  # left·right = -||x_i - x_j||² / 2
    return torch.logsumexp(rows, dim=0) - math.log(len(x) * (len(x) - 1))


def modality_gap(u: Tensor, v: Tensor) -> Tensor:
    """Distance between the centres of two modalities, ``||mean(u) - mean(v)||``.

    Args:
        u: ``(N, D)`` unit norm.
        v: ``(M, D)`` unit norm.

    Returns:
        Scalar in [0, 2].

    Raises:
        ShapeError: not matrices of equal width.

    Example:
        >>> modality_gap(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]]))
        tensor(2.)
    """
    check_same_width(u=u, v=v)
    return torch.linalg.vector_norm(as_float(u).mean(dim=0) - as_float(v).mean(dim=0))


def effective_rank(x: Tensor) -> Tensor:
    """Number of dimensions that vectors really use: exp of the entropy of their normalised singular values.

    Args:
        x: ``(N, D)``, not centred here.

    Returns:
        Scalar in [1, min(N, D)]; 1 for collapsed features.

    Raises:
        ShapeError: ``x`` is not a matrix.

    Example:
        >>> effective_rank(torch.eye(3)).round(decimals=4)
        tensor(3.)
    """
    check_ndim(2, x=x)
    spectrum = torch.linalg.svdvals(as_float(x))
    share = spectrum / spectrum.sum().clamp(min=torch.finfo(spectrum.dtype).tiny)
    return torch.special.entr(share).sum().exp()
