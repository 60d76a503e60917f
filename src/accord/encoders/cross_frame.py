"""Video encoder whose frames talk to each other: X-CLIP's vision tower and its transformer over frames.

Ni et al. 2022, ECCV. In every block of a frame's transformer a message token, made of the class token, hears those of
the other frames and is read by its own frame (section 3.2); a small transformer with positions then merges the frames.
Without messages and with the mean over frames it is CLIP's image tower on each frame.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from timm.layers import DropPath, QuickGELU, trunc_normal_
from torch import Tensor, nn

from accord.config import Config
from accord.data.inputs import ImageInput, VideoInput
from accord.encoders.base import Encoder, Features, Freeze, Stream
from accord.encoders.bundles import load_bundle
from accord.encoders.bundles.clip import ClipImageTower
from accord.encoders.pooling import masked_mean
from accord.encoders.shapes import check_mask, check_shape
from accord.encoders.stages import stages_around
from accord.encoders.weights import Source, hub_file, load_into, locate
from accord.errors import ConfigError, WeightsError

_PREFIX = "cross_frame:"


class CrossFrameConfig(Config):
    """CLIP's image tower whose frames exchange messages; the sizes are those of a network for a laptop."""

    name: Literal["cross_frame"] = "cross_frame"
    clip: str | None = Field(None, description="a CLIP to take sizes and weights from, as cross_frame:clip:FOLDER")
    size: int = Field(64, gt=0, description="side of a frame in pixels")
    patch: int = Field(8, gt=0, description="side of a patch in pixels; divides size")
    width: int = Field(128, gt=0, description="width of a token; a multiple of heads")
    depth: int = Field(4, gt=0, description="number of blocks")
    heads: int | None = Field(None, gt=0, description="attention heads; None for one per 64 of the width")
    dim: int | None = Field(None, gt=0, description="size of a frame's vector after a projection; None for none")
    frames: int = Field(8, gt=0, description="frames taken from a video")
    sampling: Literal["segments", "dense"] = Field(
        "segments", description="one frame of each of equal segments, or a run of frames; drawn in training"
    )
    stride: int = Field(1, gt=0, description="distance of the frames of a dense run")
    rate: float = Field(1.0, gt=0, description="frames a second of clips that do not say, such as folders of pictures")
    message: bool = Field(True, description="message tokens between the frames in every block")
    temporal: Literal["mean", "mit"] = Field(
        "mit", description="mean: over the frames' vectors; mit: the multi-frame integration transformer"
    )
    layers: int = Field(1, gt=0, description="blocks of that transformer")
    drop_path: float = Field(0.0, ge=0, lt=1, description="probability that a branch is left out for a frame")
    image: dict[str, Any] | None = Field(None, description="normalisation and cut of a frame, in a saved spec")

    @model_validator(mode="before")
    @classmethod
    def _named_with_its_clip(cls, values: Any) -> Any:
        """``cross_frame:CLIP`` as ``cross_frame`` and the option ``clip``."""
        name = str(values.get("name", "")) if isinstance(values, Mapping) else ""
        return {**values, "name": "cross_frame", "clip": name[len(_PREFIX) :]} if name.startswith(_PREFIX) else values

    @property
    def input(self) -> VideoInput:
        """What the encoder is fed."""
        image = {**(self.image or {}), "size": self.size}
        values: Any = {key: tuple(value) if isinstance(value, list) else value for key, value in image.items()}
        return VideoInput(ImageInput(**values), self.frames, self.sampling, self.stride, rate=self.rate)


