"""Weighted token-wise interaction: late interaction in which every token votes with a weight of its own.

DRL (Wang et al. 2022) and HBI (Jin et al. 2023, CVPR) score a text and a clip by ½ (Σ_t a_t max_v c_tv + Σ_v b_v max_t
c_tv), c the cosines of their tokens, a and b weights that each side gives its tokens. The four-dimensional tensor of
all pairs is walked through in the tiles of :mod:`.token_tiles`, each of which is computed again in the backward pass.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from accord.functional.checks import as_float, check_choice, check_ndim, check_shape
from accord.functional.similarity.token_tiles import check_tokens, token_products, token_tiles

Padding = Literal["left out", "zero"]


def token_similarity(
    text: Tensor, video: Tensor, text_mask: Tensor | None = None, video_mask: Tensor | None = None
) -> Tensor:
    """Cosines of all words of every text with all frames of every clip, 0 where either is padding.

    Args:
        text: ``(A, n, D)`` tokens of any length.
        video: ``(B, m, D)`` tokens.
        text_mask: ``(A, n)`` bool, False for padding.
        video_mask: ``(B, m)`` bool.

    Returns:
        ``(A, B, n, m)``. It is held whole: for many pairs take :func:`weighted_interaction`.

    Raises:
        ShapeError: shapes that do not fit.

    Example:
        >>> token_similarity(torch.eye(2)[None], torch.tensor([[[3.0, 0.0]]]))
        tensor([[[[1.],
                  [0.]]]])
    """
    check_tokens(text, video, text_mask, video_mask, ("text", "video"))
    with torch.autocast(text.device.type, enabled=False):
        cosine = token_products(F.normalize(as_float(text), dim=2), F.normalize(as_float(video), dim=2)).transpose(1, 2)
        return _zeroed(cosine, text_mask, video_mask)


def paired_similarity(
    text: Tensor, video: Tensor, text_mask: Tensor | None = None, video_mask: Tensor | None = None
) -> Tensor:
    """As :func:`token_similarity`, of each text with its own clip alone.

    Args:
        text: ``(B, n, D)`` tokens of any length.
        video: ``(B, m, D)`` tokens.
        text_mask: ``(B, n)`` bool, False for padding.
        video_mask: ``(B, m)`` bool.

    Returns:
        ``(B, n, m)``.

    Raises:
        ShapeError: shapes that do not fit.

    Example:
        >>> paired_similarity(torch.eye(2)[:, None], torch.eye(2)[:, None]).flatten()
        tensor([1., 1.])
    """
    check_tokens(text, video, text_mask, video_mask, ("text", "video"))
    check_shape((len(text), None, None), video=video)
    with torch.autocast(text.device.type, enabled=False):
        cosine = torch.bmm(F.normalize(as_float(text), dim=2), F.normalize(as_float(video), dim=2).mT)
        if text_mask is not None:
            cosine = cosine * text_mask[:, :, None]
        return cosine if video_mask is None else cosine * video_mask[:, None]


def token_weights(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Shares of the tokens by their scores: a softmax over the real ones.

    Args:
        scores: ``(B, n)``.
        mask: ``(B, n)`` bool, False for padding.

    Returns:
        ``(B, n)``, 0 for padding; rows sum to 1, or are 0 where all is padding.

    Raises:
        ShapeError: not a matrix, or a mask of another shape.

    Example:
        >>> token_weights(torch.zeros(1, 3), torch.tensor([[True, True, False]]))
        tensor([[0.5000, 0.5000, 0.0000]])
    """
    check_ndim(2, scores=scores)
    scores = as_float(scores)
    if mask is None:
        return scores.softmax(dim=1)
    check_shape(tuple(scores.shape), mask=mask)
    # the lowest finite number, since a softmax over -inf alone is NaN
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=1) * mask


