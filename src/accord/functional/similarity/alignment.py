"""Soft alignment: a pair is scored token by token, every token with a softmax-weighted mean of its partners.

CiCo (Cheng et al. 2023, CVPR) matches clips of a sign video with the words of a sentence, whose order differs. Where
:func:`.tokens.late_interaction` takes the best partner, a token here takes the mean of its cosines with all of them,
weighted by their own softmax: bounded as a cosine is, and with a gradient for every partner. Tiles of the
four-dimensional tensor are computed, summed up, and computed again in the backward pass; none of them is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accord.functional.checks import as_float, check_ndim, check_positive, check_share
from accord.functional.engine import contrastive_loss
from accord.functional.similarity.token_tiles import (
    check_tokens,
    or_all,
    per_voter,
    sum_voting,
    token_products,
    token_tiles,
)


def soft_alignment(
    query: Tensor,
    key: Tensor,
    query_mask: Tensor | None = None,
    key_mask: Tensor | None = None,
    *,
    temperature: float = 0.07,
    mask_inner: bool = True,
) -> Tensor:
    """Similarity of every query with every key: ``s_ij = mean_k Σ_r e_kr softmax_r(e_kr / t)``, ``e_kr = q_ik · k_jr``.

    Towards t = 0 it is :func:`late_interaction`, towards infinity the mean of all products.

    Args:
        query: ``(A, n, D)`` tokens, usually unit norm.
        key: ``(B, m, D)`` tokens.
        query_mask: ``(A, n)`` bool, True for the tokens that vote; by default all.
        key_mask: ``(B, m)`` bool, True for the tokens that can be chosen; by default all.
        temperature: t of the softmax over partners.
        mask_inner: whether the softmax leaves out what ``key_mask`` does; without, padding takes weight, as in the
            reference implementation, and only tells which keys have any token.

    Returns:
        ``(A, B)``; a pair of which one side has no valid token has similarity 0 and no gradient.

    Raises:
        ShapeError: tokens of different width, or masks that do not fit.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> soft_alignment(torch.eye(2)[None], torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), temperature=0.5)
        tensor([[0.8808]])
    """
    return _aligned(query, key, query_mask, key_mask, temperature, mask_inner, both=False)[0]


def soft_alignment_pair(
    first: Tensor,
    second: Tensor,
    first_mask: Tensor | None = None,
    second_mask: Tensor | None = None,
    *,
    temperature: float = 0.07,
    mask_inner: bool = True,
) -> tuple[Tensor, Tensor]:
    """Both directions of :func:`soft_alignment` from one product: the first ask the second, and the second the first.

    Args:
        first: ``(A, n, D)`` tokens, usually unit norm.
        second: ``(B, m, D)`` tokens.
        first_mask: ``(A, n)`` bool, False for padding, which neither votes nor can be chosen.
        second_mask: ``(B, m)`` bool, likewise.
        temperature: of both softmaxes.
        mask_inner: as in :func:`soft_alignment`.

    Returns:
        ``(A, B)`` twice: rows are the first in both.

    Raises:
        ShapeError: tokens of different width, or masks that do not fit.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> there, back = soft_alignment_pair(torch.eye(2)[None], torch.tensor([[[1.0, 0.0]]]), temperature=0.5)
        >>> there, back
        (tensor([[0.5000]]), tensor([[0.8808]]))
    """
    there, back = _aligned(first, second, first_mask, second_mask, temperature, mask_inner, both=True)
    return there, back


def token_alignment(query: Tensor, key: Tensor, key_mask: Tensor | None = None, temperature: float = 0.07) -> Tensor:
    """How much each token of a row attends to each token of its own partner: ``softmax_r(q_k · k_r / t)``.

    Args:
        query: ``(B, n, D)`` tokens.
        key: ``(B, m, D)`` tokens.
        key_mask: ``(B, m)`` bool, False for padding, which gets nothing.
        temperature: t.

    Returns:
        ``(B, n, m)``, rows sum to 1; 0 where a partner has no valid token.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> token_alignment(torch.eye(2)[None], torch.eye(2)[None], temperature=0.5)
        tensor([[[0.8808, 0.1192],
                 [0.1192, 0.8808]]])
    """
    check_tokens(query, key, None, key_mask)
    check_positive(temperature=temperature)
    with torch.autocast(query.device.type, enabled=False):
        logits = torch.bmm(as_float(query), as_float(key).mT) / temperature
        weights = _weights(logits, None if key_mask is None else or_all(key_mask)[:, None], dim=2)  # type: ignore[index]
    return weights if key_mask is None else weights.masked_fill(~key_mask[:, None], 0.0)


def cross_lingual_loss(first_to_second: Tensor, second_to_first: Tensor, mix: float = 0.5) -> Tensor:
    """Symmetric InfoNCE on each of the two similarities of a batch (CiCo): ``mix L(first) + (1 - mix) L(second)``.

    Args:
        first_to_second: ``(B, B)`` logits, of :func:`soft_alignment_pair` times a scale; row i belongs to column i.
        second_to_first: ``(B, B)`` likewise, the same rows.
        mix: share of the first.

    Returns:
        Scalar.

    Raises:
        ShapeError: not two square matrices.
        ValueError: a share outside [0, 1].

    Example:
        >>> cross_lingual_loss(100 * torch.eye(3), 100 * torch.eye(3))
        tensor(0.)
    """
    check_ndim(2, first_to_second=first_to_second, second_to_first=second_to_first)
    check_share(mix=mix)
    first, second = (contrastive_loss(each, direction="both") for each in (first_to_second, second_to_first))
    return mix * first + (1 - mix) * second


def _aligned(
    query: Tensor,
    key: Tensor,
    query_mask: Tensor | None,
    key_mask: Tensor | None,
    temperature: float,
    mask_inner: bool,
    both: bool,
) -> list[Tensor]:
    check_tokens(query, key, query_mask, key_mask)
    check_positive(temperature=temperature)
    inner = (or_all(query_mask), or_all(key_mask)) if mask_inner else (None, None)
    with torch.autocast(query.device.type, enabled=False):
        query, key = as_float(query), as_float(key)
        there, back = _SoftTotal.apply(query, key, query_mask, key_mask, *inner, temperature, both)
        found = [per_voter(there, query, query_mask, key_mask, "mean")]
        return [*found, per_voter(back.T, key, key_mask, query_mask, "mean").T] if both else found


class _SoftTotal(torch.autograd.Function):
    """Sums over the voting tokens of the softmax-weighted mean of their similarities, and so of the keys' tokens.

    With weights p and mean s of a row of similarities e, the derivative of s by e is ``p (1 + (e - s) / t)``.
    """

    @staticmethod
    def forward(
        query: Tensor,
        key: Tensor,
        query_mask: Tensor | None,
        key_mask: Tensor | None,
        query_inner: Tensor | None,
        key_inner: Tensor | None,
        temperature: float,
        both: bool,
    ) -> tuple[Tensor, Tensor]:
        there = query.new_empty(len(query), len(key))
        back = torch.empty_like(there) if both else query.new_empty(0, 0)
        for rows, columns, buffer in token_tiles(query, key):
            tile = token_products(query[rows], key[columns], buffer)  # (t, n, u, m)
            mean = _mean(tile, temperature, _along(key_inner, columns, "key"), dim=3)[1].squeeze(3)  # (t, n, u)
            there[rows, columns] = sum_voting(mean, None if query_mask is None else query_mask[rows, :, None], dim=1)
            if both:
                mean = _mean(tile, temperature, _along(query_inner, rows, "query"), dim=1)[1].squeeze(1)  # (t, u, m)
                back[rows, columns] = sum_voting(mean, None if key_mask is None else key_mask[columns], dim=2)
        return there, back

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.temperature, ctx.both = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, there_grad: Tensor, back_grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, query_mask, key_mask, query_inner, key_inner = ctx.saved_tensors
        query_grad, key_grad = query.new_zeros(query.shape), key.new_zeros(key.shape)
        with torch.autocast(query.device.type, enabled=False):
            for rows, columns, _ in token_tiles(query, key):
                tile = token_products(query[rows], key[columns])
                grad = there_grad[rows, None, columns, None]  # (t, 1, u, 1)
                if query_mask is not None:
                    grad = grad * query_mask[rows, :, None, None]
                share = grad * _slope(tile, ctx.temperature, _along(key_inner, columns, "key"), dim=3)
                if ctx.both:
                    grad = back_grad[rows, None, columns, None]
                    if key_mask is not None:
                        grad = grad * key_mask[columns]
                    share = share + grad * _slope(tile, ctx.temperature, _along(query_inner, rows, "query"), dim=1)
                weight = share.flatten(2).flatten(0, 1)
                query_grad[rows].view(-1, query.shape[2]).addmm_(weight, key[columns].flatten(0, 1))
                key_grad[columns].view(-1, key.shape[2]).addmm_(weight.T, query[rows].flatten(0, 1))
        return query_grad, key_grad, None, None, None, None, None, None


def _along(mask: Tensor | None, part: slice, side: str) -> Tensor | None:
    """The mask of a group of queries or of keys, as it lies in a tile ``(t, n, u, m)``."""
    if mask is None:
        return None
    return mask[part, :, None, None] if side == "query" else mask[part]


def _weights(logits: Tensor, mask: Tensor | None, dim: int) -> Tensor:
    return (logits if mask is None else logits.masked_fill(~mask, -torch.inf)).softmax(dim=dim)


def _mean(tile: Tensor, temperature: float, mask: Tensor | None, dim: int) -> tuple[Tensor, Tensor]:
    """Weights of the partners along ``dim``, and the mean by them, whose ``dim`` has size 1."""
    weights = _weights(tile / temperature, mask, dim)
    return weights, (weights * tile).sum(dim=dim, keepdim=True)


def _slope(tile: Tensor, temperature: float, mask: Tensor | None, dim: int) -> Tensor:
    """Derivative of the mean along ``dim`` by each similarity of the tile."""
    weights, mean = _mean(tile, temperature, mask, dim)
    return weights * (1 + (tile - mean) / temperature)
