"""Losses for text: sentence contrast, binary noise contrast, token energies, and learned loss weights.

The families that Rethmeier and Augenstein (2023, ACM Computing Surveys) order: SimCSE (Gao et al. 2021, EMNLP),
Contrastive Tension (Carlsson et al. 2021, ICLR), CLINE (Wang et al. 2021, ACL), CLESS (Rethmeier and Augenstein
2020), Electric (Clark et al. 2020, EMNLP). NT-Xent and supervised contrast are in
:mod:`accord.functional.contrast.views`, what is drawn from texts in :mod:`accord.functional.text.draws`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import (
    as_float,
    check_choice,
    check_ndim,
    check_positive,
    check_same_shape,
    check_shape,
)
from accord.functional.engine import contrastive_loss
from accord.functional.similarity.pairwise import pairwise_cosine_similarity

Pooling = Literal["cls", "mean", "first_last"]


def pool(hidden: Tensor | Sequence[Tensor], mask: Tensor | None, mode: Pooling = "mean") -> Tensor:
    """One vector per text from the vectors of its tokens.

    Args:
        hidden: ``(B, L, D)`` of the last layer, or the ``(B, L, D)`` of all layers, first to last.
        mask: ``(B, L)``, non-zero for real tokens; None: all are.
        mode: ``cls``: the first token; ``mean``: the mean of the real tokens; ``first_last``: that mean of the
            average of first and last of the given layers (give the embeddings as first for the form of the
            literature, or the first block's output for that of SimCSE's released code).

    Returns:
        ``(B, D)``; zero for the mean of a text without real tokens.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: an unknown mode, ``first_last`` with one layer only.

    Example:
        >>> pool(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
        tensor([[2.]])
    """
    check_choice(get_args(Pooling), mode=mode)
    if isinstance(hidden, Tensor):
        if mode == "first_last":
            raise ValueError("mode = 'first_last' with one layer: expected the tensors of all layers")
        last = hidden
    else:
        last = hidden[-1]
    check_ndim(3, hidden=last)
    last = as_float(last)
    if mode == "cls":
        return last[:, 0]
    tokens = (as_float(hidden[0]) + last) / 2 if mode == "first_last" else last
    if mask is None:
        return tokens.mean(dim=1)
    check_shape(tuple(tokens.shape[:2]), mask=mask)
    real = mask.bool()[..., None]
    # Padding may hold anything, and 0 · inf is NaN: it is replaced, not multiplied away.
    return tokens.masked_fill(~real, 0).sum(dim=1) / real.sum(dim=1).clamp(min=1)


def simcse_loss(
    z1: Tensor,
    z2: Tensor,
    hard: Tensor | None = None,
    temperature: Tensor | float = 0.05,
    hard_log_weight: float = 0.0,
    symmetric: bool = False,
) -> Tensor:
    """Each sentence must find its other view among all, and among the hard negatives of all (SimCSE).

    ``-log e^{s_ii / T} / Σ_j (e^{s_ij / T} + e^{a [i = j]} e^{h_ij / T})``, with the cosines s to ``z2`` and h to
    ``hard`` (Gao et al. 2021, eqs. 4 and 5). Rows only, unlike NT-Xent.

    Args:
        z1: ``(N, D)``, any norm.
        z2: ``(N, D)`` the same sentences with other dropout, or their entailments.
        hard: ``(N, D)`` a hard negative of each, such as its contradiction; every row sees all of them.
        temperature: divides the cosines.
        hard_log_weight: a, added to the logit of a row's own hard negative.
        symmetric: mean with the other direction, where ``z2`` must find ``z1`` without hard negatives.

    Returns:
        Scalar, the mean over the rows.

    Raises:
        ShapeError: not matrices of the same shape.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> simcse_loss(torch.eye(2), torch.eye(2), hard=torch.eye(2), temperature=1.0)
        tensor(1.0064)
    """
    check_same_shape(z1=z1, z2=z2, **({} if hard is None else {"hard": hard}))
    check_positive(temperature=temperature)
    logits = pairwise_cosine_similarity(z1, z2) / temperature
    extra = None
    if hard is not None:
        extra = pairwise_cosine_similarity(z1, hard) / temperature
        extra = extra + hard_log_weight * torch.eye(len(extra), dtype=extra.dtype, device=extra.device)
    rows = contrastive_loss(logits, extra=extra)
    return (rows + contrastive_loss(logits, direction="columns")) / 2 if symmetric else rows


def contrastive_tension_loss(
    e1: Tensor, e2: Tensor, labels: Tensor, reduction: Literal["mean", "sum"] = "mean"
) -> Tensor:
    """Are the sentences of a pair the same? ``BCE(σ(e1 · e2), label)`` on raw inner products.

    Contrastive Tension (Carlsson et al. 2021), where two encoders with the same start embed the two sides,
    with 7 random pairs for each equal one. The original takes the mean, a popular re-implementation the sum:
    learning rates do not carry over.

    Args:
        e1: ``(B, D)`` of the first encoder, not normalised.
        e2: ``(B, D)`` of the second.
        labels: ``(B,)`` 1 for the same sentence, 0 for two different ones.
        reduction: ``mean`` or ``sum`` over the pairs.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: an unknown reduction.

    Example:
        >>> contrastive_tension_loss(torch.zeros(2, 3), torch.ones(2, 3), torch.tensor([1, 0]))
        tensor(0.6931)
    """
    check_same_shape(e1=e1, e2=e2)
    check_shape((len(e1),), labels=labels)
    check_choice(("mean", "sum"), reduction=reduction)
    score = (as_float(e1) * as_float(e2)).sum(dim=1)
    return F.binary_cross_entropy_with_logits(score, labels.to(score), reduction=reduction)


def cline_sentence_loss(orig: Tensor, syn: Tensor, ant: Tensor) -> Tensor:
    """A sentence fits its synonym version and not its antonym version (CLINE, Wang et al. 2021).

    ``BCE(σ(mean_d p_d q_d))`` with target 1 for (original, synonym) and 0 for (original, antonym). With pooled
    vectors from a tanh the score lies in [0.27, 0.73], so the loss cannot reach 0.

    Args:
        orig: ``(B, D)`` pooled originals.
        syn: ``(B, D)`` with words replaced and the meaning kept.
        ant: ``(B, D)`` with words replaced and the meaning broken.

    Returns:
        Scalar, the mean over the 2 B pairs.

    Raises:
        ShapeError: not matrices of the same shape.

    Example:
        >>> x = torch.ones(1, 4)
        >>> cline_sentence_loss(x, x, -x)
        tensor(0.3133)
    """
    check_same_shape(orig=orig, syn=syn, ant=ant)
    orig, syn, ant = as_float(orig), as_float(syn), as_float(ant)
    fit, misfit = (orig * syn).mean(dim=1), (orig * ant).mean(dim=1)
    return -(F.logsigmoid(fit) + F.logsigmoid(-misfit)).mean() / 2


def uncertainty_weighted(losses: Sequence[Tensor] | Tensor, log_vars: Tensor) -> Tensor:
    """Weighted sum of losses with learned weights, ``Σ_k e^{-s_k} L_k + max(s_k, 0)`` (CLINE's multi-task loss).

    After Kendall et al. (2018, CVPR), whose penalty is not cut at zero. At the usual start ``s = 0`` the penalty
    has the derivative 1, so that a weight moves by how far its loss is from 1.

    Args:
        losses: K scalars, or ``(K,)``.
        log_vars: ``(K,)`` learned s.

    Returns:
        Scalar.

    Raises:
        ShapeError: different numbers of losses and weights.

    Example:
        >>> uncertainty_weighted([torch.tensor(2.0), torch.tensor(3.0)], torch.zeros(2))
        tensor(5.)
    """
    stacked = losses if isinstance(losses, Tensor) else torch.stack(list(losses))
    check_ndim(1, losses=stacked)
    check_shape((len(stacked),), log_vars=log_vars)
    log_vars = as_float(log_vars)
    return (torch.exp(-log_vars) * as_float(stacked) + log_vars.clamp(min=0)).sum()


def binary_nce(
    scores: Tensor, targets: Tensor, pos_weight: Tensor | float | None = None, mask: Tensor | None = None
) -> Tensor:
    """Each pair of text and label is its own yes/no question: ``-y log σ(s) - (1 - y) log σ(-s)``, the mean.

    The binary form of noise-contrastive estimation, for several and for open labels (CLESS).

    Args:
        scores: ``(B, K)`` logits of K labels of each text.
        targets: ``(B, K)`` 1 where the label belongs to the text, 0 where not.
        pos_weight: factor of the positive part, a number or ``(K,)``.
        mask: ``(B, K)``, non-zero for the pairs that count; None: all do.

    Returns:
        Scalar; 0 when no pair counts.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> binary_nce(torch.tensor([[0.0, 9.0]]), torch.tensor([[1, 0]]), mask=torch.tensor([[True, False]]))
        tensor(0.6931)
    """
    check_same_shape(scores=scores, targets=targets, **({} if mask is None else {"mask": mask}))
    scores = as_float(scores)
    counts = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.bool()
    weight = None if pos_weight is None else torch.as_tensor(pos_weight, dtype=scores.dtype, device=scores.device)
    loss = F.binary_cross_entropy_with_logits(
        scores.masked_fill(~counts, 0), targets.to(scores), pos_weight=weight, reduction="none"
    )
    return loss.masked_fill(~counts, 0).sum() / counts.sum().clamp(min=1)


def electric_nce_logits(score: Tensor, log_noise: Tensor, mask_prob: float) -> Tensor:
    """Logits of "this token is noise", ``score + log q + log(p / (1 - p))`` (Electric, Clark et al. 2020).

    ``score`` is the energy of a token in its context: high for an unlikely one, so that ``-Σ_t score_t`` ranks
    sentences as a language model does. All masked positions are labelled noise, also where the drawn token is the
    original; the loss is binary cross-entropy over all real positions (:func:`binary_nce`).

    Args:
        score: ``(B, L)`` of the model at every position.
        log_noise: ``(B, L)`` log probability, under the noise model, of the token that stands there; detached here.
        mask_prob: p, share of positions that are replaced, in (0, 1).

    Returns:
        ``(B, L)``.

    Raises:
        ShapeError: not two matrices of the same shape.
        ValueError: a share outside (0, 1).

    Example:
        >>> electric_nce_logits(torch.tensor([[2.0]]), torch.tensor([[-1.0]]), 0.5)
        tensor([[1.]])
    """
    check_same_shape(score=score, log_noise=log_noise)
    if not 0 < mask_prob < 1:
        raise ValueError(f"mask_prob = {mask_prob}: expected a number in (0, 1)")
    return as_float(score) + as_float(log_noise.detach()) + math.log(mask_prob / (1 - mask_prob))
