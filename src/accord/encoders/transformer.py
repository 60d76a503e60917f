"""The small pre-norm transformer in the text, audio and video encoders, initialised as CLIP's text tower."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class Transformer(nn.Module):
    """A stack of pre-norm blocks: ``x += attention(LN(x)); x += MLP(LN(x))``, MLP ratio 4, GELU, no dropout.

    Args:
        width: width w of a token.
        depth: number n of blocks.
        heads: attention heads; divides ``width``.
        causal: a position sees itself and those before it only.

    Example:
        >>> Transformer(width=8, depth=1, heads=2)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, width: int, depth: int, heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self._initialise(width, depth)

    def _initialise(self, width: int, depth: int) -> None:
        """In-projection std w^-½, what writes to the residual stream w^-½ (2n)^-½, MLP in (2w)^-½."""
        residual = width**-0.5 * (2 * depth) ** -0.5
        layer: Any  # an nn.TransformerEncoderLayer, which nn.ModuleList does not tell
        for layer in self.layers:
            nn.init.normal_(layer.self_attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(layer.self_attn.out_proj.weight, std=residual)
            nn.init.normal_(layer.linear1.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(layer.linear2.weight, std=residual)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(B, N, w)`` to the same; positions where ``mask`` ``(B, N)`` is False are not attended to."""
        padding = None if mask is None else ~mask
        future = None
        if self.causal:
            future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
            padding = None  # padding follows the last real position, which the causal mask hides already
        for layer in self.layers:
            x = layer(x, src_mask=future, src_key_padding_mask=padding, is_causal=self.causal)
        return x


def sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """Fixed positions ``(length, width)``: sine and cosine, wavelengths 2π to 10 000·2π (Vaswani et al. 2017).

    Example:
        >>> sinusoids(1, 4, torch.device("cpu"))
        tensor([[0., 0., 1., 1.]])
    """
    half = width // 2
    rates = torch.exp(-math.log(10_000) / max(half - 1, 1) * torch.arange(half, device=device))
    angles = torch.arange(length, device=device)[:, None] * rates[None]  # (length, width / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
