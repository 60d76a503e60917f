"""SimCLR's loss between modalities: prototypes of several views of each, and slots of time of clips.

CrossPoint (Afham et al. 2022, CVPR) and CrossVideoMAE (2025). Unlike CLIP's loss it also pushes items of one modality
apart: an anchor's negatives are the other items of both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import as_float, check_ndim, check_positive, check_same_shape, check_shape, logit_scale_of
from accord.functional.contrast.views import nt_xent
from accord.functional.tiled import tiled_logsumexp


def cross_modal_prototype_loss(
    views: Sequence[Tensor],
    other: Sequence[Tensor],
    tau: Tensor | float,
    *,
    normalize: bool = False,
    copies: Tensor | None = None,
) -> Tensor:
    """The mean of the views of an item must find that of the other modality's (CrossPoint, eq. 4).

    Args:
        views: tensors ``(N, D)`` of one modality, row by row of the same items.
        other: those of the other.
        tau: temperature, divides the cosines of the means.
        normalize: bring every view to unit norm before the mean; otherwise a longer view counts more.
        copies: as for :func:`nt_xent`.

    Returns:
        Scalar, :func:`nt_xent` of the means.

    Raises:
        ShapeError: shapes that differ.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> eye = torch.eye(3)
        >>> cross_modal_prototype_loss([eye, eye], [eye], 0.01)
        tensor(0.)
    """
    check_same_shape(**{f"view {number}": view for number, view in enumerate((*views, *other))})
    first, second = (_prototype(side, normalize=normalize) for side in (views, other))
    return nt_xent(first, second, tau, copies=copies)


def _prototype(views: Sequence[Tensor], *, normalize: bool = False) -> Tensor:
    """The mean ``(..., D)`` of views of the same shape, or of their directions.

    >>> _prototype([torch.tensor([4.0, 0.0]), torch.tensor([0.0, 2.0])], normalize=True)
    tensor([0.5000, 0.5000])
    """
    stacked = as_float(torch.stack(list(views)))
    return (F.normalize(stacked, dim=-1) if normalize else stacked).mean(dim=0)


def slot_nt_xent(
    x: Tensor, y: Tensor, tau: Tensor | float, valid: Tensor | None = None, *, copies: Tensor | None = None
) -> Tensor:
    """:func:`nt_xent` of slots of time: a slot must find the same slot of the same clip in the other modality.

    Negatives are all slots of other clips, in both modalities. The other slots of a clip look much the same, and are
    neither.

    Args:
        x: ``(N, S, D)``.
        y: ``(N, S, D)`` of the other modality.
        tau: temperature, divides the cosines.
        valid: ``(N, S)`` bool, False for slots that are left out; None for none.
        copies: ``(N,)`` integers; given, clips of one number are the same one.

    Returns:
        Scalar, the mean over the anchors that count; 0 without any.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> x = torch.eye(3).unsqueeze(1)
        >>> slot_nt_xent(x, x, 0.01)
        tensor(0.)
    """
    check_ndim(3, x=x)
    check_shape(tuple(x.shape), y=y)
    check_positive(tau=tau)
    clips, slots = x.shape[:2]
    there = torch.ones(clips, slots, dtype=torch.bool, device=x.device) if valid is None else valid
    check_shape((clips, slots), valid=there)
    if copies is not None:
        check_shape((clips,), copies=copies)
    with torch.autocast(x.device.type, enabled=False):
        z = F.normalize(as_float(torch.cat([x, y]).flatten(0, 1)), dim=1)  # (2·N·S, D)
        half = clips * slots
        gain = (z[:half] * z[half:]).sum(dim=1).repeat(2) / tau
        counts, number = there.flatten().repeat(2), torch.arange(2 * half, device=x.device)
        clip = number % half // slots
        clip = clip if copies is None else copies[clip]

        def candidates(rows: slice, columns: slice) -> Tensor:
            partner = (number[rows, None] + half) % (2 * half) == number[columns]
            return partner | ((clip[rows, None] != clip[columns]) & counts[columns])

        levels = tiled_logsumexp(z, z, logit_scale_of(tau), pair_weight=candidates)
        return ((levels - gain) * counts).sum() / counts.sum().clamp(min=1)
