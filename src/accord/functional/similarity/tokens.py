"""Late interaction: a pair is scored token by token, every token with its best partner on the other side.

FILIP (Yao et al. 2022, ICLR) averages the maxima over the tokens of the query, ColBERT (Khattab and Zaharia
2020, SIGIR) sums them. The four-dimensional tensor of all token similarities is walked through in tiles: only
the maxima and the partners' numbers are kept, so memory is linear in the number of tokens of one pair.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from accord.functional.checks import (
    as_float,
    check_choice,
    check_positive,
    check_range,
    check_same_shape,
    check_shape,
)
from accord.functional.engine import contrastive_loss
from accord.functional.similarity.token_tiles import (
    check_tokens,
    or_all,
    per_voter,
    sum_voting,
    token_products,
    token_tiles,
)


def late_interaction(
    query: Tensor,
    key: Tensor,
    query_mask: Tensor | None = None,
    key_mask: Tensor | None = None,
    reduce: Literal["mean", "sum"] = "mean",
    *,
    softmax_temperature: float | None = None,
) -> Tensor:
    """Similarity of every query with every key: ``s_ij = mean_k max_r q_ik · k_jr`` over the valid tokens.

    The gradient flows through the partner that wins only, as in max pooling. With ``softmax_temperature`` t the
    maximum becomes ``t log Σ_r exp(q_ik · k_jr / t)``, whose gradient reaches every partner; its tiles are computed
    again in the backward pass. The smaller t, the nearer to the maximum.

    Args:
        query: ``(A, n, D)`` tokens, usually unit norm.
        key: ``(B, m, D)`` tokens.
        query_mask: ``(A, n)`` bool, True for the tokens that vote; by default all.
        key_mask: ``(B, m)`` bool, True for the tokens that can be chosen; by default all.
        reduce: ``mean`` over the voting tokens, which makes the scale independent of their number, or ``sum``.
        softmax_temperature: of the soft maximum; None takes the maximum.

    Returns:
        ``(A, B)``; a pair of which one side has no valid token has similarity 0 and no gradient.

    Raises:
        ShapeError: tokens of different width, or masks that do not fit.
        ValueError: an unknown reduction, a temperature that is not finite and positive.

    Example:
        >>> late_interaction(torch.eye(2)[None], torch.tensor([[[1.0, 0.0]], [[0.6, 0.8]]]))
        tensor([[0.5000, 0.7000]])
    """
    check_tokens(query, key, query_mask, key_mask)
    check_choice(("mean", "sum"), reduce=reduce)
    if softmax_temperature is not None:
        check_positive(softmax_temperature=softmax_temperature)
    with torch.autocast(query.device.type, enabled=False):
        query, key = as_float(query), as_float(key)
        if softmax_temperature is None:
            total = _MaxSimilarity.apply(query, key, query_mask, or_all(key_mask), False, _tracked(query, key))[0]
        else:
            total = _soft_total(query, key, query_mask, or_all(key_mask), softmax_temperature)
        return per_voter(total, query, query_mask, key_mask, reduce)


def late_interaction_pair(
    image_tokens: Tensor,
    text_tokens: Tensor,
    text_mask: Tensor | None = None,
    image_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Both directions of :func:`late_interaction` from one product: images ask texts, and texts ask images.

    The two are not transposes of each other.

    Args:
        image_tokens: ``(A, n, D)`` unit norm.
        text_tokens: ``(B, m, D)`` unit norm.
        text_mask: ``(B, m)`` bool, False for padding, which neither votes nor can be chosen.
        image_mask: ``(A, n)`` bool, likewise.

    Returns:
        ``(A, B)`` image to text and ``(B, A)`` text to image, rows are queries.

    Raises:
        ShapeError: tokens of different width, or masks that do not fit.

    Example:
        >>> s_i2t, s_t2i = late_interaction_pair(torch.eye(2)[None], torch.tensor([[[1.0, 0.0]]]))
        >>> s_i2t, s_t2i
        (tensor([[0.5000]]), tensor([[1.]]))
    """
    check_tokens(image_tokens, text_tokens, image_mask, text_mask, ("image_tokens", "text_tokens"))
    with torch.autocast(image_tokens.device.type, enabled=False):
        image, text = as_float(image_tokens), as_float(text_tokens)
        masks = (or_all(image_mask), or_all(text_mask))
        i2t, t2i, *_ = _MaxSimilarity.apply(image, text, *masks, True, _tracked(image, text))
        return (
            per_voter(i2t, image, image_mask, text_mask, "mean"),
            per_voter(t2i.T, text, text_mask, image_mask, "mean"),
        )


