"""Candidates of a row's own: its text against altered ones that are not true, hard or by a teacher's likeness.

LLM-teacher (the training of "Rethinking Video-Text Understanding: Retrieval from Counterfactually Augmented Data",
2024, ECCV). The candidates of a row compete within the row alone; candidate 0 is the true one. Rows with fewer
candidates are masked, and those with none besides the true one count nothing.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import as_float, check_choice, check_ndim, check_positive, check_shape, logit_scale_of

Average = Literal["rows", "none"]


def candidate_logits(anchor: Tensor, candidates: Tensor, tau: Tensor | float) -> Tensor:
    """Cosines of each row's anchor with the row's own candidates, over a temperature.

    Args:
        anchor: ``(B, D)`` unit norm, such as clips.
        candidates: ``(B, C, D)`` unit norm.
        tau: divides the cosines.

    Returns:
        ``(B, C)``, float32 at least.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> candidate_logits(torch.eye(2), torch.eye(2).expand(2, 2, 2), 0.5)
        tensor([[2., 0.],
                [0., 2.]])
    """
    check_ndim(2, anchor=anchor)
    check_shape((len(anchor), None, anchor.shape[1]), candidates=candidates)
    check_positive(tau=tau)
    with torch.autocast(anchor.device.type, enabled=False):
        cosines = torch.einsum("bd,bcd->bc", as_float(anchor), as_float(candidates))
        return cosines * logit_scale_of(tau)


def candidate_ce(
    video: Tensor,
    candidates: Tensor,
    tau: Tensor | float,
    mask: Tensor | None = None,
    *,
    average: Average = "rows",
) -> Tensor:
    """Each row must prefer its true text to its altered ones (LLM-teacher with pseudo-labels).

    ``-log softmax(z)_0`` with ``z_i = cos(video, candidate i) / tau``.

    Args:
        video: ``(B, D)`` unit norm.
        candidates: ``(B, 1 + k, D)`` unit norm, the true one first.
        tau: divides the cosines.
        mask: ``(B, 1 + k)`` bool, which candidates there are; None for all.
        average: over the ``rows`` that have an altered text, or ``none``: one number a row, 0 for the others.

    Returns:
        Scalar, or ``(B,)``.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive, or an unknown average.

    Example:
        >>> texts = torch.eye(2)[None]  # the true one, and one that is altered
        >>> candidate_ce(torch.eye(2)[:1], texts, 0.5), candidate_ce(torch.eye(2)[1:], texts, 0.5)
        (tensor(0.1269), tensor(2.1269))
    """
    logits, there = _masked(candidate_logits(video, candidates, tau), mask)
    true = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    return _averaged(F.cross_entropy(logits, true, reduction="none"), there, average)


def candidate_distill(
    video: Tensor,
    candidates: Tensor,
    teacher_sim: Tensor,
    tau: Tensor | float,
    tau_teacher: float,
    mask: Tensor | None = None,
    *,
    average: Average = "rows",
) -> Tensor:
    """Each row's order of its candidates must be that of a teacher of texts (LLM-teacher with soft labels).

    ``KL(softmax(u) || softmax(z))``, ``u_i = teacher_sim_i / tau_teacher`` and ``z_i = cos(video, candidate i) / tau``.
    An altered text that means nearly the same, and so may be true, is not pushed away as one that means something else.

    Args:
        video: ``(B, D)`` unit norm.
        candidates: ``(B, 1 + k, D)`` unit norm, the true one first.
        teacher_sim: ``(B, 1 + k)`` how alike each candidate and the true text are, 1 for the true one; no gradient.
        tau: divides the cosines.
        tau_teacher: divides the teacher's likeness.
        mask: ``(B, 1 + k)`` bool, which candidates there are; None for all.
        average: over the ``rows`` that have an altered text, or ``none``: one number a row, 0 for the others.

    Returns:
        Scalar, or ``(B,)``.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive, or an unknown average.

    Example:
        >>> texts, alike = torch.eye(2)[None], torch.tensor([[1.0, 0.0]])
        >>> candidate_distill(torch.eye(2)[:1], texts, alike, tau=0.5, tau_teacher=0.5)
        tensor(0.)
        >>> candidate_distill(torch.eye(2)[:1], texts, torch.ones(1, 2), tau=0.5, tau_teacher=0.5)
        tensor(0.4338)
    """
    logits, there = _masked(candidate_logits(video, candidates, tau), mask)
    check_shape(tuple(logits.shape), teacher_sim=teacher_sim)
    check_positive(tau_teacher=tau_teacher)
    with torch.autocast(video.device.type, enabled=False):
        teacher, _ = _masked(teacher_sim.detach().to(logits) / tau_teacher, mask)
        log_p, log_q = (side.log_softmax(dim=1) for side in (logits, teacher))
        gaps = log_q - log_p
        if mask is not None:
            gaps = gaps.masked_fill(~mask, 0.0)  # -inf less -inf is no number
        terms = log_q.exp() * gaps
        return _averaged(terms.sum(dim=1), there, average)


def swap_sensitivity(video: Tensor, text: Tensor, text_swapped: Tensor) -> Tensor:
    """How much nearer a row is to an altered text than to its own: ``cos(video, altered) - cos(video, own)``.

    Clearly negative where the model sees what was altered, near 0 where it does not.

    Args:
        video: ``(B, D)`` any norm.
        text: ``(B, D)``.
        text_swapped: ``(B, D)``, with one action or one object changed.

    Returns:
        ``(B,)``.

    Raises:
        ShapeError: shapes that differ.

    Example:
        >>> swap_sensitivity(torch.eye(2)[:1], torch.eye(2)[:1], torch.eye(2)[1:])
        tensor([-1.])
    """
    check_ndim(2, video=video)
    check_shape(tuple(video.shape), text=text, text_swapped=text_swapped)
    with torch.autocast(video.device.type, enabled=False):
        video, text, text_swapped = as_float(video), as_float(text), as_float(text_swapped)
        return F.cosine_similarity(video, text_swapped) - F.cosine_similarity(video, text)


def _masked(logits: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Logits without those of candidates that are not there, and which rows ``(B,)`` have more than the true one."""
    if mask is None:
        return logits, torch.full_like(logits[:, 0], float(logits.shape[1] > 1), dtype=torch.bool)
    check_shape(tuple(logits.shape), mask=mask)
    return logits.masked_fill(~mask, -torch.inf), mask[:, 1:].any(dim=1)


def _averaged(losses: Tensor, there: Tensor, average: Average) -> Tensor:
    check_choice(get_args(Average), average=average)
    losses = losses * there
    return losses if average == "none" else losses.sum() / there.sum().clamp(min=1)
