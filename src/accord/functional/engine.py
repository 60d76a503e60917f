"""The contrastive engine: every softmax over pairs in this library is a call of one function.

InfoNCE (van den Oord et al. 2018, eq. 4), supervised contrast with several positives (Khosla et al. 2020, NeurIPS,
eq. 2), decoupled contrast (Yeh et al. 2022, ECCV, eq. 5), joint positives as in MIL-NCE (Miech et al. 2020, CVPR,
eq. 1), additive margins and soft targets differ only in which pairs stand in the numerator, which in the denominator,
and how anchors are averaged. Named losses say it in a line each; where the similarity is an inner product and the
batch is large they take the denominator from :mod:`accord.functional.tiled` instead.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import ShapeError
from accord.functional.checks import as_float, check_choice, check_share, check_trailing_shape

Numerator = Literal["each", "joint"]
Denominator = Literal["all", "own", "negatives"]
Direction = Literal["rows", "columns", "both"]
Reduction = Literal["anchor", "pair", "sum", "none"]


def contrastive_loss(
    logits: Tensor,
    targets: Tensor | None = None,
    negatives: Tensor | None = None,
    *,
    log_weight: Tensor | None = None,
    extra: Tensor | None = None,
    margin: float = 0.0,
    numerator: Numerator = "each",
    denominator: Denominator = "all",
    label_smoothing: float = 0.0,
    direction: Direction = "rows",
    reduction: Reduction = "anchor",
) -> Tensor:
    """Each anchor (row) must prefer its positives to its negatives, whatever the similarity.

    For anchor i and positive j ``l_ij = log Σ_d w_id exp(s_id) - s_ij``, where d runs over the denominator. A pair
    that is neither positive nor negative is ignored. An anchor without a positive, or with nothing in its
    denominator, contributes zero.

    Args:
        logits: ``(..., A, N)`` similarity over temperature.
        targets: ``(..., A, N)``; bool: the positives; floating point: soft targets, the weight of each pair in its
            row, usually summing to 1; None: the diagonal.
        negatives: ``(..., A, N)`` bool; None: every pair that is not positive.
        log_weight: ``(..., A, N)`` logarithm of a pair's weight ``w`` in the denominator, by default 0.
        extra: ``(..., A, M)`` logits of further negatives (a queue, hard negatives); rows only.
        margin: subtracted from the logits of positives (CosFace, Wang et al. 2018, eq. 4).
        numerator: ``each`` positive has its own term; ``joint``: one term per anchor, ``-log Σ_j exp(s_ij)``.
        denominator: ``all``: positives and negatives; ``own``: the term's own positive and the negatives, so that
            positives never compete; ``negatives``: decoupled.
        label_smoothing: share of the target that is spread evenly over the anchor's positives and negatives.
        direction: anchors are the ``rows``, the ``columns``, or ``both`` (mean of the two losses; soft targets are
            normalised anew over each column).
        reduction: ``anchor``: mean over the positives of an anchor, then over the anchors that count; ``pair``: mean
            over all positive pairs, which weighs anchors by their positives; ``sum`` of the anchors; ``none``.

    Returns:
        Scalar; ``(..., A)`` without reduction.

    Raises:
        ShapeError: targets, negatives or weights of another shape than ``logits``, or not square by default.
        ValueError: an unknown option, or options that exclude each other.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
        >>> positive = torch.tensor([[True, False, False], [False, True, False]])
        >>> contrastive_loss(logits, positive)
        tensor(0.2395)
        >>> contrastive_loss(logits, positive, denominator="negatives")
        tensor(-1.3069)
    """
    _check(logits, targets, negatives, log_weight, extra)
    _check_options(targets, extra, numerator, denominator, label_smoothing, direction, reduction)
    if direction != "rows":
        turned = contrastive_loss(
            logits.mT,
            _turned(targets),
            None if negatives is None else negatives.mT,
            log_weight=None if log_weight is None else log_weight.mT,
            margin=margin,
            numerator=numerator,
            denominator=denominator,
            label_smoothing=label_smoothing,
            reduction=reduction,
        )
        if direction == "columns":
            return turned
    with torch.autocast(logits.device.type, enabled=False):
        logits = as_float(logits)
        soft = targets is not None and targets.is_floating_point()
        plain = negatives is None and log_weight is None and extra is None and not margin
        if plain and numerator == "each" and denominator == "all" and (targets is None or soft):
            total, count = _cross_entropy(logits, targets, label_smoothing)
        else:
            positive = _positives(logits, targets)
            negative = ~positive if negatives is None else negatives
            if margin:
                logits = torch.where(positive, logits - margin, logits)
            weighted = logits if log_weight is None else logits + log_weight.to(logits)
            if numerator == "joint":
                total, count = _joint(logits, weighted, positive, negative, extra, denominator)
            else:
                share = targets.to(logits) if soft and targets is not None else positive.to(logits.dtype)
                total, count = _each(logits, weighted, share, positive, negative, extra, denominator, label_smoothing)
        loss = _reduce(total, count, soft, reduction)
    return (loss + turned) / 2 if direction == "both" else loss


def masked_logsumexp(x: Tensor, mask: Tensor | None, extra: Tensor | None = None) -> Tensor:
    """Log-sum-exp of the masked-in entries of each row, and of all of ``extra``; -inf without gradient for none.

    Args:
        x: ``(..., A, N)``.
        mask: ``(..., A, N)`` bool, or None for all.
        extra: ``(..., A, M)``.

    Returns:
        ``(..., A)``.

    Example:
        >>> x = torch.zeros(2, 2, requires_grad=True)
        >>> level = masked_logsumexp(x, torch.tensor([[True, True], [False, False]]))
        >>> level.detach()
        tensor([0.6931,   -inf])
        >>> torch.autograd.grad(level[level.isfinite()].sum(), x)[0]
        tensor([[0.5000, 0.5000],
                [0.0000, 0.0000]])
    """
    if mask is not None:
        x = x.masked_fill(~mask, -torch.inf)
    if extra is not None:
        x = torch.cat([x, extra.to(x)], dim=-1)
    if mask is None:
        return torch.logsumexp(x, dim=-1)
    empty = (x == -torch.inf).all(dim=-1)  # the softmax of such a row would be 0/0
    level = torch.logsumexp(x.masked_fill(empty.unsqueeze(-1), 0.0), dim=-1)
    return level.masked_fill(empty, -torch.inf)


def _cross_entropy(logits: Tensor, targets: Tensor | None, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """The usual case, one softmax over all keys, in PyTorch's fused kernel."""
    flat = logits.flatten(0, -2)  # (…·A, N)
    if targets is None:
        index = torch.arange(logits.shape[-2], device=logits.device).expand(logits.shape[:-1]).flatten()
        count = logits.new_ones(logits.shape[:-1])
    else:
        index = targets.to(logits).expand_as(logits).flatten(0, -2)
        count = targets.to(logits).expand_as(logits).sum(dim=-1)
    total = F.cross_entropy(flat, index, reduction="none", label_smoothing=label_smoothing)
    return total.view(logits.shape[:-1]), count


