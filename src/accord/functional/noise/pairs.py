"""Learning from pairs of which some do not match: soft margins, pseudo-classes, pseudo-captions.

PC² (Duan et al. 2024, ACM MM, "Pseudo-Classification Based Pseudo-Captioning for Noisy Correspondence Learning in
Cross-Modal Retrieval") and NCR (Huang et al. 2021, NeurIPS), on which it builds.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import ShapeError
from accord.functional.checks import (
    as_float,
    check_choice,
    check_ndim,
    check_positive,
    check_same_shape,
    check_same_width,
    check_shape,
)
from accord.functional.measures.regularity import entropy as row_entropy
from accord.functional.measures.regularity import marginal_entropy
from accord.functional.similarity.pairwise import pairwise_cosine_similarity

FLOOR = 1e-8  # of a cost, as published: not 0, so that pairs that are far enough count a constant


def soft_margin(y: Tensor, alpha: float, kind: Literal["exponential", "linear", "sin"] = "exponential") -> Tensor:
    """Margin that a pair deserves by how surely it matches; 0 for a mismatch, ``alpha`` for a match (NCR).

    ``exponential``: ``alpha (10^y - 1) / 9``; ``linear``: ``alpha y``; ``sin``: ``alpha (sin(π y - π/2) + 1) / 2``.

    Args:
        y: ``(B,)`` in [0, 1].
        alpha: the full margin.
        kind: shape of the curve.

    Returns:
        ``(B,)``.

    Raises:
        ValueError: an unknown kind, alpha that is not finite and positive.

    Example:
        >>> soft_margin(torch.tensor([0.0, 0.5, 1.0]), 0.2)
        tensor([0.0000, 0.0481, 0.2000])
    """
    check_positive(alpha=alpha)
    check_choice(("exponential", "linear", "sin"), kind=kind)
    y = as_float(y)
    if kind == "exponential":
        return alpha * (torch.pow(10, y) - 1) / 9
    if kind == "linear":
        return alpha * y
    return alpha * (torch.sin(math.pi * y - math.pi / 2) + 1) / 2


def triplet_ranking_loss(
    sims: Tensor,
    margin: Tensor | float,
    mode: Literal["hard", "mean"] = "hard",
    reduction: Literal["sum", "none"] = "sum",
) -> Tensor:
    """Each pair must beat the mismatches of its row and of its column by a margin (VSE++, NCR, PC²).

    ``max(m_i + s_ij - s_ii, 1e-8)`` for images against captions and ``max(m_i + s_ij - s_jj, 1e-8)`` for captions
    against images, the diagonal 0. The margin belongs to the row in both directions. ``hard`` takes the costliest
    mismatch of each row and column, ``mean`` the mean over B, the diagonal's zero included.

    Args:
        sims: ``(B, B)`` similarity, images in rows, captions in columns, pairs on the diagonal.
        margin: one for all, or ``(B,)``, see :func:`soft_margin`.
        mode: ``hard`` or ``mean`` (warm-up, and to split clean from noisy pairs).
        reduction: ``sum`` over rows and columns, as published, or ``none``.

    Returns:
        Scalar, or ``(B,)``: cost of row i plus cost of column i.

    Raises:
        ShapeError: a matrix that is not square, a margin of another length.
        ValueError: an unknown mode or reduction.

    Example:
        >>> sims = torch.tensor([[0.9, 0.8], [0.1, 0.9]])
        >>> triplet_ranking_loss(sims, 0.2)
        tensor(0.2000)
    """
    check_shape((len(sims), len(sims)), sims=sims)
    check_choice(("hard", "mean"), mode=mode)
    check_choice(("sum", "none"), reduction=reduction)
    sims = as_float(sims)
    if isinstance(margin, Tensor):
        if margin.shape not in ((), (len(sims),)):
            raise ShapeError(f"margin has shape {tuple(margin.shape)}: expected ({len(sims)},) or a number")
        margin = as_float(margin).reshape(-1, 1)
    own = sims.diagonal()
    self_pair = torch.eye(len(sims), dtype=torch.bool, device=sims.device)
    caption_cost = (margin + sims - own[:, None]).clamp(min=FLOOR).masked_fill(self_pair, 0)
    image_cost = (margin + sims - own[None, :]).clamp(min=FLOOR).masked_fill(self_pair, 0)
    if mode == "hard":
        each = caption_cost.amax(dim=1) + image_cost.amax(dim=0)
    else:
        each = caption_cost.mean(dim=1) + image_cost.mean(dim=0)
    return each.sum() if reduction == "sum" else each


def pseudo_classification_loss(
    img_logits: Tensor,
    txt_logits: Tensor,
    lambda_en: float,
    entropy: Literal["marginal", "per_sample"] = "marginal",
) -> dict[str, Tensor]:
    """An image must be put into the unnamed class that its caption chooses (PC²).

    ``CE(image, argmax caption) - lambda_en · H``, without gradient to the caption. ``H`` is the entropy of the
    batch's mean prediction, which keeps all classes in use. The released code subtracts the mean entropy of the
    single predictions instead, which pushes each of them to uniform: ``per_sample`` is there to compare with it.

    Args:
        img_logits: ``(B, C)``.
        txt_logits: ``(B, C)`` of the same head.
        lambda_en: weight of the entropy.
        entropy: ``marginal`` or ``per_sample``.

    Returns:
        Scalars ``classify``, ``entropy`` and ``total``.

    Raises:
        ShapeError: not two matrices of the same shape.
        ValueError: an unknown entropy.

    Example:
        >>> terms = pseudo_classification_loss(100 * torch.eye(2), torch.eye(2), lambda_en=1.0)
        >>> terms["classify"], terms["total"]
        (tensor(0.), tensor(-0.6931))
    """
    check_same_shape(img_logits=img_logits, txt_logits=txt_logits)
    check_choice(("marginal", "per_sample"), entropy=entropy)
    with torch.autocast(img_logits.device.type, enabled=False):
        img_logits = as_float(img_logits)
        classify = F.cross_entropy(img_logits, txt_logits.argmax(dim=1))
        spread = marginal_entropy(img_logits) if entropy == "marginal" else row_entropy(img_logits).mean()
        return {"classify": classify, "entropy": spread, "total": classify - lambda_en * spread}


@torch.no_grad()
def assign_pseudo_captions(p_noisy: Tensor, p_clean: Tensor, floor: float = 0.5) -> tuple[Tensor, Tensor]:
    """Lend each mismatched image the caption of the clean pair with the most similar prediction (PC²).

    Args:
        p_noisy: ``(Bu, C)`` class predictions of mismatched images.
        p_clean: ``(Bl, C)`` class predictions of clean images, at least one.
        floor: cosine below which the borrowed pair does not count.

    Returns:
        ``(Bu,)`` row of the clean pair, and ``(Bu,)`` how well it fits: the cosine, or 0 below the floor.

    Raises:
        ShapeError: not matrices of equal width.
        ValueError: no clean pair.

    Example:
        >>> index, label = assign_pseudo_captions(torch.eye(3)[1:], torch.eye(3)[:2])
        >>> index.tolist(), label.tolist()
        ([1, 0], [1.0, 0.0])
    """
    check_same_width(p_noisy=p_noisy, p_clean=p_clean)
    if not len(p_clean):
        raise ValueError("p_clean has no rows: expected at least 1")
    nearest = pairwise_cosine_similarity(p_noisy, p_clean).max(dim=1)
    return nearest.indices, nearest.values.masked_fill(nearest.values < floor, 0)


@torch.no_grad()
def prediction_oscillation(prev: Tensor, cur: Tensor) -> Tensor:
    """How much each prediction changed since the last epoch, ``KL(cur || prev)`` (PC²).

    Args:
        prev: ``(N, C)`` probabilities of the last epoch; keep them by a global id.
        cur: ``(N, C)`` probabilities now.

    Returns:
        ``(N,)``, finite also where a class had the probability 0.

    Raises:
        ShapeError: not two matrices of the same shape.

    Example:
        >>> prediction_oscillation(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]))
        tensor([0.6931])
    """
    check_same_shape(prev=prev, cur=cur)
    prev, cur = as_float(prev), as_float(cur)
    tiny = torch.finfo(cur.dtype).tiny
    return (cur * (cur.clamp(min=tiny).log() - prev.to(cur).clamp(min=tiny).log())).sum(dim=1)


@torch.no_grad()
def rectify_labels(P: Tensor, Q: Tensor, e: Tensor) -> Tensor:  # noqa: N803
    """Correspondence label from two indicators, ``P + (1 - P) Q e`` (PC²); it can only raise P.

    Args:
        P: ``(N,)`` probability that the pair is clean, by its loss.
        Q: ``(N,)`` the same by its prediction oscillation.
        e: ``(N,)`` whether Q counts the pair as clean, such as ``Q > 0.5``.

    Returns:
        ``(N,)`` in [0, 1], without gradient.

    Raises:
        ShapeError: not vectors of equal length.

    Example:
        >>> rectify_labels(torch.tensor([0.5, 0.5]), torch.tensor([0.8, 0.4]), torch.tensor([True, False]))
        tensor([0.9000, 0.5000])
    """
    check_ndim(1, P=P)
    check_shape((len(P),), Q=Q, e=e)
    return as_float(P) + (1 - as_float(P)) * as_float(Q) * e
