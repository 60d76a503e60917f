"""CLIP's image tower on each frame of a clip: the stem, the blocks, the head, and how CLIP's weights come into it.

Radford et al. 2021, ICML. What happens between the frames a subclass says: it makes the blocks
(:mod:`.cross_frame`, :mod:`.alignment`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import torch
from timm.layers import DropPath, QuickGELU
from torch import Tensor, nn

from accord.errors import ConfigError, WeightsError


class ClipVisionTransformer(nn.Module):
    """CLIP's image tower whose blocks see all frames of a clip at once.

    Args:
        size: side S of a frame in pixels.
        patch: side of a patch in pixels; N = (S / patch)².
        width: width C of a token.
        depth: number of blocks.
        block: makes a block from C and the number of heads.
        heads: attention heads; None for one per 64 of the width.
        dim: size D of a frame's vector after a projection without bias; None leaves it out, and D = C.

    Raises:
        ConfigError: a patch that does not divide the size, or heads that do not divide the width.
    """

    own: ClassVar[tuple[str, ...]] = ()  # how names of parameters begin in a block that CLIP's has not

    def __init__(
        self,
        size: int,
        patch: int,
        width: int,
        depth: int,
        block: Callable[[int, int], nn.Module],
        *,
        heads: int | None = None,
        dim: int | None = None,
    ) -> None:
        super().__init__()
        heads = heads_for(width, heads)
        if size % patch or width % heads:
            raise ConfigError(
                f"video encoder: patch = {patch} must divide size = {size}, "
                f"and heads = {heads} must divide width = {width}"
            )
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn((size // patch) ** 2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.resblocks = nn.ModuleList(block(width, heads) for _ in range(depth))
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Identity() if dim is None else nn.Linear(width, dim, bias=False)
        for weight in self.proj.parameters():
            nn.init.normal_(weight, std=width**-0.5)

    def stem(self, video: Tensor, mask: Tensor | None = None) -> Tensor:
        """Frames ``(B, T, 3, S, S)`` to tokens ``(B, T, 1 + N, C)``, the class token first."""
        if mask is not None:  # whatever padding holds, such as NaN
            video = video.masked_fill(~mask[:, :, None, None, None], 0)
        x = self.conv1(video.flatten(0, 1)).flatten(2).mT  # (B·T, N, C)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1).to(x), x], dim=1) + self.positional_embedding
        return self.ln_pre(x).unflatten(0, video.shape[:2])

    def head(self, x: Tensor) -> Tensor:
        """The vectors ``(B, T, D)`` of frames whose tokens are ``(B, T, 1 + N, C)``."""
        return self.proj(self.ln_post(x[:, :, 0]))

    @classmethod
    def from_clip(cls, clip_vision: nn.Module, **options: Any) -> Self:
        """The tower with the weights of transformers' ``CLIPVisionModel``, or that of X-CLIP; what is new is random.

        Args:
            clip_vision: the model, with or without a projection.
            **options: what the tower takes besides sizes.

        Raises:
            WeightsError: the model is no such tower.
        """
        tower = cls(**clip_sizes(clip_vision), **options)
        load_clip_vision(tower, clip_vision.state_dict())
        return tower


class ResidualAttentionBlock(nn.Module):
    """CLIP's block: ``x += attention(LN(x)); x += MLP(LN(x))``, MLP ratio 4 with QuickGELU.

    Args:
        dim: width C of a token.
        heads: attention heads; divides ``dim``.
        drop_path: probability that a branch is left out for a row.

    Example:
        >>> ResidualAttentionBlock(16, heads=2)(torch.zeros(2, 5, 16)).shape
        torch.Size([2, 5, 16])
    """

    def __init__(self, dim: int, heads: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(dim), nn.MultiheadAttention(dim, heads, batch_first=True)
        wide, act, narrow = nn.Linear(dim, 4 * dim), QuickGELU(), nn.Linear(4 * dim, dim)
        self.ln_2, self.mlp = nn.LayerNorm(dim), nn.Sequential(OrderedDict(c_fc=wide, gelu=act, c_proj=narrow))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(B, N, C)`` to the same; positions where ``mask (B, N)`` is False are not attended to."""
        x = x + self.drop_path(attend(self.attn, self.ln_1(x), mask))
        return x + self.drop_path(self.mlp(self.ln_2(x)))


