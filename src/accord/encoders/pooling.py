"""Pooling over the real positions of a padded sequence."""

from __future__ import annotations

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
