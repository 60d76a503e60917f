"""Losses on the cells of feature maps: agreement of pixels, and a summary against its tokens.

PixPro and PixContrast (Xie et al. 2021, CVPR, "Propagate Yourself") and the local mutual information of TCL (Yang et
al. 2022, CVPR, "Vision-Language Pre-Training with Triple Contrastive Learning"). Maps are ``(N, C, H, W)``, their cells
counted row by row; token maps of a transformer fit after ``unflatten``. Geometry comes from
:mod:`accord.functional.dense.geometry`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from accord.functional.checks import as_float, check_ndim, check_positive, check_range, check_shape
from accord.functional.dense.geometry import (
    cell_distance,
    crop_pair_centers,
    pixel_positive_mask,
)
from accord.functional.engine import contrastive_loss

CHUNK_ELEMENTS = 1 << 22  # pairs of cells held at a time: 16 MiB in float32; with more, rows are recomputed backward

Part = TypeVar("Part")


def pixel_propagation(
    x: Tensor, transform: Callable[[Tensor], Tensor] | None = None, power: float = 2.0, clamp: float = 0.0
) -> Tensor:
    """Smooth a map by its similarity with itself (PixPro's pixel propagation module, eq. 3 and 4).

    ``y_i = Σ_j max(cos(x_i, x_j), clamp)^power · g(x_j) / ||g(x_j)||`` over all cells of the image, i among them. No
    softmax and no division by the sum of the similarities: the loss normalises ``y``.

    Args:
        x: ``(N, C, H, W)`` projected map, any norm.
        transform: g, applied to the map, such as a 1×1 convolution; None is the identity.
        power: exponent of the similarity. Below 1 the paper's code adds 1e-6 before, or the gradient at 0 is infinite.
        clamp: lower end of the similarity.

    Returns:
        ``(N, C', H, W)``, not normalised. Memory is quadratic in H·W.

    Raises:
        ShapeError: ``x`` or what ``transform`` returns is no map.
        ValueError: a power that is not finite and positive, or a negative clamp.

    Example:
        >>> pixel_propagation(torch.tensor([[[[2.0, 3.0]]]]))
        tensor([[[[2., 2.]]]])
    """
    check_ndim(4, x=x)
    check_positive(power=power)
    if not clamp >= 0:
        raise ValueError(f"clamp = {clamp}: expected a number ≥ 0")
    values = x if transform is None else transform(x)
    check_shape((len(x), None, *x.shape[2:]), values=values)
    with torch.autocast(x.device.type, enabled=False):
        cells, values = _unit_cells(x), _unit_cells(values)  # (N, HW, C)
        similarity = (cells @ cells.mT).clamp(min=clamp)
        similarity = (similarity if power >= 1 else similarity + 1e-6).pow(power)
        return (similarity @ values).mT.unflatten(2, x.shape[2:])


def pixpro_loss(
    q: Tensor, k: Tensor, coord_q: Tensor, coord_k: Tensor, threshold: float = 0.7, normalize: bool = True
) -> Tensor:
    """Cells of two crops that show the same place must agree (PixPro, eq. 5; half of its symmetric loss).

    ``-2 mean_n [Σ_ij M_ij cos(q_i, k_j) / (Σ_ij M_ij + 1e-6)]`` with M of
    :func:`accord.functional.dense.geometry.pixel_positive_mask`. The whole loss is
    ``pixpro_loss(p1, z2, c1, c2) + pixpro_loss(p2, z1, c2, c1)``, where p is the propagated map of the student and z
    the plain map of the teacher. Crops that do not meet contribute 0 and stay in the mean, so log their share.

    Args:
        q: ``(N, C, H, W)`` of the student.
        k: ``(N, C, H, W)`` of the teacher, without gradient in the paper.
        coord_q: ``(N, 4)`` as x1, y1, x2, y2 of the crop in the picture, x1 > x2 when mirrored.
        coord_k: ``(N, 4)``.
        threshold: largest distance of a pair, in cell diagonals.
        normalize: False when the cells have unit norm already.

    Returns:
        Scalar in [-2, 2]. Memory is linear in H·W once the pairs exceed a chunk.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> crop = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        >>> x = torch.randn(1, 8, 4, 4)
        >>> pixpro_loss(x, x, crop, crop).round(decimals=4)
        tensor(-2.)
    """
    check_ndim(4, q=q)
    check_shape(tuple(q.shape), k=k)
    check_shape((len(q), 4), coord_q=coord_q, coord_k=coord_k)
    with torch.autocast(q.device.type, enabled=False):
        at_q, at_k, diagonal = crop_pair_centers(coord_q, coord_k, *q.shape[2:])
        rows, keys = (_unit_cells(x) if normalize else as_float(x).flatten(2).mT for x in (q, k))

        def agreement(part: slice) -> tuple[Tensor, Tensor]:
            near = (cell_distance(at_q[:, part], at_k, diagonal) < threshold).to(keys)  # (N, c, HW)
            return (rows[:, part] * (near @ keys)).sum(dim=(1, 2)), near.sum(dim=(1, 2))

        parts = _by_rows(agreement, rows.shape[1], rows.shape[0] * rows.shape[1])
        gain, count = (torch.stack(each).sum(dim=0) for each in zip(*parts, strict=True))
        return -2 * (gain / (count + 1e-6)).mean()


def pixcontrast_loss(
    q: Tensor, k: Tensor, coord_q: Tensor, coord_k: Tensor, threshold: float = 0.7, temperature: float = 0.3
) -> Tensor:
    """A cell must prefer the cells of the other crop that show its place to all others (PixContrast; PixPro, eq. 2).

    ``-log [Σ_{j near i} exp(cos(q_i, k_j)/τ) / Σ_j exp(cos(q_i, k_j)/τ)]`` over the cells of the same image, averaged
    over the cells of an image that have a near one, over both directions, and over images. Crops that do not meet
    contribute 0 and stay in the mean, as in :func:`pixpro_loss`.

    Args:
        q: ``(N, C, H, W)``, any norm.
        k: ``(N, C, H, W)`` of the other view.
        coord_q: ``(N, 4)`` as x1, y1, x2, y2 of the crop in the picture, x1 > x2 when mirrored.
        coord_k: ``(N, 4)``.
        threshold: largest distance of a positive pair, in cell diagonals.
        temperature: divides the cosines.

    Returns:
        Scalar. Memory is quadratic in H·W.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> crop = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        >>> x = torch.eye(4).view(1, 4, 2, 2)
        >>> pixcontrast_loss(x, x, crop, crop, temperature=0.01)
        tensor(0.)
    """
    check_ndim(4, q=q)
    check_shape(tuple(q.shape), k=k)
    check_shape((len(q), 4), coord_q=coord_q, coord_k=coord_k)
    check_positive(temperature=temperature)
    with torch.autocast(q.device.type, enabled=False):
        logits = _unit_cells(q) @ _unit_cells(k).mT / temperature  # (N, HW, HW)
        height, width = q.shape[2:]
        near = pixel_positive_mask(coord_q, coord_k, height, width, threshold)
        forth = contrastive_loss(logits, near, numerator="joint", reduction="none")  # (N, HW)
        back = contrastive_loss(logits, near, numerator="joint", direction="columns", reduction="none")
        forth = forth.sum(dim=1) / near.any(dim=2).sum(dim=1).clamp(min=1)
        back = back.sum(dim=1) / near.any(dim=1).sum(dim=1).clamp(min=1)
        return (forth + back).mean() / 2


def local_global_nce(
    local: Tensor, glob: Tensor, tau: Tensor | float, mask: Tensor | None = None, *, own: slice | None = None
) -> Tensor:
    """A summary must prefer each of its own tokens to the tokens of all other samples (TCL's local mutual information).

    ``ℓ_ik = -log [e^{s_ik} / (e^{s_ik} + Σ_{j≠i} Σ_k' e^{s_i,jk'})]`` with ``s_i,jk = ⟨glob_i, local_jk⟩ / τ``: other
    tokens of the same sample are neither positive nor negative. Mean over the valid tokens of a sample, then over the
    samples that have one.

    Args:
        local: ``(B, n, D)`` tokens; pass them detached where they come from a momentum encoder.
        glob: ``(B, D)`` summaries.
        tau: temperature; a tensor receives its gradient.
        mask: ``(B, n)`` bool, True on valid tokens; by default all.
        own: of which samples the summaries ``(b, D)`` are: each of several processes has those of its own, and what
            they get adds up to the whole. None for all.

    Returns:
        Scalar. At most a chunk of the ``B × B·n`` similarities is held at a time.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> local_global_nce(torch.eye(2)[:, None], torch.eye(2), 0.001)
        tensor(0.)
    """
    check_ndim(3, local=local)
    sample = torch.arange(len(local), device=local.device)
    mine = sample if own is None else sample[own]
    check_shape((len(mine), local.shape[2]), glob=glob)
    check_positive(tau=tau)
    if mask is not None:
        check_shape(tuple(local.shape[:2]), mask=mask)
    valid = torch.ones(local.shape[:2], dtype=torch.bool, device=local.device) if mask is None else mask.bool()
    with torch.autocast(glob.device.type, enabled=False):
        tokens, glob, real = as_float(local).flatten(0, 1), as_float(glob), valid.flatten()
        owner = sample.repeat_interleave(local.shape[1])  # (B·n,)

        def anchors(part: slice) -> Tensor:
            its = mine[part, None] == owner  # (c, B·n)
            logits = glob[part] @ tokens.T / tau
            return contrastive_loss(logits, its & real, ~its & real, denominator="own", reduction="none")

        losses = torch.cat(_by_rows(anchors, len(glob), len(tokens)))
        return losses.sum() / valid.any(dim=1).sum().clamp(min=1)


def grid_pool(tokens: Tensor, out: int = 4, *, uneven: bool = False) -> Tensor:
    """Average a square grid of tokens over windows, to ``out × out`` tokens (TCL's local image features).

    Args:
        tokens: ``(B, side², D)``, row by row, without a class token.
        out: side of the result, a divisor of the side.
        uneven: ``out`` need not be a divisor: windows of nearly equal size that may overlap by a row, as PyTorch's
            adaptive pooling makes them.

    Returns:
        ``(B, out², D)``, not normalised again.

    Raises:
        ShapeError: ``tokens`` has not three dimensions.
        ValueError: tokens that form no square, or whose side ``out`` does not divide.

    Example:
        >>> grid_pool(torch.arange(4.0).view(1, 4, 1), out=1)
        tensor([[[1.5000]]])
    """
    check_ndim(3, tokens=tokens)
    check_range(1, max(out, 1), out=out)
    side = math.isqrt(tokens.shape[1])
    if side * side != tokens.shape[1] or (side % out and not uneven):
        wanted = "a square" if uneven else f"a square whose side is a multiple of {out}"
        raise ValueError(f"tokens has {tokens.shape[1]} rows: expected {wanted}")
    if side % out:
        return F.adaptive_avg_pool2d(as_float(tokens).mT.unflatten(2, (side, side)), out).flatten(2).mT
    grid = as_float(tokens).unflatten(1, (out, side // out, out, side // out))
    return grid.mean(dim=(2, 4)).flatten(1, 2)


def _unit_cells(x: Tensor) -> Tensor:
    """``(N, C, H, W)`` to ``(N, HW, C)`` of unit norm."""
    return F.normalize(as_float(x).flatten(2).mT, dim=2)


def _by_rows(fn: Callable[[slice], Part], rows: int, width: int) -> list[Part]:
    """``fn`` of all rows, or, when ``rows × width`` is large, of slices of rows, recomputed in the backward pass."""
    step = max(1, CHUNK_ELEMENTS // max(1, width))
    if step >= rows:
        return [fn(slice(0, rows))]
    slices = [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
    return [checkpoint(fn, part, use_reentrant=False, preserve_rng_state=False) for part in slices]
