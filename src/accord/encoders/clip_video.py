"""What video encoders made of CLIP's image tower have in common: settings, a start from a CLIP, the merging of frames.

X-CLIP's transformer over frames (Ni et al. 2022, ECCV, section 3.2) serves ILA as well (Tu et al. 2023, ICCV).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import torch
from pydantic import Field, model_validator
from timm.layers import trunc_normal_
from torch import Tensor, nn

from accord.config import Config
from accord.data.inputs import ImageInput, VideoInput
from accord.encoders.base import Encoder, Features, Stream
from accord.encoders.bundles import load_bundle
from accord.encoders.bundles.clip import ClipImageTower
from accord.encoders.clip_tower import (
    ClipVisionTransformer,
    ResidualAttentionBlock,
    clip_sizes,
    heads_for,
    load_clip_vision,
)
from accord.encoders.pooling import masked_mean
from accord.encoders.shapes import check_mask, check_shape
from accord.encoders.stages import stages_around
from accord.encoders.weights import Source, hub_file, load_into, locate
from accord.errors import ConfigError


class ClipVideoConfig(Config):
    """CLIP's image tower on clips; the sizes are those of a network for a laptop."""

    name: str
    clip: str | None = Field(None, description="a CLIP to take sizes and weights from, as NAME:clip:FOLDER")
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
    temporal: Literal["mean", "mit"] = Field(
        "mit", description="mean: over the frames' vectors; mit: the multi-frame integration transformer"
    )
    layers: int = Field(1, gt=0, description="blocks of that transformer")
    drop_path: float = Field(0.0, ge=0, lt=1, description="probability that a branch is left out for a frame")
    image: dict[str, Any] | None = Field(None, description="normalisation and cut of a frame, in a saved spec")

    @model_validator(mode="before")
    @classmethod
    def _named_with_its_clip(cls, values: Any) -> Any:
        """``NAME:CLIP`` as ``NAME`` and the option ``clip``."""
        name, found, clip = str(values.get("name", "") if isinstance(values, Mapping) else "").partition(":")
        return {**values, "name": name, "clip": clip} if found else values

    @property
    def input(self) -> VideoInput:
        """What the encoder is fed."""
        image = {**(self.image or {}), "size": self.size}
        values: Any = {key: tuple(value) if isinstance(value, list) else value for key, value in image.items()}
        return VideoInput(ImageInput(**values), self.frames, self.sampling, self.stride, rate=self.rate)


class ClipVideoEncoder(Encoder):
    """A tower on the frames and what merges them; a subclass makes the tower.

    The main sequence ``frames`` are the frames' vectors ``(B, T, D)``; ``patches`` are the tokens of all frames
    ``(B, T·N, C)`` before the final norm, with grid ``(T, h, w)``.

    Args:
        config: what :meth:`spec` returns.

    Raises:
        ConfigError: a patch that does not divide the size, or heads that do not divide the width.
    """

    modality = "video"
    gives = frozenset({"pooled", "tokens", "frames", "patches"})
    new: ClassVar[tuple[str, ...]] = ()  # patterns of the names of parameters that no CLIP has
    visual: ClipVisionTransformer

    def __init__(self, config: ClipVideoConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim or config.width
        self.input = config.input
        self.visual = self.tower(config)
        self.mit = MultiframeIntegration(self.dim, config.frames, config.layers) if config.temporal == "mit" else None

    def tower(self, config: Any) -> ClipVisionTransformer:
        """The tower of this configuration."""
        raise NotImplementedError

    def seen(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Stream]]:
        """The frames' vectors ``(B, T, D)``, their patches ``(B, T, N, C)``, and streams of the encoder's own."""
        frames, patches = self.visual(x, mask)
        return frames, patches, {}

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of normalised frames ``(B, T, 3, H, W)``; ``mask`` ``(B, T)`` is True on real frames.

        Raises:
            ShapeError: frames or mask are not of that shape, or the frames of another size.
        """
        check_shape("video", x, "B", "T", 3, self.config.size, self.config.size)
        check_mask("video_mask", mask, *x.shape[:2])
        frames, patches, own = self.seen(x, mask)
        pooled = masked_mean(frames, mask) if self.mit is None else self.mit(frames, mask)
        side = self.config.size // self.config.patch
        cells = None if mask is None else mask.repeat_interleave(side**2, dim=1)
        streams = {
            "frames": Stream(frames, mask),
            "patches": Stream(patches.flatten(1, 2), cells, (x.shape[1], side, side)),
        }
        return Features(pooled, streams={**streams, **own}, main="frames")

    def stream_dim(self, name: str) -> int:
        """As elsewhere; patches are not projected."""
        return self.config.width if name == "patches" else super().stream_dim(name)

    def blocks(self) -> list[nn.Module]:
        """The stem, the blocks of the tower, and those of the transformer over frames."""
        tower = stages_around(self.visual, [f"resblocks.{number}" for number in range(self.config.depth)])
        return [*tower, *([self.mit] if self.mit is not None else [])]

    def spec(self) -> dict[str, Any]:
        """The configuration."""
        return self.config.model_dump(mode="json")


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
        heads = heads_for(dim, heads)
        if dim % heads:
            raise ConfigError(f"video encoder: heads = {heads} must divide the width of a frame's vector, {dim}")
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


Made = TypeVar("Made", bound=ClipVideoEncoder)


def build_on_clip(kind: type[Made], config: ClipVideoConfig, *, weights: bool | Path) -> Made:
    """The encoder, started from a CLIP where its configuration names one; see :func:`accord.encoders.build_encoder`."""
    if config.clip is not None:
        return _from_bundle(kind, config, config.clip, weights)
    encoder = kind(config)
    if not isinstance(weights, bool):
        found = locate(Source(name=config.name), weights, hub_file)
        load_into(encoder, found.path, "video")
        encoder.weights_from = found.origin
    return encoder


def _from_bundle(kind: type[Made], config: ClipVideoConfig, clip: str, weights: bool | Path) -> Made:
    """The encoder with the image tower and the projection of a CLIP; what is between and behind the frames is new.

    Raises:
        ConfigError: it is no CLIP of transformers, or sizes or other weights are asked for.
        WeightsError: the weights are missing or do not fit.
    """
    name = config.name
    given = sorted(config.model_fields_set & {"size", "patch", "width", "depth", "heads", "dim", "image"})
    if given or weights is not True:
        asked = f"encoders.video.options.{given[0]}" if given else "--weights video=…"
        raise ConfigError(f"{name}:{clip}: sizes and weights are those of that model: leave out {asked}")
    bundle = load_bundle(clip)
    tower = bundle.encoders.get("image")
    if not isinstance(tower, ClipImageTower):
        raise ConfigError(f"{name}:{clip}: expected the folder of a CLIP that transformers saved, {name}:clip:FOLDER")
    sizes = {**clip_sizes(tower.model), "dim": bundle.dim, "clip": None, "image": asdict(tower.input)}
    encoder = kind(config.model_copy(update=sizes))
    load_clip_vision(
        encoder.visual, {**tower.model.state_dict(), "visual_projection.weight": bundle.projections["image"]}
    )
    encoder.weights_from = tower.weights_from
    encoder.adapters = (*kind.new, "mit.*")
    return encoder
