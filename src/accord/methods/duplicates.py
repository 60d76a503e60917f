"""Rows of a batch that have the same caption: they are no wrong answers to each other's pictures.

CLIP counts them among the negatives. What they are instead is a setting of the methods that contrast pairs; the
mathematics of each choice is in :func:`accord.functional.info_nce`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from accord.data.loading.features import Features
from accord.functional.distributed import gather_features, rank, world_size
from accord.methods.programme import Batch

Choice = Literal["negatives", "positives", "ignored", "dropped"]
_BASE = 0x5851F42D4C957F2D  # odd, so that no power of it loses bits


def caption_ids(batch: Batch) -> Tensor:
    """A number for the caption of each row, ``(B,)`` int64: the same one for the same caption, in every process.

    Captions are the same where the text encoder is fed the same: tokens, or a stored vector. The numbers are a
    polynomial of these modulo 2⁶⁴, which padding does not change.

    Args:
        batch: with ``text (B, L)`` and ``text_mask``, or ``text`` as cached features.

    Example:
        >>> tokens = torch.tensor([[5, 7, 0], [5, 7, 9], [5, 7, 0]])
        >>> a, b, c = caption_ids({"text": tokens, "text_mask": tokens > 0}).tolist()
        >>> a == c, a == b
        (True, False)
    """
    text, mask = batch["text"], batch.get("text_mask")
    if isinstance(text, Features):
        rows, mask = text.pooled.detach().float().contiguous().view(torch.int32).long(), None
    else:
        rows = text.long() + 1  # the first token of a vocabulary counts too
    powers = torch.full_like(rows[0], _BASE).cumprod(dim=0)
    return ((rows if mask is None else rows * mask) * powers).sum(dim=1)


def contrasted(scores: Tensor, batch: Batch, choice: Choice) -> tuple[Tensor | None, Tensor | None]:
    """Which pairs of own and all rows are positives, and which are negatives, for the contrastive engine.

    Args:
        scores: ``(b, W·b)``, own rows against those of all processes.
        batch: the own rows.
        choice: what rows with the same caption are to each other; they cannot be dropped.

    Returns:
        Two of ``(b, W·b)`` bool, or None for the usual: the diagonal, and all that is not positive.

    Example:
        >>> text = torch.tensor([[5], [5]])
        >>> contrasted(torch.zeros(2, 2), {"text": text, "text_mask": text > 0}, "positives")[0].all()
        tensor(True)
    """
    if choice == "negatives" and world_size() == 1:
        return None, None
    own = torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
    own = own.roll(rank() * len(own), dims=1)
    if choice == "negatives":
        return own, None
    ids = caption_ids(batch)
    same = ids[:, None] == gather_features(ids, with_grad=False)
    return (same, None) if choice == "positives" else (own, ~same)