def _each(
    logits: Tensor,
    weighted: Tensor,
    share: Tensor,
    positive: Tensor,
    negative: Tensor,
    extra: Tensor | None,
    denominator: Denominator,
    label_smoothing: float,
) -> tuple[Tensor, Tensor]:
    """Sum over the positives of each anchor of ``share_ij l_ij``, and the sum of the shares."""
    count = share.sum(dim=-1)
    if denominator == "own":
        others = masked_logsumexp(weighted, negative, extra).unsqueeze(-1)
        pairs = F.softplus(others - logits.masked_fill(~positive, torch.inf))  # log(1 + Σ exp(s_in - s_ij))
        return (share * pairs).sum(dim=-1), count
    if label_smoothing:
        candidate = positive | negative
        even = candidate.to(share) / candidate.sum(dim=-1, keepdim=True).clamp(min=1)
        share = torch.lerp(share / count.clamp(min=torch.finfo(share.dtype).tiny).unsqueeze(-1), even, label_smoothing)
        share = share * count.unsqueeze(-1)
    level = masked_logsumexp(weighted, positive | negative if denominator == "all" else negative, extra)
    empty = level == -torch.inf
    total = level.masked_fill(empty, 0.0) * count - (share * logits).sum(dim=-1)
    return total.masked_fill(empty, 0.0), count.masked_fill(empty, 0.0)