def attend(attention: nn.MultiheadAttention, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Self-attention of tokens ``(B, N, C)`` to those where ``mask (B, N)`` is True; to all where it never is."""
    hidden = None if mask is None else ~mask & mask.any(dim=1, keepdim=True)  # who sees nothing at all becomes NaN
    return attention(x, x, x, key_padding_mask=hidden, need_weights=False)[0]


def clip_sizes(clip_vision: nn.Module) -> dict[str, Any]:
    """Sizes of a :class:`ClipVisionTransformer` like transformers' CLIP vision tower.

    Raises:
        WeightsError: it has another activation.
    """
    found: Any = clip_vision.config
    if found.hidden_act != "quick_gelu":
        raise WeightsError(f"a CLIP with hidden_act = {found.hidden_act}: expected quick_gelu, as OpenAI's have")
    names = {"size": "image_size", "patch": "patch_size", "width": "hidden_size", "depth": "num_hidden_layers"}
    sizes = {name: getattr(found, theirs) for name, theirs in names.items()}
    projection = getattr(clip_vision, "visual_projection", None)
    dim = None if projection is None else projection.out_features
    return {**sizes, "heads": found.num_attention_heads, "dim": dim}


def load_clip_vision(tower: ClipVisionTransformer, state: Mapping[str, Tensor]) -> None:
    """Copy the weights of transformers' CLIP or X-CLIP vision tower; what is missing of the tower's own stays as it is.

    Args:
        tower: of the same sizes.
        state: its tensors, with or without those of a text tower.

    Raises:
        WeightsError: a tensor is missing or has another shape.
    """
    found = clip_vision_state(state)
    wanted = tower.state_dict()
    for name, value in wanted.items():
        known = found.get(name)
        own = any(f".{prefix}" in name for prefix in tower.own)
        if known is None and not own:
            raise WeightsError(f"these weights lack {name}: expected those of transformers' CLIPVisionModel")
        if known is not None and known.shape != value.shape:
            raise WeightsError(f"{name} is {tuple(known.shape)} in these weights: expected {tuple(value.shape)}")
    tower.load_state_dict({name: found.get(name, value) for name, value in wanted.items()})


def clip_vision_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of transformers' CLIP vision tower by the names of :class:`ClipVisionTransformer`.

    Example:
        >>> list(clip_vision_state({"vision_model.post_layernorm.weight": torch.ones(8), "logit_scale": torch.ones(1)}))
        ['ln_post.weight']
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        plain = name.removeprefix("vision_model.")
        for theirs, ours in _NAMES.items():
            if plain.startswith(theirs):
                plain = ours + plain.removeprefix(theirs)
        for theirs, ours in _IN_A_BLOCK.items():
            plain = plain.replace(theirs, ours)
        if plain.split(".")[0] in _PARTS:
            found[plain] = value
    for name in [name for name in found if ".q_proj." in name]:
        parts = [found.pop(name.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
        found[name.replace(".q_proj.", ".in_proj_")] = torch.cat(parts)
    return found


_PARTS = (*("conv1", "class_embedding", "positional_embedding", "ln_pre"), *("resblocks", "ln_post", "proj"))
_NAMES = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding": "conv1",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm": "ln_pre",
    "pre_layernorm": "ln_pre",
    "encoder.layers": "resblocks",
    "post_layernorm": "ln_post",
    "visual_projection": "proj",
}
_IN_A_BLOCK = {
    ".self_attn.": ".attn.",
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
}


def heads_for(width: int, heads: int | None) -> int:
    """The attention heads of a width: as given, or one per 64 as in CLIP.

    >>> heads_for(512, None), heads_for(16, None), heads_for(16, 2)
    (8, 1, 2)
    """
    return max(1, width // 64) if heads is None else heads
