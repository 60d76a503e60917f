"""InfoNCE in which pairs do not all count alike: by a frozen model, by clusters, by weights, by several positives.

CWCL (Srinivasa et al. 2023, NeurIPS), MCL (Zhang et al. 2024, ECCV), MEOW (Yu and Li 2023, SDM), Hydra
(2024, "Rethinking Positive Pairs in Contrastive Learning"). Vectors have unit norm.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from accord.functional.checks import (
    as_float,
    check_choice,
    check_ndim,
    check_positive,
    check_same_shape,
    check_shape,
    logit_scale_of,
)
from accord.functional.contrast.pairs import contrastive_logits
from accord.functional.engine import contrastive_loss, row_normalize
from accord.functional.tiled import (
    PairWeight,
    tiled_logsumexp,
    tiled_logsumexp_both,
)

_ROWS = 1024  # of a matrix of weights that is only looked through


def cwcl_loss(
    trained: Tensor,
    frozen: Tensor,
    logit_scale: Tensor | float,
    *,
    weights: Tensor | None = None,
    reference: Tensor | None = None,
    reverse: Literal["infonce", "weighted"] = "infonce",
    reverse_weight: float = 1.0,
) -> Tensor:
    """Continuously weighted contrast: a trained row is drawn to every frozen key as much as the keys are alike (CWCL).

    ``-1/N Σ_i Σ_j (w_ij / Σ_k w_ik) log softmax_j(Z_i)`` with ``Z = logit_scale · trained frozenᵀ`` plus
    ``reverse_weight`` times the loss in which each frozen key must find its trained row. The paper's weights are
    ``w_ij = ⟨frozen_i, frozen_j⟩ / 2 + ½``; being affine they never need a matrix, so that memory is linear in N.
    The minimum of the first term is the entropy of the targets, not 0.

    Args:
        trained: ``(N, D)`` unit norm, of the encoder that learns.
        frozen: ``(N, D)`` unit norm, of the encoder that is given.
        logit_scale: factor on the cosine (1 / temperature).
        weights: ``(N, N)`` non-negative weights instead of the paper's, for example of a sharper kernel
            (:func:`accord.functional.similarity_weights`); without gradient.
        reference: ``(N, F)`` unit norm, whose similarities are the paper's weights where ``frozen`` is not what the
            given encoder says (a trained map of it could make all its rows alike, and with them all weights).
        reverse: frozen→trained targets: the pair alone (``infonce``, the paper), or the transposed weights with
            their own normalisation (``weighted``).
        reverse_weight: factor of the frozen→trained term; 1 gives the paper's plain sum, not the mean.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a scale that is not finite and positive, an unknown ``reverse``, weights and reference at once.

    Example:
        >>> from accord.functional import info_nce
        >>> x = torch.eye(3)
        >>> torch.isclose(cwcl_loss(x, x, 5.0, weights=torch.eye(3)), 2 * info_nce(x, x, 5.0))
        tensor(True)
    """
    check_same_shape(trained=trained, frozen=frozen)
    check_positive(logit_scale=logit_scale)
    if weights is not None:
        check_shape((len(trained), len(trained)), weights=weights)
    if reference is not None:
        check_shape((len(trained), None), reference=reference)
        if weights is not None:
            raise ValueError("weights and reference: expected one of them, since weights need no reference")
    check_choice(("infonce", "weighted"), reverse=reverse)
    with torch.autocast(trained.device.type, enabled=False):
        trained, frozen = as_float(trained), as_float(frozen)
        rows, columns = tiled_logsumexp_both(trained, frozen, logit_scale)
        if weights is None:
            reference = frozen if reference is None else as_float(reference)
            wanted = _affine_mean(reference, frozen)
            found = _affine_mean(reference, trained) if reverse == "weighted" else trained
        else:
            weights = weights.detach().to(trained)
            wanted = row_normalize(weights) @ frozen
            found = row_normalize(weights.T) @ trained if reverse == "weighted" else trained
        soft = rows - logit_scale * (trained * wanted).sum(dim=1)
        back = columns - logit_scale * (frozen * found).sum(dim=1)
        return soft.mean() + reverse_weight * back.mean()


@torch.no_grad()
def target_entropy(reference: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Entropy of each row of the targets of :func:`cwcl_loss`, below which its first term cannot fall.

    What remains of the loss above its mean is the KL divergence from the targets; ``exp`` of an entropy is the
    effective number of positives. The paper's weights are made in blocks of rows, so that memory is linear in N.

    Args:
        reference: ``(N, D)`` unit norm, whose similarities are the weights.
        weights: ``(N, N)`` weights instead of the paper's.

    Returns:
        ``(N,)`` in nats, without gradient.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> target_entropy(torch.ones(4, 1)).exp()
        tensor([4., 4., 4., 4.])
        >>> target_entropy(torch.ones(2, 1), weights=torch.eye(2))
        tensor([0., 0.])
    """
    check_ndim(2, reference=reference)
    if weights is not None:
        check_shape((len(reference), len(reference)), weights=weights)
    with torch.autocast(reference.device.type, enabled=False):
        reference = as_float(reference)
        blocks = (
            ((rows @ reference.T + 1) / 2 for rows in reference.split(_ROWS))
            if weights is None
            else (as_float(weights),)
        )
        return torch.cat([torch.special.entr(row_normalize(block)).sum(dim=1) for block in blocks])


