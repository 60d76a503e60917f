"""The small pre-norm transformer in the text, audio and video encoders, initialised as CLIP's text tower."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

ActivationName = Literal["gelu", "quick_gelu"]


class Transformer(nn.Module):
    """A stack of pre-norm blocks: ``x += attention(LN(x)); x += MLP(LN(x))``, MLP ratio 4, no dropout.

    Args:
        width: width w of a token.
        depth: number n of blocks.
        heads: attention heads; divides ``width``.
        causal: a position sees itself and those before it only.
        activation: inside the MLP; that of CLIP's towers is ``quick_gelu``.

    Example:
        >>> Transformer(width=8, depth=1, heads=2)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self, width: int, depth: int, heads: int, *, causal: bool = False, activation: ActivationName = "gelu"
    ) -> None:
        super().__init__()
        self.causal, self.heads, self.activation = causal, heads, activation
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                heads,
                4 * width,
                dropout=0.0,
                activation=_function(activation),
                batch_first=True,
                norm_first=True,
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

    def forward(self, x: Tensor, mask: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        """``(B, N, w)`` to the same.

        Args:
            x: ``(B, N, w)``.
            mask: ``(B, N)`` bool, or None; positions where it is False are not attended to.
            attend: ``(B, N, N)`` bool, query by key, True where a position may attend, instead of ``mask`` and
                ``causal``; each position sees one at least.
        """
        future, padding = self.hidden(x, mask)
        causal = self.causal
        if attend is not None:
            future, padding, causal = ~attend.repeat_interleave(self.heads, dim=0), None, False  # (B · heads, N, N)
        for layer in self.layers:
            x = layer(x, src_mask=future, src_key_padding_mask=padding, is_causal=causal)
        return x

    def hidden(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """What attention may not see: pairs of positions ``(N, N)`` and padding ``(B, N)``, None where nothing is."""
        if self.causal:  # padding follows the last real position, which the causal mask hides already
            return torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1), None
        return None, None if mask is None else ~mask


def _function(activation: ActivationName) -> Any:
    """What PyTorch's layers are told, which know only one of them by name."""
    if activation == "gelu":
        return activation
    from timm.layers.activations import quick_gelu

    return quick_gelu


class CrossTransformer(nn.Module):
    """A transformer that reads a memory: after each block of :class:`Transformer` one that attends to the memory.

    ``x += attention(LN(x)); x += MLP(LN(x)); x += cross(LN(x), LN(memory)); x += MLP(LN(x))`` in each of the n layers,
    MLP ratio 4, GELU, no dropout. The multimodal half of CoCa (causal; Yu et al. 2022, TMLR) and, without the causal
    mask, the fusion encoder of ALBEF and TCL.

    Args:
        width: width w of a token; a multiple of ``heads``.
        depth: number n of layers.
        heads: attention heads.
        context_dim: width of the memory's tokens.
        causal: a position sees itself and those before it only.

    Example:
        >>> decoder = CrossTransformer(width=8, depth=1, heads=2, context_dim=6, causal=True)
        >>> decoder(torch.zeros(2, 5, 8), torch.zeros(2, 9, 6)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, width: int, depth: int, heads: int, context_dim: int, *, causal: bool = False) -> None:
        super().__init__()
        self.own = Transformer(width, depth, heads, causal=causal)
        self.cross = nn.ModuleList(CrossBlock(width, heads, context_dim, depth) for _ in range(depth))

    def forward(
        self, x: Tensor, memory: Tensor, mask: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        """``(B, L, w)`` to the same.

        Args:
            x: ``(B, L, w)``.
            memory: ``(B, N, context_dim)``.
            mask: ``(B, L)`` bool, or None; positions where it is False are not attended to.
            memory_mask: ``(B, N)`` bool, or None, the same for the memory; each row has a real token.
        """
        future, padding = self.own.hidden(x, mask)
        for layer, cross in zip(self.own.layers, self.cross, strict=True):
            x = layer(x, src_mask=future, src_key_padding_mask=padding, is_causal=self.own.causal)
            x = cross(x, memory, memory_mask)
        return x


class CrossBlock(nn.Module):
    """Attention from tokens to a memory, then an MLP, both pre-norm with a residual; see :class:`CrossTransformer`.

    Args:
        width: width w of a token.
        heads: attention heads.
        context_dim: width of the memory's tokens.
        depth: layers of the network, which scale what is written to the residual stream.
        activation: of the MLP.
        in_bias: whether queries, keys and values have a bias.
        norm_memory: whether the memory goes through a LayerNorm of this block.
        mlp_ratio: width inside the MLP over that of a token.
        dropout: of the attention and of what is added to the tokens.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        context_dim: int,
        depth: int,
        *,
        activation: Callable[[], nn.Module] = nn.GELU,
        in_bias: bool = True,
        norm_memory: bool = True,
        mlp_ratio: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.memory_norm = nn.LayerNorm(context_dim) if norm_memory else nn.Identity()
        self.attention = nn.MultiheadAttention(
            width, heads, dropout=dropout, kdim=context_dim, vdim=context_dim, batch_first=True
        )
        if not in_bias:  # nn.MultiheadAttention(bias=False) would take that of the output as well
            self.attention.register_parameter("in_proj_bias", None)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, mlp_ratio * width), activation(), nn.Linear(mlp_ratio * width, width)
        )
        self.dropout = nn.Dropout(dropout)
        self._initialise(width, depth)

    def _initialise(self, width: int, depth: int) -> None:
        """As :class:`Transformer`."""
        residual = width**-0.5 * (2 * depth) ** -0.5
        part = self.attention
        for weight in (part.in_proj_weight, part.q_proj_weight, part.k_proj_weight, part.v_proj_weight):
            if weight is not None:  # one joint matrix where the widths are equal, three where they are not
                nn.init.normal_(weight, std=width**-0.5)
        nn.init.normal_(part.out_proj.weight, std=residual)
        nn.init.normal_(self.mlp[1].weight, std=(2 * width) ** -0.5)  # type: ignore[arg-type]
        nn.init.normal_(self.mlp[3].weight, std=residual)  # type: ignore[arg-type]

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor | None = None) -> Tensor:
        """``x (B, L, w)`` after reading ``memory (B, N, context_dim)`` where ``memory_mask (B, N)`` is True."""
        memory = self.memory_norm(memory)
        hidden = None if memory_mask is None else ~memory_mask
        read = self.attention(self.norm(x), memory, memory, key_padding_mask=hidden, need_weights=False)[0]
        x = x + self.dropout(read)
        return x + self.dropout(self.mlp(x))


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
