"""Noise on the residual stream of any encoder, for the time of one forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from accord.encoders.base import Encoder
from accord.encoders.stages import repeated
from accord.functional.checks import check_share


@contextmanager
def residual_dropout(encoder: Encoder, p: float) -> Iterator[None]:
    """Drop a share of what enters each block, so that the skip connection loses it as well.

    CLIP-rocket does so to strongly augmented texts only (Fini et al. 2023, TMLR). Blocks in eval mode, frozen ones
    among them, drop nothing.

    Args:
        encoder: a transformer whose blocks take their tokens as first argument.
        p: share that is dropped; the rest is scaled by ``1 / (1 - p)``.

    Raises:
        ValueError: a share outside [0, 1].

    Example:
        >>> import torch
        >>> from accord.encoders import build_encoder
        >>> text = build_encoder("text", "tiny_text", texts=["a red ball"])
        >>> ids, mask = text.input.tokenizer(["a red ball"])
        >>> with residual_dropout(text, 0.2):
        ...     noisy = text(ids, mask).pooled
        >>> torch.equal(noisy, text(ids, mask).pooled)
        False
    """
    check_share(p=p)
    hooks = [block.register_forward_pre_hook(_dropped(p)) for block in residual_blocks(encoder)] if p else []
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def residual_blocks(encoder: Encoder) -> list[nn.Module]:
    """The repeated blocks of an encoder, from input to output, without what stands before and behind them.

    Example:
        >>> from accord.encoders import build_encoder
        >>> len(residual_blocks(build_encoder("text", {"name": "tiny_text", "depth": 2}, texts=["a red ball"])))
        2
    """
    return repeated(encoder.blocks())


def has_dropout(encoder: Encoder) -> bool:
    """Whether an encoder drops something itself in training, as BERT does and CLIP's text tower does not.

    Example:
        >>> from accord.encoders import build_encoder
        >>> has_dropout(build_encoder("text", "tiny_text", texts=["a red ball"]))
        False
    """
    return any(isinstance(part, _DropoutNd) and part.p > 0 for part in encoder.modules())


def _dropped(p: float) -> Any:
    def hook(block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        tokens: Tensor = args[0]
        if not tokens.is_floating_point():
            return args  # numbers of tokens, of an encoder without layers
        return (F.dropout(tokens, p, block.training), *args[1:])

    return hook
