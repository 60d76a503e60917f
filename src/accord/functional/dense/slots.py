"""Semantic grouping: cells are assigned to prototypes, pooled into slots, and slots are contrasted across views.

SlotCon (Wen et al. 2022, NeurIPS, "Self-Supervised Visual Representation Learning with Semantic Grouping"), whose
grouping term is the centred and sharpened distillation of DINO (Caron et al. 2021, ICCV). Maps are ``(B, D, H, W)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import as_float, check_ndim, check_positive, check_shape, check_share
from accord.functional.dense.geometry import inverse_augment, nonempty_boxes
from accord.functional.distributed import gather_features, rank, world_size
from accord.functional.engine import contrastive_loss


def semantic_grouping(
    x: Tensor, prototypes: Tensor, temperature: float = 0.07, eps: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """Assign cells to prototypes and pool the cells of each into a slot (SlotCon, sections 3.1 and 3.2).

    ``dots_k = cos(C_k, x)``; ``A = softmax_k(dots / temperature) + eps``; ``slot_k = Σ A_k x / Σ A_k`` over the cells,
    with ``x`` as it is. A prototype without cells pools the plain mean of the map: see :func:`active_slots`.

    Args:
        x: ``(B, D, H, W)`` projected map, any norm.
        prototypes: ``(K, D)``, any norm.
        temperature: sharpness of the assignment; the teacher's in both networks.
        eps: added to every assignment.

    Returns:
        Slots ``(B, K, D)`` and cosines ``(B, K, H, W)``.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> slots, dots = semantic_grouping(torch.tensor([[[[2.0, 0.0]], [[0.0, 4.0]]]]), torch.eye(2))
        >>> slots.round(decimals=3)
        tensor([[[2., 0.],
                 [0., 4.]]])
    """
    check_ndim(4, x=x)
    check_shape((None, x.shape[1]), prototypes=prototypes)
    check_positive(temperature=temperature)
    with torch.autocast(x.device.type, enabled=False):
        cells = as_float(x).flatten(2)  # (B, D, HW)
        dots = F.normalize(as_float(prototypes), dim=1) @ F.normalize(cells, dim=1)  # (B, K, HW)
        share = (dots / temperature).softmax(dim=1) + eps
        slots = share @ cells.mT / share.sum(dim=2, keepdim=True)
    return slots, dots.unflatten(2, x.shape[2:])


def soft_distillation(
    student: Tensor, teacher: Tensor, center: Tensor, t_s: float = 0.1, t_t: float = 0.07, mask: Tensor | None = None
) -> Tensor:
    """Cross-entropy of the student's scores with the teacher's, centred and sharpened (SlotCon, section 3.1).

    ``mean_n [-Σ_k softmax_k((teacher - center)/t_t) log softmax_k(student/t_s)]``; as DINO (Caron et al. 2021) does.

    Args:
        student: ``(n, K)`` scores.
        teacher: ``(n, K)`` scores of the same cells; used without gradient.
        center: ``(1, K)`` running mean of the teacher's scores.
        t_s: temperature of the student.
        t_t: temperature of the teacher.
        mask: ``(n,)`` bool, the rows that count; by default all.

    Returns:
        Scalar, the mean over the rows that count; 0 when none does.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> soft_distillation(torch.zeros(1, 2), torch.tensor([[0.9, 0.1]]), torch.zeros(1, 2))
        tensor(0.6931)
    """
    check_ndim(2, student=student)
    check_shape(tuple(student.shape), teacher=teacher)
    check_shape((1, student.shape[1]), center=center)
    check_positive(t_s=t_s, t_t=t_t)
    with torch.autocast(student.device.type, enabled=False):
        targets = ((as_float(teacher.detach()) - center.detach()) / t_t).softmax(dim=1)
        if mask is not None:
            check_shape((len(student),), mask=mask)
            targets = targets.masked_fill(~mask[:, None], 0)
        return contrastive_loss(as_float(student) / t_s, targets)


def active_slots(dots: Tensor) -> Tensor:
    """The prototypes that are the best of at least one cell (SlotCon, section 3.2).

    Args:
        dots: ``(B, K, H, W)`` scores of the whole, un-aligned map.

    Returns:
        ``(B, K)`` bool.

    Raises:
        ShapeError: ``dots`` has not four dimensions.

    Example:
        >>> active_slots(torch.tensor([[[[0.9, 0.8]], [[0.1, 0.2]]]]))
        tensor([[ True, False]])
    """
    check_ndim(4, dots=dots)
    best = dots.argmax(dim=1).flatten(1)  # (B, HW)
    return torch.zeros(dots.shape[:2], dtype=torch.bool, device=dots.device).scatter(1, best, True)


def slot_contrast(
    q: Tensor,
    k: Tensor,
    dots_q: Tensor,
    dots_k: Tensor,
    predictor: Callable[[Tensor], Tensor] | None = None,
    tau: float = 0.2,
) -> Tensor:
    """A slot must find itself among the active slots of the other view of all images (SlotCon, section 3.2).

    Queries are the slots that are active in both views, keys all slots that are active in the other view of any image
    of any process; the same slot of another image is a negative. ``2 τ`` times the mean cross-entropy of
    ``cos(predictor(q), k) / τ``. Memory is O(active · active).

    Args:
        q: ``(B, K, D)`` slots of the student; the same B in every process.
        k: ``(B, K, D)`` slots of the teacher in the other view; used without gradient.
        dots_q: ``(B, K, H, W)`` un-aligned scores that made ``q``.
        dots_k: ``(B, K, H, W)`` un-aligned scores that made ``k``.
        predictor: called once, on the ``(queries, D)`` that take part.
        tau: temperature.

    Returns:
        Scalar; 0 when no slot is active in both views, or a single one, which no batch norm of a predictor can
        normalise. Its mean over processes is the loss of all queries.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> slots = torch.eye(2)[None]
        >>> dots = torch.eye(2).view(1, 2, 1, 2)
        >>> slot_contrast(slots, slots, dots, dots, tau=0.01)
        tensor(0.)
    """
    check_ndim(3, q=q)
    check_shape(tuple(q.shape), k=k)
    check_shape((*q.shape[:2], None, None), dots_q=dots_q, dots_k=dots_k)
    check_positive(tau=tau)
    offered = active_slots(dots_k)
    sought = active_slots(dots_q) & offered
    masks = gather_features(torch.stack([sought, offered], dim=-1).flatten(0, 1).byte(), with_grad=False).bool()
    keys = gather_features(k.detach().flatten(0, 1), with_grad=False)  # (W·B·K, D)
    rows, columns = sought.flatten().nonzero().squeeze(1), masks[:, 1].nonzero().squeeze(1)
    queries, count = q.flatten(0, 1)[rows], int(masks[:, 0].sum())
    if predictor is not None and count < 2:
        return 0.0 * q.sum()
    if predictor is not None:
        queries = predictor(queries)
    with torch.autocast(q.device.type, enabled=False):
        keys = as_float(keys)[columns]
        logits = F.normalize(as_float(queries), dim=1) @ F.normalize(keys, dim=1).T / tau  # (queries, active keys)
        own = rows[:, None] + rank() * sought.numel() == columns
        total = contrastive_loss(logits, own, reduction="sum")
        return 2 * tau * total * world_size() / max(1, count)


def slotcon_loss(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    prototypes: Tensor,
    teacher_prototypes: Tensor,
    boxes: Sequence[Tensor],
    flips: Sequence[Tensor],
    center: Tensor,
    *,
    predictor: Callable[[Tensor], Tensor] | None = None,
    group_weight: float = 0.5,
    t_s: float = 0.1,
    t_t: float = 0.07,
    tau: float = 0.2,
) -> tuple[dict[str, Tensor], Tensor]:
    """Grouping and slot contrast of two views together (SlotCon, section 3.3).

    ``group_weight · group + (1 - group_weight) · slot``. The grouping term compares the scores of the two views cell by
    cell after :func:`~accord.functional.inverse_augment`, and leaves out images whose crops do not meet; slots
    and their activity come from the whole maps.

    Args:
        student: the two views' ``(B, D, H, W)`` projected maps.
        teacher: the same of the teacher, after its update in this step; used without gradient.
        prototypes: ``(K, D)`` of the student.
        teacher_prototypes: ``(K, D)``; used without gradient.
        boxes: for each view ``(B, 4)`` the common region in its own frame, after mirroring.
        flips: for each view ``(B,)`` bool, whether it was mirrored.
        center: ``(1, K)`` as it was before this step.
        predictor: see :func:`slot_contrast`.
        group_weight: share of the grouping term.
        t_s: temperature of the student in the grouping term.
        t_t: temperature of the teacher there, and of the assignment in both networks.
        tau: temperature of the slot contrast.

    Returns:
        ``total``, ``group`` and ``slot``, scalars; and the un-aligned scores of the teacher in both views,
        ``(2·B, K, H, W)``, whose mean the center must move to afterwards.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: not two views, a temperature that is not finite and positive, a weight outside [0, 1].

    Example:
        >>> maps, prototypes = torch.randn(2, 3, 8, 4, 4), torch.randn(5, 8)
        >>> boxes, flips = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool)
        >>> terms, dots = slotcon_loss(maps, maps, prototypes, prototypes, boxes, flips, torch.zeros(1, 5))
        >>> sorted(terms), dots.shape
        (['group', 'slot', 'total'], torch.Size([6, 5, 4, 4]))
    """
    check_share(group_weight=group_weight)
    for name, views in {"student": student, "teacher": teacher, "boxes": boxes, "flips": flips}.items():
        if len(views) != 2:
            raise ValueError(f"{name} has {len(views)} views: expected 2")
    slots, dots = zip(*[semantic_grouping(x, prototypes, t_t) for x in student], strict=True)
    with torch.no_grad():
        keys, scores = zip(*[semantic_grouping(x, teacher_prototypes, t_t) for x in teacher], strict=True)
    group, slot = dots[0].new_zeros(()), dots[0].new_zeros(())
    for own, other in ((0, 1), (1, 0)):
        aligned = _cell_rows(inverse_augment(dots[own], boxes[own], flips[own]))  # (B·HW, K)
        wanted = _cell_rows(inverse_augment(scores[other], boxes[other], flips[other]))
        meets = nonempty_boxes(boxes[own]) & nonempty_boxes(boxes[other])
        meets = meets.repeat_interleave(math.prod(dots[own].shape[2:]))
        group = group + soft_distillation(aligned, wanted, center, t_s, t_t, meets)
        slot = slot + slot_contrast(slots[own], keys[other], dots[own], scores[other], predictor, tau)
    total = group_weight * group + (1 - group_weight) * slot
    return {"total": total, "group": group, "slot": slot}, torch.cat(scores)


def assign_pixels(dots: Tensor, size: tuple[int, int]) -> Tensor:
    """Unsupervised segmentation: the best prototype of every pixel, after bilinear enlargement of the scores.

    Args:
        dots: ``(B, K, H, W)`` scores.
        size: H', W' of the segmentation.

    Returns:
        ``(B, H', W')`` prototype numbers.

    Raises:
        ShapeError: ``dots`` has not four dimensions.

    Example:
        >>> assign_pixels(torch.tensor([[[[0.9, 0.1]], [[0.1, 0.8]]]]), (1, 4))
        tensor([[[0, 0, 1, 1]]])
    """
    check_ndim(4, dots=dots)
    return F.interpolate(as_float(dots), size=size, mode="bilinear", align_corners=False).argmax(dim=1)


def _cell_rows(maps: Tensor) -> Tensor:
    """``(B, K, H, W)`` to ``(B·H·W, K)``."""
    return maps.flatten(2).mT.flatten(0, 1)
