"""Moments of a film or recording as cells of a map: cell (i, j) lasts from the start of clip i to the end of clip j.

The sparse two-dimensional map of 2D-TAN (Zhang et al. 2020, AAAI), the overlap of moments in time, greedy suppression,
and the overlap as a target (MMN, Wang et al. 2022, AAAI). Cells are counted row by row: by their start, then by their
end. Which moments of a map are close to a sentence is contrasted in :mod:`accord.functional.contrast.grounding`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import as_float, check_range, check_share, check_trailing_shape


def sparse_moment_mask(num_clips: int, pooling_counts: Sequence[int]) -> Tensor:
    """Which cells of the map of moments are kept: all short ones, of longer ones fewer and fewer.

    The diagonal, then ``pooling_counts[0]`` diagonals beside it; every further stage doubles the step by which moments
    grow longer and the step between their starts, and adds as many diagonals as it counts. What would be longer than
    the whole is left out.

    Args:
        num_clips: number N of clips.
        pooling_counts: diagonals of each stage, such as (15, 8, 8) for 64 clips; (N - 1,) keeps all.

    Returns:
        ``(N, N)`` bool, start by end.

    Raises:
        ValueError: no clip, or a negative count.

    Example:
        >>> sparse_moment_mask(5, [1, 1]).int()
        tensor([[1, 1, 0, 1, 0],
                [0, 1, 1, 0, 0],
                [0, 0, 1, 1, 0],
                [0, 0, 0, 1, 1],
                [0, 0, 0, 0, 1]], dtype=torch.int32)
    """
    check_range(1, max(num_clips, 1), num_clips=num_clips)
    mask = torch.eye(num_clips, dtype=torch.bool)
    for length, step in moment_lengths(num_clips, pooling_counts):
        starts = torch.arange(0, num_clips - length, step)
        mask[starts, starts + length] = True
    return mask


def moment_lengths(num_clips: int, pooling_counts: Sequence[int]) -> list[tuple[int, int]]:
    """Offset of each diagonal of the map beside the first, and the step between the starts on it.

    Args:
        num_clips: number N of clips.
        pooling_counts: diagonals of each stage.

    Returns:
        Pairs of offset and step, shorter moments first.

    Raises:
        ValueError: a negative count.

    Example:
        >>> moment_lengths(9, [2, 2])
        [(1, 1), (2, 1), (4, 2), (6, 2)]
    """
    found, length = [], 0
    for stage, count in enumerate(pooling_counts):
        check_range(0, max(count, 0), pooling_count=count)
        for _ in range(count):
            length += 2**stage
            found.append((length, 2**stage))
    return [(length, step) for length, step in found if length < num_clips]


def moment_iou_map(moments: Tensor, num_clips: int, duration: Tensor | float) -> Tensor:
    """How far each cell of the map overlaps with annotated moments.

    Args:
        moments: ``(n, 2)`` start and end in seconds.
        num_clips: number N of clips that the whole is cut into.
        duration: seconds of the whole; one number, or ``(n,)``.

    Returns:
        ``(n, N, N)`` intersection over union; cells that end before they start overlap with nothing.

    Raises:
        ShapeError: moments are no pairs.

    Example:
        >>> moment_iou_map(torch.tensor([[0.0, 4.0]]), 2, 4.0)
        tensor([[[0.5000, 1.0000],
                 [0.0000, 0.5000]]])
    """
    check_trailing_shape((None, 2), moments=moments)
    moments = as_float(moments)
    edge = torch.arange(num_clips, device=moments.device)
    cells = torch.stack([edge[:, None].expand(-1, num_clips), edge[None, :] + 1 + torch.zeros_like(edge)[:, None]], -1)
    share = moments / torch.as_tensor(duration, device=moments.device).to(moments).reshape(-1, 1) * num_clips
    iou = temporal_iou(share, cells.flatten(0, 1).to(moments)).unflatten(1, (num_clips, num_clips))
    return iou * torch.ones(num_clips, num_clips, device=iou.device).triu()


def temporal_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of all pairs of spans.

    Args:
        a: ``(..., n, 2)`` starts and ends.
        b: ``(..., m, 2)``.

    Returns:
        ``(..., n, m)``; 0 for spans that do not meet, or have no length.

    Raises:
        ShapeError: these are no pairs.

    Example:
        >>> temporal_iou(torch.tensor([[0.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 3.0]])).T
        tensor([[0.3333, 0.0000]])
    """
    check_trailing_shape((None, 2), a=a, b=b)
    a, b = as_float(a)[..., :, None, :], as_float(b)[..., None, :, :]
    both = (torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])).clamp(min=0)
    either = torch.maximum(a[..., 1], b[..., 1]) - torch.minimum(a[..., 0], b[..., 0])
    return both / either.clamp(min=torch.finfo(either.dtype).tiny)