def restricted_info_nce(
    z1: Tensor, z2: Tensor, labels: Tensor, temperature: Tensor | float, *, symmetric: bool = True
) -> Tensor:
    """InfoNCE whose negatives are the rows of the anchor's own label (MCL's feature-aware negatives).

    ``-log e^{s_ii} / (e^{s_ii} + Σ_{j ≠ i, label_j = label_i} e^{s_ij})``: equals plain InfoNCE on a batch of one
    label, and 0 without gradient where all labels differ.

    Args:
        z1: ``(B, D)`` unit norm.
        z2: ``(B, D)`` unit norm; row i is the positive of row i of ``z1``.
        labels: ``(B,)`` integers, for example the clusters of all earlier stages.
        temperature: divides the cosines.
        symmetric: mean of both directions; False: ``z1`` are the anchors.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> x = torch.eye(3)
        >>> restricted_info_nce(x, x, torch.tensor([0, 1, 2]), 0.1)
        tensor(0.)
    """
    check_same_shape(z1=z1, z2=z2)
    check_shape((len(z1),), labels=labels)
    check_positive(temperature=temperature)
    with torch.autocast(z1.device.type, enabled=False):
        z1, z2 = as_float(z1), as_float(z2)
        gain = (z1 * z2).sum(dim=1) / temperature

        def same(rows: slice, columns: slice) -> Tensor:
            return labels[rows, None] == labels[columns]

        if not symmetric:
            return (tiled_logsumexp(z1, z2, logit_scale_of(temperature), pair_weight=same) - gain).mean()
        rows, columns = tiled_logsumexp_both(z1, z2, logit_scale_of(temperature), pair_weight=same)
        return ((rows + columns) / 2 - gain).mean()


def weighted_infonce(
    anchor: Tensor,
    other: Tensor,
    weights: Tensor | PairWeight | None,
    tau: Tensor | float,
    include_positive: bool = False,
) -> Tensor:
    """InfoNCE whose negatives weigh differently (MEOW, AdaMEOW).

    ``mean_i [log Σ_j w_ij exp(⟨anchor_i, other_j⟩ / tau) - ⟨anchor_i, other_i⟩ / tau]``. An anchor whose weights are
    all zero contributes nothing. Shrinking all weights lowers the loss, so that a learned w needs a scale of its own.

    Args:
        anchor: ``(N, d)`` unit norm.
        other: ``(N, d)`` unit norm; row i is the positive of row i of ``anchor``.
        weights: ``(N, N)`` non-negative, with gradient; or a function of (rows, columns) that returns the *logarithm*
            of a block of them, without gradient and in memory linear in N; None: 1 for every pair but the positive.
        tau: divides the cosines.
        include_positive: give the positive weight 1, as in plain InfoNCE; else ``w_ii`` counts as it is.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> from accord.functional import info_nce
        >>> x = torch.eye(3)
        >>> plain = weighted_infonce(x, x, None, 0.5, include_positive=True)
        >>> torch.isclose(plain, info_nce(x, x, 2.0))
        tensor(True)
    """
    check_same_shape(anchor=anchor, other=other)
    check_positive(tau=tau)
    if isinstance(weights, Tensor):
        check_shape((len(anchor), len(anchor)), weights=weights)
        weights = as_float(weights)
        if include_positive:
            weights = weights.masked_fill(torch.eye(len(weights), dtype=torch.bool, device=weights.device), 1.0)
        own = torch.eye(len(anchor), dtype=torch.bool, device=anchor.device)
        heavy = weights > 0
        log_weight = torch.where(heavy, weights, 1.0).log()
        logits = contrastive_logits(anchor, other, logit_scale_of(tau))
        return contrastive_loss(logits, own, heavy, log_weight=log_weight, denominator="negatives")
    with torch.autocast(anchor.device.type, enabled=False):
        anchor, other = as_float(anchor), as_float(other)
        gain = (anchor * other).sum(dim=1) / tau
        level = tiled_logsumexp(anchor, other, logit_scale_of(tau), exclude_self=True, pair_weight=weights)
        if include_positive:
            level = torch.logaddexp(level, gain)
        there = level > -torch.inf
        return (level - gain).masked_fill(~there, 0.0).sum() / there.sum().clamp(min=1)


def multi_positive_nce(
    logits: Tensor, pos: Tensor, neg: Tensor, reduction: Literal["pair", "anchor"] = "pair"
) -> Tensor:
    """InfoNCE with several positives that never compete with each other (Hydra).

    ``l_ij = log(e^{s_ij} + Σ_{n negative} e^{s_in}) - s_ij`` for every positive j of anchor i.

    Args:
        logits: ``(B, N)`` similarity over temperature.
        pos: ``(B, N)`` bool.
        neg: ``(B, N)`` bool; pairs that are neither are ignored.
        reduction: ``pair``: mean over all positive pairs, so that an anchor counts as often as it has positives;
            ``anchor``: mean over the positives of each anchor, then over all B anchors, where one without a positive
            counts as zero.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: an unknown reduction.

    Example:
        >>> eye = torch.eye(2, dtype=torch.bool)
        >>> multi_positive_nce(torch.zeros(2, 2), eye, ~eye)
        tensor(0.6931)
    """
    check_ndim(2, logits=logits)
    check_shape(tuple(logits.shape), pos=pos, neg=neg)
    check_choice(("pair", "anchor"), reduction=reduction)
    if reduction == "pair":
        return contrastive_loss(logits, pos.bool(), neg.bool(), denominator="own", reduction="pair")
    return contrastive_loss(logits, pos.bool(), neg.bool(), denominator="own", reduction="none").mean()


def _affine_mean(reference: Tensor, values: Tensor) -> Tensor:
    """``Σ_j w_ij values_j / Σ_j w_ij`` with ``w = reference referenceᵀ / 2 + ½``, without the matrix w: ``(N, D)``."""
    reference = reference.detach()
    total = reference @ (reference.T @ values) + values.sum(dim=0)  # 2 Σ_j w_ij values_j
    return total / (reference @ reference.sum(dim=0) + len(reference))[:, None]
