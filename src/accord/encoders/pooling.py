"""Pooling over the real positions of a padded sequence, and bringing it to a length."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from accord.functional.text.losses import pool


def masked_mean(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the positions where ``mask`` is True.

    Args:
        tokens: ``(B, N, D)``.
        mask: ``(B, N)`` bool, or None when all positions are real.

    Returns:
        ``(B, D)``; zero for a row without any real position.

    Example:
        >>> import torch
        >>> masked_mean(torch.tensor([[[1.0], [9.0]]]), torch.tensor([[True, False]]))
        tensor([[1.]])
    """
    return pool(tokens, mask).to(tokens.dtype)


def unpacked(rows: Tensor, shape: Sequence[int], mask: Tensor | None) -> Tensor:
    """What was made of the real positions alone, each in its place, and zero where there is padding.

    Padding is then not computed, so that it cannot move batch statistics.

    Args:
        rows: ``(R, ...)``, row after row.
        shape: B and N.
        mask: ``(B, N)`` bool with R True entries, or None when all positions are real.

    Returns:
        ``(B, N, ...)``.

    Example:
        >>> unpacked(torch.tensor([5.0, 6.0, 7.0]), (2, 2), torch.tensor([[True, True], [True, False]]))
        tensor([[5., 6.],
                [7., 0.]])
    """
    if mask is None:
        return rows.unflatten(0, tuple(shape))
    places = rows.new_zeros(*shape, *rows.shape[1:])
    return places.masked_scatter(mask.reshape(*mask.shape, *[1] * (rows.ndim - 1)), rows)


def last_real(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """The token at the last real position of each row; padding comes after it.

    Args:
        tokens: ``(B, N, D)``.
        mask: ``(B, N)`` bool, or None when all positions are real.

    Returns:
        ``(B, D)``.

    Example:
        >>> import torch
        >>> last_real(torch.tensor([[[1.0], [9.0]]]), torch.tensor([[True, False]]))
        tensor([[1.]])
    """
    if mask is None:
        return tokens[:, -1]
    position = mask.sum(dim=1).clamp_min(1) - 1  # (B,)
    return tokens.take_along_dim(position[:, None, None], dim=1).squeeze(1)


def to_length(tokens: Tensor, mask: Tensor | None, length: int) -> Tensor:
    """The real tokens of each row on ``length`` places: more are interpolated along the row, fewer stand in the middle.

    What a row becomes does not hang on how far its batch was padded.

    Args:
        tokens: ``(B, N, D)``.
        mask: ``(B, N)`` bool, or None when all positions are real.
        length: number of places.

    Returns:
        ``(B, length, D)``, zero where there is nothing.

    Example:
        >>> import torch
        >>> tokens = torch.tensor([[[1.0], [2.0], [3.0], [4.0]]])
        >>> to_length(tokens, None, 2)[0, :, 0], to_length(tokens, None, 6)[0, :, 0]
        (tensor([1.5000, 3.5000]), tensor([0., 1., 2., 3., 4., 0.]))
    """
    rows, present, _ = tokens.shape
    if mask is None and present == length:
        return tokens
    if mask is None:
        count = torch.full((rows, 1), present, device=tokens.device)
    else:
        tokens = tokens.take_along_dim(mask.byte().argsort(dim=1, descending=True, stable=True)[..., None], dim=1)
        count = mask.sum(dim=1, keepdim=True)  # (B, 1)
    target = torch.arange(length, device=tokens.device)
    spread = ((target + 0.5) * count / length - 0.5).clamp(min=0)
    place = torch.where(count > length, spread, target - (length - count) // 2)  # (B, length)
    held = (place >= 0) & (place < count)
    low = place.long().clamp(0, present - 1)
    high = (low + 1).minimum((count - 1).clamp(min=0))
    share = (place - low).clamp(0, 1)[..., None].to(tokens.dtype)
    fitted = torch.lerp(tokens.take_along_dim(low[..., None], 1), tokens.take_along_dim(high[..., None], 1), share)
    return fitted.masked_fill(~held[..., None], 0)