@torch.no_grad()
def temporal_nms(moments: Tensor, scores: Tensor, threshold: float = 0.5, most: int | None = None) -> Tensor:
    """Greedy suppression: the likeliest span is kept, those that overlap with it by more are dropped, and so on.

    Several rows of scores are gone through at once, and no device is waited for.

    Args:
        moments: ``(P, 2)`` starts and ends.
        scores: ``(..., P)``, one row for each sentence; of equal ones the first span comes first.
        threshold: IoU above which the less likely span is dropped; 1 drops none.
        most: how many spans are kept at most; None for all.

    Returns:
        ``(..., K)`` int64 numbers of the kept spans, the likeliest first; -1 behind the last of a row that has fewer.
        K is ``most``, or P.

    Raises:
        ShapeError: scores do not fit moments.
        ValueError: a threshold outside [0, 1], or fewer than one span.

    Example:
        >>> spans = torch.tensor([[0.0, 4.0], [0.0, 3.0], [6.0, 8.0]])
        >>> temporal_nms(spans, torch.tensor([0.9, 0.8, 0.7]))
        tensor([ 0,  2, -1])
    """
    check_trailing_shape((len(moments),), scores=scores)
    check_share(threshold=threshold)
    most = len(moments) if most is None else min(most, len(moments))
    check_range(1, len(moments), most=most)
    order = as_float(scores).argsort(dim=-1, descending=True, stable=True)  # (..., P)
    overlap = temporal_iou(moments, moments)
    left = torch.ones(order.shape, dtype=torch.bool, device=order.device)
    kept = []
    for _ in range(most):
        place = left.byte().argmax(dim=-1, keepdim=True)  # of the first that is left
        best = order.gather(-1, place)
        kept.append(best.masked_fill(~left.gather(-1, place), -1))
        near = overlap[best.squeeze(-1)].gather(-1, order) > threshold  # (..., P)
        left = (left & ~near).scatter(-1, place, False)
    return torch.cat(kept, dim=-1)


def scaled_iou_bce(scores: Tensor, iou: Tensor, lo: float = 0.5, hi: float = 1.0) -> Tensor:
    """Cross-entropy of scores with an overlap that is stretched: 0 up to ``lo``, 1 from ``hi`` (2D-TAN, eq. 5 and 6).

    Args:
        scores: ``(n, P)`` probabilities of sentences and moments.
        iou: ``(n, P)`` overlaps with the annotated moments.
        lo: overlap that counts as none.
        hi: overlap that counts as whole.

    Returns:
        Scalar, the mean over sentences and moments.

    Raises:
        ShapeError: the shapes differ.
        ValueError: lo and hi outside [0, 1], or lo not below hi.

    Example:
        >>> scaled_iou_bce(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.2]]))
        tensor(0.6931)
    """
    check_trailing_shape(tuple(scores.shape), iou=iou)
    check_share(lo=lo, hi=hi)
    if lo >= hi:
        raise ValueError(f"lo = {lo}, hi = {hi}: expected lo below hi")
    with torch.autocast(scores.device.type, enabled=False):
        target = ((as_float(iou) - lo) / (hi - lo)).clamp(0, 1)
        return F.binary_cross_entropy(as_float(scores), target)