class CrossFrameEncoder(Encoder):
    """The cross-frame tower and what merges its frames.

    The main sequence ``frames`` are the frames' vectors ``(B, T, D)``; ``patches`` are the tokens of all frames
    ``(B, T·N, C)`` before the final norm, with grid ``(T, h, w)``.

    Args:
        config: what :meth:`spec` returns.

    Raises:
        ConfigError: a patch that does not divide the size, or heads that do not divide the width.
    """

    modality = "video"
    gives = frozenset({"pooled", "tokens", "frames", "patches"})

    def __init__(self, config: CrossFrameConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim or config.width
        self.input = config.input
        self.visual = CrossFrameVisionTransformer(
            config.size,
            config.patch,
            config.width,
            config.depth,
            config.heads,
            dim=config.dim,
            message=config.message,
            drop_path=config.drop_path,
        )
        self.mit = MultiframeIntegration(self.dim, config.frames, config.layers) if config.temporal == "mit" else None

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of normalised frames ``(B, T, 3, H, W)``; ``mask`` ``(B, T)`` is True on real frames.

        Raises:
            ShapeError: frames or mask are not of that shape, or the frames of another size.
        """
        check_shape("video", x, "B", "T", 3, self.config.size, self.config.size)
        check_mask("video_mask", mask, *x.shape[:2])
        frames, patches = self.visual(x, mask)
        pooled = masked_mean(frames, mask) if self.mit is None else self.mit(frames, mask)
        side = self.config.size // self.config.patch
        cells = None if mask is None else mask.repeat_interleave(side**2, dim=1)
        streams = {
            "frames": Stream(frames, mask),
            "patches": Stream(patches.flatten(1, 2), cells, (x.shape[1], side, side)),
        }
        return Features(pooled, streams=streams, main="frames")

    def stream_dim(self, name: str) -> int:
        """As elsewhere; patches are not projected."""
        return self.config.width if name == "patches" else super().stream_dim(name)

    def blocks(self) -> list[nn.Module]:
        """The stem, the blocks of the tower, and those of the transformer over frames."""
        tower = stages_around(self.visual, [f"resblocks.{number}" for number in range(self.config.depth)])
        return [*tower, *([self.mit] if self.mit is not None else [])]

    def usual_freeze(self) -> Freeze:
        """Nothing: messages and what merges the frames have no pretrained weights, and CLIP's are tuned with them."""
        return "none"

    def spec(self) -> dict[str, Any]:
        """The configuration."""
        return self.config.model_dump(mode="json")


class CrossFrameVisionTransformer(nn.Module):
    """CLIP's image tower on each frame of a clip, with messages between the frames in every block.

    Args:
        size: side S of a frame in pixels.
        patch: side of a patch in pixels; N = (S / patch)².
        width: width C of a token.
        depth: number of blocks.
        heads: attention heads; None for one per 64 of the width.
        dim: size D of a frame's vector after a projection without bias; None leaves it out, and D = C.
        message: whether there are messages.
        drop_path: probability that a branch of a block is left out.

    Raises:
        ConfigError: a patch that does not divide the size, or heads that do not divide the width.

    Example:
        >>> tower = CrossFrameVisionTransformer(16, patch=8, width=64, depth=1)
        >>> frames, patches = tower(torch.zeros(2, 3, 3, 16, 16))
        >>> frames.shape, patches.shape
        (torch.Size([2, 3, 64]), torch.Size([2, 3, 4, 64]))
    """

    def __init__(
        self,
        size: int,
        patch: int,
        width: int,
        depth: int,
        heads: int | None = None,
        *,
        dim: int | None = None,
        message: bool = True,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        heads = _heads(width, heads)
        if size % patch or width % heads:
            raise ConfigError(
                f"cross_frame: patch = {patch} must divide size = {size}, "
                f"and heads = {heads} must divide width = {width}"
            )
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn((size // patch) ** 2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        block = CrossFrameAttentionBlock if message else ResidualAttentionBlock
        self.resblocks = nn.ModuleList(block(width, heads, drop_path) for _ in range(depth))
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Identity() if dim is None else nn.Linear(width, dim, bias=False)
        for weight in self.proj.parameters():
            nn.init.normal_(weight, std=width**-0.5)

    def forward(self, video: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Frames ``(B, T, 3, S, S)`` to their vectors ``(B, T, D)`` and their patches ``(B, T, N, C)``.

        The patches are those of the last block, before the final norm. Frames where ``mask (B, T)`` is False send no
        messages.
        """
        clips = video.shape[:2]  # (B, T)
        if mask is not None:  # whatever padding holds, such as NaN
            video = video.masked_fill(~mask[:, :, None, None, None], 0)
        x = self.conv1(video.flatten(0, 1)).flatten(2).mT  # (B·T, N, C)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1).to(x), x], dim=1) + self.positional_embedding
        x = self.ln_pre(x).unflatten(0, clips)  # (B, T, 1 + N, C)
        for block in self.resblocks:
            x = block(x, mask) if isinstance(block, CrossFrameAttentionBlock) else block(x.flatten(0, 1)).view_as(x)
        return self.proj(self.ln_post(x[:, :, 0])), x[:, :, 1:]

    @classmethod
    def from_clip(cls, clip_vision: nn.Module, *, message: bool = True) -> CrossFrameVisionTransformer:
        """The tower with the weights of transformers' ``CLIPVisionModel``, or that of X-CLIP; what is new is random.

        Args:
            clip_vision: the model, with or without a projection.
            message: whether there are messages.

        Raises:
            WeightsError: the model is no such tower.
        """
        tower = cls(**clip_sizes(clip_vision), message=message)
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


class CrossFrameAttentionBlock(ResidualAttentionBlock):
    """CLIP's block on each frame of a clip, whose tokens also read a message from the other frames.

    The message token is a linear map of the frame's class token that attends to those of all frames. It has no
    position in time, so that the block does not know the order of the frames, and is thrown away before the MLP.

    Example:
        >>> CrossFrameAttentionBlock(16, heads=2)(torch.zeros(2, 4, 5, 16)).shape
        torch.Size([2, 4, 5, 16])
    """

    def __init__(self, dim: int, heads: int, drop_path: float = 0.0) -> None:
        super().__init__(dim, heads, drop_path)
        self.message_fc, self.message_ln = nn.Linear(dim, dim), nn.LayerNorm(dim)
        self.message_attn = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(B, T, 1 + N, C)``, token 0 of a frame its class token, to the same.

        Messages come from frames where ``mask (B, T)`` is True only.
        """
        message = self.message_fc(x[:, :, 0])  # (B, T, C)
        message = message + self.drop_path(attend(self.message_attn, self.message_ln(message), mask))
        z = torch.cat([x, message[:, :, None]], dim=2).flatten(0, 1)  # (B·T, 2 + N, C)
        z = z + self.drop_path(attend(self.attn, self.ln_1(z)))
        z = z[:, :-1]
        return (z + self.drop_path(self.mlp(self.ln_2(z)))).view_as(x)


class MultiframeIntegration(nn.Module):
    """X-CLIP's multi-frame integration transformer: blocks over frames with positions, a residual, the mean over time.

    Positions are learned for a number of frames. A clip of another number, padded or not, takes them at its frames'
    share of the time, interpolated.

    Args:
        dim: width D of a frame.
        frames: number F of positions.
        layers: number of blocks.
        heads: attention heads; None for one per 64 of the width.

    Raises:
        ConfigError: heads that do not divide the width.

    Example:
        >>> MultiframeIntegration(16, frames=8, heads=2)(torch.zeros(3, 5, 16)).shape
        torch.Size([3, 16])
    """

    def __init__(self, dim: int, frames: int, layers: int = 1, heads: int | None = None) -> None:
        super().__init__()
        heads = _heads(dim, heads)
        if dim % heads:
            raise ConfigError(f"cross_frame: heads = {heads} must divide the width of a frame's vector, {dim}")
        self.positional_embedding = nn.Parameter(trunc_normal_(torch.empty(frames, dim), std=0.02))
        self.resblocks = nn.ModuleList(ResidualAttentionBlock(dim, heads) for _ in range(layers))
        for module in self.modules():
            if isinstance(module, nn.Linear):  # the output of attention among them, its packed input is none
                trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(B, T, D)`` to ``(B, D)``; frames where ``mask (B, T)`` is False do not count."""
        merged = x + self._positions(x, mask)
        for block in self.resblocks:
            merged = block(merged, mask)
        return masked_mean(x + merged, mask)

    def _positions(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """``(B, T, D)``, the i-th of n real frames at (i + 1/2) / n of the time, as linear interpolation reads it."""
        last = len(self.positional_embedding) - 1
        real = torch.ones(1, x.shape[1], device=x.device) if mask is None else mask.float()
        share = (real.cumsum(dim=1) - 0.5) / real.sum(dim=1, keepdim=True).clamp_min(1)
        place = (share * (last + 1) - 0.5).clamp(0, last)  # (B, T)
        before = place.floor().long()
        early, late = (self.positional_embedding[at] for at in (before, (before + 1).clamp_max(last)))
        return torch.lerp(early, late, (place - before)[..., None].to(early)).to(x)


def attend(attention: nn.MultiheadAttention, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Self-attention of tokens ``(B, N, C)`` to those where ``mask (B, N)`` is True; to all where it never is."""
    hidden = None if mask is None else ~mask & mask.any(dim=1, keepdim=True)  # who sees nothing at all becomes NaN
    return attention(x, x, x, key_padding_mask=hidden, need_weights=False)[0]


def clip_sizes(clip_vision: nn.Module) -> dict[str, Any]:
    """Sizes of a :class:`CrossFrameVisionTransformer` like transformers' CLIP vision tower.

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


def load_clip_vision(tower: CrossFrameVisionTransformer, state: Mapping[str, Tensor]) -> None:
    """Copy the weights of transformers' CLIP or X-CLIP vision tower; messages that it lacks stay as they are.

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
        if known is None and ".message_" not in name:
            raise WeightsError(f"these weights lack {name}: expected those of transformers' CLIPVisionModel")
        if known is not None and known.shape != value.shape:
            raise WeightsError(f"{name} is {tuple(known.shape)} in these weights: expected {tuple(value.shape)}")
    tower.load_state_dict({name: found.get(name, value) for name, value in wanted.items()})


def clip_vision_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of transformers' CLIP vision tower by the names of :class:`CrossFrameVisionTransformer`.

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


def _heads(width: int, heads: int | None) -> int:
    return max(1, width // 64) if heads is None else heads


def build_cross_frame(config: CrossFrameConfig, *, weights: bool | Path, texts: Any = None) -> CrossFrameEncoder:
    """The encoder; see :func:`accord.encoders.build_encoder`."""
    if config.clip is not None:
        return _from_bundle(config, config.clip, weights)
    encoder = CrossFrameEncoder(config)
    if not isinstance(weights, bool):
        found = locate(Source(name=config.name), weights, hub_file)
        load_into(encoder, found.path, "video")
        encoder.weights_from = found.origin
    return encoder


def _from_bundle(config: CrossFrameConfig, clip: str, weights: bool | Path) -> CrossFrameEncoder:
    """The encoder with the image tower and the projection of a CLIP; messages and what merges the frames are new.

    Raises:
        ConfigError: it is no CLIP of transformers, or sizes or other weights are asked for.
        WeightsError: the weights are missing or do not fit.
    """
    given = sorted(config.model_fields_set & {"size", "patch", "width", "depth", "heads", "dim", "image"})
    if given or weights is not True:
        asked = f"encoders.video.options.{given[0]}" if given else "--weights video=…"
        raise ConfigError(f"{_PREFIX}{clip}: sizes and weights are those of that model: leave out {asked}")
    bundle = load_bundle(clip)
    tower = bundle.encoders.get("image")
    if not isinstance(tower, ClipImageTower):
        raise ConfigError(
            f"{_PREFIX}{clip}: expected the folder of a CLIP that transformers saved, {_PREFIX}clip:FOLDER"
        )
    sizes = {**clip_sizes(tower.model), "dim": bundle.dim, "clip": None, "image": asdict(tower.input)}
    encoder = CrossFrameEncoder(config.model_copy(update=sizes))
    load_clip_vision(
        encoder.visual, {**tower.model.state_dict(), "visual_projection.weight": bundle.projections["image"]}
    )
    encoder.weights_from = tower.weights_from
    encoder.adapters = ("*.message_*", "mit.*")
    return encoder
