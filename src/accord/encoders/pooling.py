"""Pooling over the real positions of a padded sequence, and bringing it to a length."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from accord.functional.checks import as_float
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


def pooled_onto(tokens: Tensor, mask: Tensor | None, onto: Tensor) -> Tensor:
    """The real tokens of each row on as many places as the row has in ``onto``, both of which last equally long.

    Each place gets the mean of the tokens that it overlaps: with as many tokens as places, its own.

    Args:
        tokens: ``(B, N, D)``; padding comes last.
        mask: ``(B, N)`` bool, or None when all positions are real.
        onto: ``(B, T)`` bool, the places; padding comes last.

    Returns:
        ``(B, T, D)`` float32 or wider, zero for padding.

    Example:
        >>> import torch
        >>> tokens = torch.tensor([[[1.0], [2.0], [3.0], [4.0]]])
        >>> pooled_onto(tokens, None, torch.tensor([[True, True, False]]))[0, :, 0]
        tensor([1.5000, 3.5000, 0.0000])
    """
    device = tokens.device
    count = torch.full((len(tokens), 1), tokens.shape[1], device=device) if mask is None else mask.sum(1, keepdim=True)
    places = onto.sum(dim=1, keepdim=True).clamp(min=1)  # (B, 1)
    place = torch.arange(onto.shape[1], device=device)
    start, stop = place * count // places, -(-(place + 1) * count // places)  # (B, T)
    token = torch.arange(tokens.shape[1], device=device)
    overlap = (token >= start[..., None]) & (token < stop[..., None]) & onto[..., None]  # (B, T, N)
    with torch.autocast(device.type, enabled=False):
        shares = overlap / overlap.sum(dim=2, keepdim=True).clamp(min=1)
        return shares.to(as_float(tokens)) @ as_float(tokens)


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


def slot_means(tokens: Tensor, mask: Tensor | None, slots: int) -> Tensor:
    """The means of what ``slots`` equal spans of each row's real tokens touch: adaptive average pooling, row by row.

    Of fewer tokens than slots some stand in several.

    Args:
        tokens: ``(B, N, D)``.
        mask: ``(B, N)`` bool, padding behind the real positions, or None when all are real.
        slots: number of spans.

    Returns:
        ``(B, slots, D)``; zero for a row without any real position.

    Example:
        >>> import torch
        >>> tokens = torch.tensor([[[1.0], [2.0], [3.0], [4.0]]])
        >>> two = torch.tensor([[True, True, False, False]])
        >>> slot_means(tokens, None, 2)[0, :, 0], slot_means(tokens, two, 4)[0, :, 0]
        (tensor([1.5000, 3.5000]), tensor([1., 1., 2., 2.]))
    """
    rows, present, _ = tokens.shape
    if mask is None and present == slots:
        return tokens
    place = torch.arange(present, device=tokens.device)
    mask = torch.ones(rows, present, dtype=torch.bool, device=tokens.device) if mask is None else mask
    count = mask.sum(dim=1)[:, None]  # (B, 1)
    edge = torch.arange(slots + 1, device=tokens.device) * count  # (B, slots + 1), of `slots` times a position
    start, stop = edge[:, :-1] // slots, (edge[:, 1:] + slots - 1) // slots
    inside = (place >= start[..., None]) & (place < stop[..., None]) & mask[:, None]  # (B, slots, N)
    share = inside.to(tokens.dtype)
    return torch.einsum("bsn,bnd->bsd", share / share.sum(dim=2, keepdim=True).clamp_min(1), tokens)