def _joint(
    logits: Tensor,
    weighted: Tensor,
    positive: Tensor,
    negative: Tensor,
    extra: Tensor | None,
    denominator: Denominator,
) -> tuple[Tensor, Tensor]:
    """``log(denominator) - log Σ_j exp(s_ij)`` per anchor, and 1 where there is such a term."""
    gain = masked_logsumexp(logits, positive)
    level = masked_logsumexp(weighted, positive | negative if denominator == "all" else negative, extra)
    there = (gain > -torch.inf) & (level > -torch.inf)
    total = level.masked_fill(~there, 0.0) - gain.masked_fill(~there, 0.0)
    return total, there.to(total.dtype)


def _reduce(total: Tensor, count: Tensor, soft: bool, reduction: Reduction) -> Tensor:
    if reduction == "pair":
        return total.sum() / count.sum().clamp(min=torch.finfo(count.dtype).tiny)
    if not soft:
        total = total / count.clamp(min=1)
    if reduction == "none":
        return total
    return total.sum() if reduction == "sum" else total.sum() / (count > 0).sum().clamp(min=1)


def _positives(logits: Tensor, targets: Tensor | None) -> Tensor:
    if targets is None:
        return torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device).expand_as(logits)
    return targets > 0 if targets.is_floating_point() else targets


def _turned(targets: Tensor | None) -> Tensor | None:
    """Targets of the other direction: soft ones are row-stochastic again after the transposition."""
    if targets is None or not targets.is_floating_point():
        return None if targets is None else targets.mT
    return row_normalize(targets.mT)


def row_normalize(weight: Tensor) -> Tensor:
    """Rows that sum to one; a row of zeros stays zero.

    Normalise each direction by itself: the transpose of a row-stochastic matrix is not one.

    Args:
        weight: ``(..., A, N)`` non-negative.

    Returns:
        ``(..., A, N)``, float32 at least.

    Example:
        >>> row_normalize(torch.tensor([[1.0, 3.0], [0.0, 0.0]]))
        tensor([[0.2500, 0.7500],
                [0.0000, 0.0000]])
    """
    weight = as_float(weight)
    return weight / weight.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)


def _check(logits: Tensor, targets: Tensor | None, negatives: Tensor | None, *rest: Tensor | None) -> None:
    if logits.ndim < 2:
        raise ShapeError(f"logits has shape {tuple(logits.shape)}: expected (..., anchors, keys)")
    if targets is None and logits.shape[-2] != logits.shape[-1]:
        raise ShapeError(f"logits has shape {tuple(logits.shape)}: expected a square without targets")
    log_weight, extra = rest
    anchors, keys = logits.shape[-2:]
    for name, tensor in {"targets": targets, "negatives": negatives, "log_weight": log_weight}.items():
        if tensor is not None:
            check_trailing_shape((anchors, keys), **{name: tensor})
    if extra is not None:
        check_trailing_shape((anchors, None), extra=extra)
    if negatives is not None and negatives.dtype != torch.bool:
        raise ValueError(f"negatives has type {negatives.dtype}: expected bool")
    if targets is not None and not (targets.dtype == torch.bool or targets.is_floating_point()):
        raise ValueError(
            f"targets has type {targets.dtype}: expected bool (positives) or floating point (soft targets)"
        )


def _check_options(
    targets: Tensor | None,
    extra: Tensor | None,
    numerator: str,
    denominator: str,
    label_smoothing: float,
    direction: str,
    reduction: str,
) -> None:
    check_share(label_smoothing=label_smoothing)
    check_choice(get_args(Numerator), numerator=numerator)
    check_choice(get_args(Denominator), denominator=denominator)
    check_choice(get_args(Direction), direction=direction)
    check_choice(get_args(Reduction), reduction=reduction)
    if numerator == "joint" and denominator == "own":
        raise ValueError("numerator='joint' has one term per anchor: denominator='own' needs numerator='each'")
    if numerator == "joint" and targets is not None and targets.is_floating_point():
        raise ValueError("numerator='joint' takes positives as a bool mask, not soft targets")
    if label_smoothing and (numerator, denominator) != ("each", "all"):
        raise ValueError("label_smoothing needs numerator='each' and denominator='all'")
    if direction != "rows" and extra is not None:
        raise ValueError(f"extra negatives belong to rows: direction={direction!r} needs extra=None")
    if direction == "both" and reduction == "none":
        raise ValueError("reduction='none' with direction='both': call it once per direction")
