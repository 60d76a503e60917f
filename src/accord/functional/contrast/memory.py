"""Contrast with a dictionary of remembered keys, and the targets that a slow teacher makes over it.

MoCo (He et al. 2020, CVPR, eq. 1); momentum distillation as in ALBEF (Li et al. 2021, NeurIPS) and TCL (Yang et al.
2022, CVPR). The dictionary itself is :class:`accord.state.FeatureQueue`; enqueue *after* the loss.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import (
    as_float,
    check_choice,
    check_positive,
    check_same_shape,
    check_same_width,
    check_shape,
    check_share,
    logit_scale_of,
)
from accord.functional.contrast.pairs import contrastive_logits, indexed_nce
from accord.functional.engine import contrastive_loss


def queue_logits(query: Tensor, key: Tensor, queue: Tensor, temperature: Tensor | float) -> Tensor:
    """Logits of each query against its own key (column 0) and against a queue of negatives (MoCo, eq. 1).

    Args:
        query: ``(B, d)`` unit norm.
        key: ``(B, d)`` unit norm, row i the positive of query i.
        queue: ``(K, d)`` unit norm.
        temperature: divides the cosines.

    Returns:
        ``(B, 1 + K)``.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> queue_logits(torch.eye(2), torch.eye(2), torch.eye(2)[:1], 0.5)
        tensor([[2., 2.],
                [2., 0.]])
    """
    check_same_shape(query=query, key=key)
    check_same_width(query=query, queue=queue)
    check_positive(temperature=temperature)
    with torch.autocast(query.device.type, enabled=False):
        query, key, queue = as_float(query), as_float(key), as_float(queue)
        own = (query * key).sum(dim=1, keepdim=True)
        return torch.cat([own, query @ queue.T], dim=1) / temperature


def queue_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: Tensor | float) -> Tensor:
    """InfoNCE whose negatives come from a queue only (MoCo, eq. 1; CAPro's instance loss).

    Args:
        query: ``(B, d)`` unit norm.
        key: ``(B, d)`` unit norm, row i the positive of query i; usually without gradient.
        queue: ``(K, d)`` unit norm, the state *before* the keys are enqueued.
        temperature: divides the cosines.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> queue_nce(torch.eye(2), torch.eye(2), -torch.eye(2), 0.01)
        tensor(0.)
    """
    logits = queue_logits(query, key, queue, temperature)
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))


def queue_info_nce(
    query: Tensor, key_batch: Tensor, queue: Tensor, tau: Tensor | float, targets: Tensor | None = None
) -> Tensor:
    """InfoNCE against the keys of the batch and of the queue together (ALBEF, TCL).

    Unlike :func:`queue_nce` the other keys of the batch are negatives too.

    Args:
        query: ``(B, D)`` unit norm, of the online encoder.
        key_batch: ``(B, D)`` unit norm, of the momentum encoder; row i is the positive of query i.
        queue: ``(Q, D)`` unit norm, the state before this batch is enqueued.
        tau: divides the cosines.
        targets: ``(B, B + Q)`` soft targets, see :func:`distill_targets`; by default the own key alone.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> queue_info_nce(torch.eye(2), torch.eye(2), -torch.eye(2), 0.01)
        tensor(0.)
    """
    check_same_shape(query=query, key_batch=key_batch)
    check_same_width(query=query, queue=queue)
    check_positive(tau=tau)
    keys = torch.cat([as_float(key_batch), queue.to(as_float(key_batch))])
    if targets is None:
        index = torch.arange(len(query), device=query.device)
        return indexed_nce(query, keys, index, logit_scale_of(tau))
    logits = contrastive_logits(query, keys, logit_scale_of(tau))  # (B, B + Q)
    check_shape(tuple(logits.shape), targets=targets)
    return contrastive_loss(logits, as_float(targets))


@torch.no_grad()
def distill_targets(
    teacher_q: Tensor, keys: Tensor, tau: Tensor | float, alpha: float, hard: Tensor | None = None
) -> Tensor:
    """Soft targets of a slow teacher mixed with the hard ones (momentum distillation; TCL).

    ``alpha · softmax(teacher_q keysᵀ / tau) + (1 - alpha) · hard``, without gradient.

    Args:
        teacher_q: ``(B, D)`` unit norm, of the momentum encoder.
        keys: ``(B + Q, D)`` unit norm: the batch's momentum keys first, then the queue.
        tau: divides the cosines.
        alpha: share of the teacher; ramp it up from 0, before the teacher means anything.
        hard: ``(B, B + Q)`` row-stochastic, by default each row's own key; with ids
            :func:`accord.functional.targets_from_ids` makes every key of the same id a positive.

    Returns:
        ``(B, B + Q)`` row-stochastic.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: alpha outside [0, 1], a temperature that is not finite and positive.

    Example:
        >>> distill_targets(torch.eye(2), torch.eye(2), tau=1e-3, alpha=0.4)
        tensor([[1., 0.],
                [0., 1.]])
    """
    check_share(alpha=alpha)
    check_positive(tau=tau)
    soft = contrastive_logits(teacher_q, keys, logit_scale_of(tau)).softmax(dim=1)
    if hard is None:
        hard = torch.eye(len(teacher_q), len(keys), device=soft.device, dtype=soft.dtype)
    check_shape(tuple(soft.shape), hard=hard)
    return torch.lerp(hard.to(soft), soft, alpha)


def distilled_cross_entropy(logits: Tensor, labels: Tensor, teacher: Tensor, alpha: float) -> Tensor:
    """Cross-entropy with the labels and with a slow teacher's classes (ALBEF and TCL, of hidden words).

    ``(1 - alpha) CE(label) + alpha CE(softmax(teacher))``, mean over the rows; 0 without rows.

    Args:
        logits: ``(M, C)``.
        labels: ``(M,)`` classes.
        teacher: ``(M, C)`` logits; they receive no gradient.
        alpha: share of the teacher.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: alpha outside [0, 1].

    Example:
        >>> distilled_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[0.0, 9.0]]), alpha=0.5)
        tensor(0.6931)
    """
    check_same_shape(logits=logits, teacher=teacher)
    check_shape((len(logits),), labels=labels)
    check_share(alpha=alpha)
    with torch.autocast(logits.device.type, enabled=False):
        logits = as_float(logits)
        hard = F.cross_entropy(logits, labels, reduction="sum")
        soft = F.cross_entropy(logits, as_float(teacher.detach()).softmax(dim=1), reduction="sum")
        return torch.lerp(hard, soft, alpha) / max(1, len(logits))


def kl_rows(
    student: Tensor,
    teacher: Tensor,
    temperature: float = 1.0,
    reduction: Literal["batch", "numel"] = "batch",
    *,
    detach_teacher: bool = True,
    row_mask: Tensor | None = None,
    column_mask: Tensor | None = None,
) -> Tensor:
    """Distillation of one table of scores into another: ``KL(softmax(teacher) || softmax(student))`` of each row.

    Args:
        student: ``(..., R, C)`` logits.
        teacher: the same.
        temperature: divides both.
        reduction: ``"batch"``: the mean over the rows of a table, then over tables; ``"numel"``: the sum over the
            number of elements, which makes it C times smaller (HBI's reference implementation).
        detach_teacher: the teacher receives no gradient; else it is pulled towards the student.
        row_mask: ``(..., R)`` bool, False for rows that do not count.
        column_mask: ``(..., C)`` bool, False for columns that have no part in the softmax.

    Returns:
        Scalar, not negative; a table without rows counts as 0.

    Raises:
        ShapeError: shapes that do not fit.
        ValueError: an unknown reduction, a temperature that is not finite and positive.

    Example:
        >>> kl_rows(torch.zeros(1, 2), torch.tensor([[99.0, 0.0]]))
        tensor(0.6931)
    """
    check_choice(("batch", "numel"), reduction=reduction)
    check_positive(temperature=temperature)
    check_shape(tuple(student.shape), teacher=teacher)
    with torch.autocast(student.device.type, enabled=False):
        student, teacher = (as_float(each) / temperature for each in (student, teacher))
        if column_mask is not None:  # a finite number, since ∞ - ∞ is NaN
            check_shape((*student.shape[:-2], student.shape[-1]), column_mask=column_mask)
            lowest = torch.finfo(student.dtype).min / 4
            student, teacher = (each.masked_fill(~column_mask[..., None, :], lowest) for each in (student, teacher))
        wanted = (teacher.detach() if detach_teacher else teacher).log_softmax(dim=-1)
        rows = (wanted.exp() * (wanted - student.log_softmax(dim=-1))).sum(dim=-1)  # (..., R)
        if row_mask is None:
            return rows.mean() / (student.shape[-1] if reduction == "numel" else 1)
        check_shape(tuple(rows.shape), row_mask=row_mask)
        rows = rows.where(row_mask, 0.0)
        if reduction == "numel":
            return rows.sum() / student.numel()
        return (rows.sum(dim=-1) / row_mask.sum(dim=-1).clamp(min=1)).mean()