def info_nce_from_similarity(s_i2t: Tensor, s_t2i: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE on two similarity matrices: the mean of both cross-entropies over rows (FILIP).

    Args:
        s_i2t: ``(B, B)``, rows are images; image i belongs to text i.
        s_t2i: ``(B, B)``, rows are texts.
        logit_scale: factor on the similarities, already exponentiated (1 / temperature).

    Returns:
        Scalar.

    Raises:
        ShapeError: not two square matrices of the same shape.
        ValueError: a scale that is not finite and positive.

    Example:
        >>> info_nce_from_similarity(torch.eye(3), torch.eye(3), 100.0)
        tensor(0.)
    """
    check_same_shape(s_i2t=s_i2t, s_t2i=s_t2i)
    check_positive(logit_scale=logit_scale)
    with torch.autocast(s_i2t.device.type, enabled=False):
        both = torch.stack([as_float(s_i2t), as_float(s_t2i)])
        return contrastive_loss(logit_scale * both)


@torch.no_grad()
def select_tokens(
    query: Tensor,
    key: Tensor,
    keep: int | float,
    rule: Literal["max", "sum"] = "max",
    scope: Literal["batch", "pair"] = "batch",
    query_mask: Tensor | None = None,
    key_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The tokens of each sample that matter most to the other side, to make late interaction cheaper.

    FILIP keeps the quarter of the tokens with the largest similarity to any token of the batch (``rule="max"``,
    ``scope="batch"``); DeCLIP's version keeps those with the largest summed similarity to the own partner
    (``"sum"``, ``"pair"``), which lets the partner decide what the negatives see.

    Args:
        query: ``(A, n, D)`` tokens to choose from.
        key: ``(B, m, D)`` tokens of the other side; B = A with ``scope="pair"``.
        keep: number of tokens per sample, or, as a float, their share in (0, 1]: of each sample's own valid tokens,
            rounded up, so that padding takes no part of it.
        rule: score of a token, the ``max`` or the ``sum`` of its similarities with the key tokens.
        scope: the key tokens of the whole ``batch``, or of the ``pair`` only.
        query_mask: ``(A, n)`` bool, False for padding, which is taken last.
        key_mask: ``(B, m)`` bool, False for padding, which does not count.

    Returns:
        ``(A, k)`` token numbers, highest score first, without gradient, and ``(A, k)`` bool, False where a sample
        keeps fewer: the mask of the chosen tokens for :func:`late_interaction`. k is ``keep``, or that share of n.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: an unknown rule or scope, ``keep`` outside [1, n] or (0, 1].

    Example:
        >>> image = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]])
        >>> index, mask = select_tokens(image, torch.tensor([[[0.0, 1.0]]]), keep=2)
        >>> index, mask
        (tensor([[1, 2]]), tensor([[True, True]]))
        >>> image.take_along_dim(index[..., None], dim=1)[0, 1]
        tensor([0.6000, 0.8000])
    """
    check_tokens(query, key, query_mask, key_mask)
    check_choice(("max", "sum"), rule=rule)
    check_choice(("batch", "pair"), scope=scope)
    if scope == "pair":
        check_shape((len(query), None, None), key=key)
    if isinstance(keep, float) and not 0 < keep <= 1:
        raise ValueError(f"keep = {keep}: expected a share in (0, 1], or a whole number of tokens")
    if not isinstance(keep, float):
        check_range(1, query.shape[1], keep=keep)
    with torch.autocast(query.device.type, enabled=False):
        score = _token_scores(as_float(query), as_float(key), key_mask, rule, scope)
    valid = torch.ones_like(score, dtype=torch.bool) if query_mask is None else query_mask
    if isinstance(keep, float):
        count = (valid.sum(dim=1) * keep - 1e-4).ceil()  # (A,): 0.7 of 10 is 7, whatever the last bit of the product
        most = math.ceil(query.shape[1] * keep - 1e-4)
    else:
        count, most = valid.sum(dim=1), keep
    # sorted twice instead of filled with -inf: a score may be -inf itself, where no key token is valid
    order = score.argsort(dim=1, descending=True, stable=True)
    order = order.gather(1, (~valid).gather(1, order).int().argsort(dim=1, stable=True))
    index = order[:, :most]
    return index, valid.gather(1, index) & (torch.arange(most, device=index.device) < count[:, None])


@torch.no_grad()
def word_patch_alignment(image_tokens: Tensor, text_tokens: Tensor, text_mask: Tensor | None = None) -> Tensor:
    """Where each word of a text is seen in its own image: ``argmax_k word · patch_k`` (FILIP).

    Args:
        image_tokens: ``(B, n, D)`` unit norm, patches only.
        text_tokens: ``(B, m, D)`` unit norm.
        text_mask: ``(B, m)`` bool, False for padding.

    Returns:
        ``(B, m)`` patch number of each word, -1 for padding.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> word_patch_alignment(torch.eye(3)[None], torch.eye(3)[None].flip(1))
        tensor([[2, 1, 0]])
    """
    check_tokens(image_tokens, text_tokens, None, text_mask, ("image_tokens", "text_tokens"))
    check_shape((len(image_tokens), None, None), text_tokens=text_tokens)
    with torch.autocast(image_tokens.device.type, enabled=False):
        best = torch.bmm(as_float(text_tokens), as_float(image_tokens).mT).argmax(dim=2)
    return best if text_mask is None else best.masked_fill(~text_mask, -1)


class _MaxSimilarity(torch.autograd.Function):
    """Sums over the voting tokens of their best similarity; the backward pass needs the winners' numbers only.

    A tile is a group of queries against a group of keys with all their tokens, so that tiles do not depend on each
    other. Forward: one product, and the maximum over each side. Backward: the matrix that holds the incoming gradient
    at the winners and zeros elsewhere, times the tokens of either side.
    """

    @staticmethod
    def forward(
        query: Tensor, key: Tensor, query_mask: Tensor | None, key_mask: Tensor | None, both: bool, tracked: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Totals ``(A, B)`` of the queries and, if both, of the keys; and, if tracked, the winners' numbers."""
        (a, n, _), (b, m, _) = query.shape, key.shape
        small = torch.int16 if max(n, m) < 1 << 15 else torch.int32
        row_total, column_total = query.new_empty(a, b), query.new_empty((a, b) if both else (0, 0))
        row_best = query.new_empty((a, n, b) if tracked else (0, 0, 0), dtype=small)
        column_best = query.new_empty((a, b, m) if tracked and both else (0, 0, 0), dtype=small)
        for rows, columns, buffer in token_tiles(query, key):
            tile = token_products(query[rows], key[columns], buffer)  # (t, n, u, m)
            voting = None if query_mask is None else query_mask[rows, :, None]
            choosable = None if key_mask is None else key_mask[columns]
            if choosable is not None:
                tile.masked_fill_(~choosable, -torch.inf)
            if both and voting is not None:
                tile.masked_fill_(~voting[..., None], -torch.inf)
            best = _winners(tile, 3, row_best[rows, :, columns])
            row_total[rows, columns] = sum_voting(best, voting, dim=1)
            if both:
                best = _winners(tile, 1, column_best[rows, columns])
                column_total[rows, columns] = sum_voting(best, choosable, dim=2)
        return row_total, column_total, row_best, column_best

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        query, key, query_mask, key_mask, ctx.both, _ = inputs
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(query, key, query_mask, key_mask, *output[2:])

    @staticmethod
    def backward(ctx: Any, row_grad: Tensor, column_grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        query, key, query_mask, key_mask, row_best, column_best = ctx.saved_tensors
        query_grad, key_grad = query.new_zeros(query.shape), key.new_zeros(key.shape)
        with torch.autocast(query.device.type, enabled=False):
            for rows, columns, buffer in token_tiles(query, key):
                best, grad = row_best[rows, :, columns], row_grad[rows, None, columns]
                if query_mask is not None:
                    grad = grad * query_mask[rows, :, None]
                # the gradient itself may be differentiated: then no tile may overwrite another
                share = torch.zeros_like(buffer) if torch.is_grad_enabled() else buffer.zero_()
                share = share.view(*best.shape, key.shape[1])  # (t, n, u, m)
                share.scatter_(3, best.long()[..., None], grad.expand_as(best)[..., None])
                if ctx.both:
                    best, grad = column_best[rows, columns], column_grad[rows, columns, None]
                    if key_mask is not None:
                        grad = grad * key_mask[columns]
                    share.scatter_add_(1, best.long()[:, None], grad.expand_as(best)[:, None])
                weight = share.flatten(2).flatten(0, 1)
                query_grad[rows].view(-1, query.shape[2]).addmm_(weight, key[columns].flatten(0, 1))
                key_grad[columns].view(-1, key.shape[2]).addmm_(weight.T, query[rows].flatten(0, 1))
        return query_grad, key_grad, None, None, None, None


def _soft_total(
    query: Tensor, key: Tensor, query_mask: Tensor | None, key_mask: Tensor | None, temperature: float
) -> Tensor:
    """``(A, B)`` sums over the voting tokens of the soft maximum; every tile is computed again for the backward."""

    def block(query: Tensor, key: Tensor, voting: Tensor | None, choosable: Tensor | None) -> Tensor:
        tile = token_products(query, key) / temperature
        if choosable is not None:
            tile = tile.masked_fill(~choosable, -torch.inf)
        return sum_voting(temperature * torch.logsumexp(tile, dim=3), voting, dim=1)

    total = query.new_zeros(len(query), len(key))
    for rows, columns, _ in token_tiles(query, key):
        voting = None if query_mask is None else query_mask[rows, :, None]
        choosable = None if key_mask is None else key_mask[columns]
        total[rows, columns] = checkpoint(
            block, query[rows], key[columns], voting, choosable, use_reentrant=False, preserve_rng_state=False
        )
    return total


def _tracked(query: Tensor, key: Tensor) -> bool:
    return torch.is_grad_enabled() and (query.requires_grad or key.requires_grad)


def _winners(tile: Tensor, dim: int, number: Tensor) -> Tensor:
    """Maxima over ``dim``; their places are written to ``number`` unless that is empty (ten times the time)."""
    if number.numel() == 0:
        return tile.amax(dim=dim)
    best, place = tile.max(dim=dim)
    number.copy_(place)
    return best


def _token_scores(query: Tensor, key: Tensor, key_mask: Tensor | None, rule: str, scope: str) -> Tensor:
    """``(A, n)`` maximum or sum of each token's similarities with the valid key tokens."""
    if rule == "sum":  # linear: the sum of the tokens instead of the sum over the tokens
        total = (key if key_mask is None else key * key_mask[..., None]).sum(dim=1)
        return (query @ total[..., None]).squeeze(-1) if scope == "pair" else query @ total.sum(dim=0)
    if scope == "pair":
        similarity = query @ key.mT
        if key_mask is not None:
            similarity = similarity.masked_fill(~key_mask[:, None], -torch.inf)
        return similarity.amax(dim=2)
    score = query.new_full(query.shape[:2], -torch.inf)
    for rows, columns, buffer in token_tiles(query, key):
        tile = token_products(query[rows], key[columns], buffer)
        if key_mask is not None:
            tile.masked_fill_(~key_mask[columns], -torch.inf)
        score[rows] = torch.maximum(score[rows], tile.amax(dim=(2, 3)))
    return score
