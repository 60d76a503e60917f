"""Two pictures, or two clips, made into one whose target lies between theirs.

mixup lays one over the other (Zhang et al. 2018, ICLR), CutMix pastes a box of one into the other (Yun et al. 2019,
ICCV). All frames of a clip are mixed alike, as X-CLIP does (Ni et al. 2022, ECCV).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import check_ndim, check_shape, check_share

Box = tuple[int, int, int, int]


def soft_targets(labels: Tensor, classes: int, smoothing: float = 0.0) -> Tensor:
    """Class indices as distributions: ``1 - s + s / K`` on the class, ``s / K`` on each other one.

    Args:
        labels: ``(B,)`` class indices, or ``(B, K)`` distributions to be smoothed.
        classes: K.
        smoothing: s in [0, 1].

    Returns:
        ``(B, K)`` float32; rows sum to 1.

    Raises:
        ShapeError: labels of another shape.
        ValueError: a smoothing outside [0, 1].

    Example:
        >>> soft_targets(torch.tensor([1, 0]), classes=2, smoothing=0.2)
        tensor([[0.1000, 0.9000],
                [0.9000, 0.1000]])
    """
    check_share(smoothing=smoothing)
    if labels.ndim > 1:
        check_shape((None, classes), labels=labels)
        hard = labels.float()
    else:
        check_ndim(1, labels=labels)
        hard = F.one_hot(labels, classes).float()
    return hard * (1 - smoothing) + smoothing / classes


def mixup(x: Tensor, partner: Tensor, share: float | Tensor) -> Tensor:
    """``share`` of each row and ``1 - share`` of its partner; of pictures, clips, features or targets.

    Args:
        x: ``(B, ...)``.
        partner: ``(B,)`` int64, the row that each is mixed with.
        share: in [0, 1].

    Returns:
        Shape of ``x``.

    Example:
        >>> mixup(torch.tensor([[0.0], [4.0]]), torch.tensor([1, 0]), share=0.75)
        tensor([[1.],
                [3.]])
    """
    check_shape((len(x),), partner=partner)
    return share * x + (1 - share) * x[partner]


def cutmix(x: Tensor, partner: Tensor, box: Box) -> Tensor:
    """Each row with a box of its partner pasted into it, the same in all frames of a clip.

    Args:
        x: pictures ``(B, C, H, W)`` or clips ``(B, T, C, H, W)``; masks ``(B, H, W)`` as well.
        partner: ``(B,)`` int64, the row that each is mixed with.
        box: top, left, bottom, right in pixels, the last two excluded; see :func:`cutmix_box`.

    Returns:
        Shape of ``x``.

    Example:
        >>> pictures = torch.stack([torch.zeros(1, 2, 3), torch.ones(1, 2, 3)])
        >>> cutmix(pictures, torch.tensor([1, 0]), (0, 1, 2, 3))[0, 0]
        tensor([[0., 1., 1.],
                [0., 1., 1.]])
    """
    check_shape((len(x),), partner=partner)
    top, left, bottom, right = box
    mixed = x.clone()
    mixed[..., top:bottom, left:right] = x[partner][..., top:bottom, left:right]
    return mixed


def cutmix_box(height: int, width: int, share: float) -> tuple[Box, float]:
    """A random box of ``1 - share`` of a picture, cut off at its edges, and the share that is then left of the picture.

    Args:
        height: of the picture.
        width: of the picture.
        share: of the picture that is to remain, in [0, 1].

    Returns:
        Top, left, bottom, right in pixels, the last two excluded; and the share that does remain.

    Raises:
        ValueError: a share outside [0, 1].

    Example:
        >>> cutmix_box(8, 8, share=1.0)[1]
        1.0
    """
    check_share(share=share)
    side = math.sqrt(1 - share) / 2
    y, x = torch.randint(height, ()).item(), torch.randint(width, ()).item()
    top, bottom = (min(max(round(y + sign * side * height), 0), height) for sign in (-1, 1))
    left, right = (min(max(round(x + sign * side * width), 0), width) for sign in (-1, 1))
    return (top, left, bottom, right), 1 - (bottom - top) * (right - left) / (height * width)


def clip_mixup(
    x: Tensor,
    labels: Tensor,
    classes: int,
    *,
    smoothing: float = 0.1,
    mixup_alpha: float = 0.8,
    cutmix_alpha: float = 1.0,
    cutmix_p: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """A batch mixed with itself in a random order, by CutMix or else by mixup, and its soft targets (X-CLIP).

    One share and one box hold for the whole batch. They are drawn from the global generator.

    Args:
        x: clips ``(B, T, C, H, W)`` or pictures ``(B, C, H, W)``.
        labels: ``(B,)`` class indices, or ``(B, K)`` distributions.
        classes: K.
        smoothing: of the targets, before they are mixed.
        mixup_alpha: the share of mixup is drawn from Beta(a, a).
        cutmix_alpha: likewise for CutMix.
        cutmix_p: how often it is CutMix.

    Returns:
        The mixed batch, and targets ``(B, K)`` that sum to 1.

    Example:
        >>> clips, targets = clip_mixup(torch.rand(4, 2, 3, 8, 8), torch.tensor([0, 1, 2, 0]), classes=3)
        >>> clips.shape, torch.allclose(targets.sum(dim=1), torch.ones(4))
        (torch.Size([4, 2, 3, 8, 8]), True)
    """
    check_share(cutmix_p=cutmix_p)
    targets = soft_targets(labels, classes, smoothing)
    partner = torch.randperm(len(x)).to(x.device)
    cuts = torch.rand(()).item() < cutmix_p
    alpha = cutmix_alpha if cuts else mixup_alpha
    share = torch.distributions.Beta(alpha, alpha).sample().item()
    if not cuts:
        return mixup(x, partner, share), mixup(targets, partner, share)
    box, share = cutmix_box(x.shape[-2], x.shape[-1], share)
    return cutmix(x, partner, box), mixup(targets, partner, share)