def wti(
    similarity: Tensor,
    text_weight: Tensor,
    video_weight: Tensor,
    text_mask: Tensor | None = None,
    video_mask: Tensor | None = None,
) -> Tensor:
    """Weighted token-wise interaction of similarities that are there: ½ (Σ_t a_t max_v c + Σ_v b_v max_t c).

    Args:
        similarity: ``(A, B, n, m)``.
        text_weight: ``(A, n)`` shares, 0 for padding; see :func:`token_weights`.
        video_weight: ``(B, m)``.
        text_mask: ``(A, n)`` bool: padding cannot be chosen. Without it zeros that :func:`token_similarity` left there
            can, so that no maximum over a padded side is below 0, as in the reference implementation.
        video_mask: ``(B, m)`` bool, likewise.

    Returns:
        ``(A, B)``.

    Raises:
        ShapeError: shapes that do not fit.

    Example:
        >>> c = torch.tensor([[[[0.8, -0.2], [0.1, 0.4]]]])
        >>> wti(c, torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]))
        tensor([[0.7000]])
    """
    check_ndim(4, similarity=similarity)
    (a, b, n, m) = similarity.shape
    check_shape((a, n), text_weight=text_weight)
    check_shape((b, m), video_weight=video_weight)
    words = _best(similarity, None if video_mask is None else video_mask[None, :, None, :], dim=3)  # (A, B, n)
    frames = _best(similarity, None if text_mask is None else text_mask[:, None, :, None], dim=2)  # (A, B, m)
    text_weight, video_weight = _votes(text_weight, text_mask), _votes(video_weight, video_mask)
    total = torch.einsum("abn,an->ab", words, text_weight.to(words))
    return (total + torch.einsum("abm,bm->ab", frames, video_weight.to(frames))) / 2


def weighted_interaction(
    text: Tensor,
    video: Tensor,
    text_weight: Tensor,
    video_weight: Tensor,
    text_mask: Tensor | None = None,
    video_mask: Tensor | None = None,
    *,
    padding: Padding = "left out",
) -> Tensor:
    """:func:`wti` of every text with every clip, without the similarities of all their tokens in memory.

    Args:
        text: ``(A, n, D)`` tokens of any length.
        video: ``(B, m, D)`` tokens.
        text_weight: ``(A, n)`` shares, 0 for padding.
        video_weight: ``(B, m)``.
        text_mask: ``(A, n)`` bool, False for padding.
        video_mask: ``(B, m)`` bool.
        padding: ``"left out"`` of every maximum, so that a score does not depend on how far a batch was padded; or
            ``"zero"``, a similarity of 0 that can be chosen (the reference implementation).

    Returns:
        ``(A, B)``, float32 at least, also under autocast.

    Raises:
        ShapeError: shapes that do not fit.
        ValueError: an unknown padding.

    Example:
        >>> half = torch.full((1, 2), 0.5)
        >>> weighted_interaction(torch.eye(2)[None], torch.tensor([[[1.0, 0.0], [3.0, 0.0]]]), half, half)
        tensor([[0.7500]])
    """
    check_tokens(text, video, text_mask, video_mask, ("text", "video"))
    check_shape(tuple(text.shape[:2]), text_weight=text_weight)
    check_shape(tuple(video.shape[:2]), video_weight=video_weight)
    check_choice(("left out", "zero"), padding=padding)

    def block(text: Tensor, video: Tensor, a: Tensor, b: Tensor, real: Tensor | None, shown: Tensor | None) -> Tensor:
        cosine = token_products(text, video).transpose(1, 2)
        if padding == "zero":
            return wti(_zeroed(cosine, real, shown), a, b)
        return wti(cosine, a, b, real, shown)

    with torch.autocast(text.device.type, enabled=False):
        text, video = F.normalize(as_float(text), dim=2), F.normalize(as_float(video), dim=2)
        a, b = text_weight.to(text), video_weight.to(text)
        rows: dict[int, list[Tensor]] = {}
        for some, others, _ in token_tiles(text, video):
            masks = (_of(text_mask, some), _of(video_mask, others))
            parts = (text[some], video[others], a[some], b[others], *masks)
            scores = checkpoint(block, *parts, use_reentrant=False, preserve_rng_state=False)
            rows.setdefault(some.start, []).append(scores)
        return torch.cat([torch.cat(parts, dim=1) for parts in rows.values()])


def _best(similarity: Tensor, choosable: Tensor | None, dim: int) -> Tensor:
    """Maxima over ``dim``; 0 where nothing can be chosen."""
    if choosable is None:
        return similarity.amax(dim=dim)
    found = similarity.masked_fill(~choosable, -torch.inf).amax(dim=dim)
    return found.masked_fill(~choosable.any(dim=dim), 0.0)


def _votes(weight: Tensor, mask: Tensor | None) -> Tensor:
    """The weights, of padding 0 and without gradient."""
    return weight if mask is None else weight.masked_fill(~mask, 0.0)


def _zeroed(similarity: Tensor, text_mask: Tensor | None, video_mask: Tensor | None) -> Tensor:
    """Similarities ``(A, B, n, m)`` with zeros at padding."""
    if text_mask is not None:
        similarity = similarity * text_mask[:, None, :, None]
    return similarity if video_mask is None else similarity * video_mask[None, :, None, :]


def _of(mask: Tensor | None, rows: slice) -> Tensor | None:
    return None if mask is None else mask[rows]
