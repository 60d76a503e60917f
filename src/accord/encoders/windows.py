"""Encoders of windows: any encoder of sequences or clips, run over a sliding window; each window is a step.

What CiCo (Cheng et al. 2023, CVPR) reads of a sign video. Where the window's encoder has a copy that was adapted to
other data, a step is the mix of what both make of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from accord.config import Config
from accord.data.inputs import SequenceInput, VideoInput
from accord.encoders.base import Encoder, Features, Stream
from accord.encoders.build import built
from accord.encoders.pooling import masked_mean
from accord.encoders.sequence import describe_steps
from accord.encoders.shapes import check_mask
from accord.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from accord.data.corpus import Corpus

_PREFIX = "windows:"


class WindowsConfig(Config):
    """An encoder of sequences over a sliding window."""

    name: Literal["windows"] = "windows"
    of: str | dict[str, Any] = Field("tiny_sequence", description="encoder of a window: a name, or its options")
    window: int = Field(16, gt=0, description="steps or frames of a window")
    stride: int = Field(1, gt=0, description="steps from the start of one window to that of the next")
    tokens: int = Field(64, gt=0, description="windows that are encoded, evenly spaced where there are more")
    length: int = Field(512, gt=0, description="steps or frames that are read; what comes later is left out")
    adapted: bool = Field(False, description="a copy of the window's encoder was adapted to other data")
    blend: float = Field(0.8, ge=0, le=1, description="share of the encoder itself in a step, beside that copy")

    @model_validator(mode="before")
    @classmethod
    def _named_with_its_encoder(cls, values: Any) -> Any:
        """``windows:ENCODER`` as ``windows`` and the option ``of``."""
        name = str(values.get("name", "")) if isinstance(values, Mapping) else ""
        if not name.startswith(_PREFIX):
            return values
        named, given = name.removeprefix(_PREFIX), values.get("of")
        options = {"name": given} if isinstance(given, str) else dict(given or {})
        if options.setdefault("name", named) != named:
            raise ConfigError(f"encoder {name}: options.of names another one, {options['name']!r}: name it once")
        return {**values, "name": "windows", "of": options}


class VideoWindowsConfig(WindowsConfig):
    """An encoder of clips over a sliding window of frames."""

    of: str | dict[str, Any] = Field("frames:tiny_vit", description="encoder of a window: a name, or its options")
    length: int = Field(64, gt=0, description="steps or frames that are read; what comes later is left out")


class WindowEncoder(Encoder):
    """The encoder of a window on each of up to ``tokens`` windows; the main sequence is ``steps``.

    A row of fewer steps than a window has one window of those it has. Padding is not computed.

    Args:
        of: encoder of one window.
        config: what :meth:`spec` returns, with the spec of ``of`` filled in.

    Example:
        >>> encoder = build_windows(WindowsConfig(of={"name": "tiny_sequence", "features": 5, "width": 8}))
        >>> encoder(torch.zeros(2, 20, 5)).tokens.shape
        torch.Size([2, 5, 8])
    """

    gives = frozenset({"pooled", "tokens", "steps"})

    def __init__(self, of: Encoder, config: WindowsConfig) -> None:
        super().__init__()
        self.of = of
        self.config = config.model_copy(update={"of": of.spec()})
        self.dim = of.dim
        self.input = _input(of, config)
        self.weights_from = of.weights_from
        self.aware: Encoder | None = deepcopy(of) if config.adapted else None
        branches = ("of", "aware") if config.adapted else ("of",)
        self.adapters = tuple(f"{branch}.{pattern}" for branch in branches for pattern in of.adapters)

    def adapt(self) -> Encoder:
        """Give it a copy of the window's encoder to be trained, while that itself is kept; the copy."""
        self.aware = deepcopy(self.of)
        self.config = self.config.model_copy(update={"adapted": True})
        self.freeze(["of.*"])
        return self.aware

    def forward(
        self, x: Any, mask: Tensor | None = None, *, layers: bool = False, times: Tensor | None = None
    ) -> Features:
        """As elsewhere; a window has the time at which it begins."""
        features = super().forward(x, mask, layers=layers)
        if times is None or isinstance(x, Features):
            return features
        steps = replace(features.stream(), times=times.gather(1, self.starts(x, mask)[0]))
        return Features(features.pooled, streams={"steps": steps}, main="steps")

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of steps ``(B, T, ...)``; ``mask`` ``(B, T)`` is True on real ones, which come first.

        Raises:
            ShapeError: the mask is not of that shape, or the window's encoder does not take such steps.
        """
        if x.ndim < 3:
            raise ShapeError(f"{self.modality} has shape {tuple(x.shape)}: expected (B, T, ...)")
        check_mask(f"{self.modality}_mask", mask, *x.shape[:2])
        starts, real = self.starts(x, mask)
        windows, inside = self.cut(x, mask, starts)
        vectors = self._blended(windows[real], inside[real])  # (R, D)
        steps = vectors.new_zeros(*real.shape, self.dim).masked_scatter(real[..., None], vectors)
        return Features(masked_mean(steps, real), streams={"steps": Stream(steps, real)}, main="steps")

    def starts(self, x: Tensor, mask: Tensor | None, every: bool = False) -> tuple[Tensor, Tensor]:
        """First steps of the windows of each row ``(B, M)``, and which of them there are ``(B, M)``.

        Args:
            x: ``(B, T, ...)``.
            mask: ``(B, T)`` bool, or None.
            every: all windows, instead of ``tokens`` that are evenly spaced.

        Example:
            >>> encoder = build_windows(WindowsConfig(of={"name": "tiny_sequence", "features": 5}, tokens=3))
            >>> encoder.starts(torch.zeros(1, 20, 5), None)[0]
            tensor([[0, 2, 4]])
        """
        window, stride = self.config.window, self.config.stride
        length = x.new_full((len(x),), x.shape[1], dtype=torch.int64) if mask is None else mask.sum(dim=1)
        count = ((length - window).div(stride, rounding_mode="floor") + 1).clamp(min=1)[:, None]  # (B, 1)
        most = max(1, (x.shape[1] - window) // stride + 1)
        places = torch.arange(most if every else min(most, self.config.tokens), device=x.device)
        spread = places * (count - 1) // max(1, len(places) - 1)
        return torch.where(count > len(places), spread, places.minimum(count - 1)) * stride, places < count

    def cut(self, x: Tensor, mask: Tensor | None, starts: Tensor) -> tuple[Tensor, Tensor]:
        """The windows ``(B, M, W, ...)`` that begin at ``starts (B, M)``, and which of their steps are real."""
        places = starts[..., None] + torch.arange(self.config.window, device=x.device)  # (B, M, W)
        inside, places = places < x.shape[1], places.clamp(max=x.shape[1] - 1)
        row = torch.arange(len(x), device=x.device)[:, None, None]
        return x[row, places], inside if mask is None else inside & mask[row, places]

    def _blended(self, windows: Tensor, inside: Tensor) -> Tensor:
        """What the encoder makes of windows ``(R, W, ...)``, and its copy, if there is one: ``(R, D)``."""
        own = self.of(windows, inside).pooled
        return own if self.aware is None else torch.lerp(self.aware(windows, inside).pooled, own, self.config.blend)

    def blocks(self) -> list[nn.Module]:
        """Those of the window's encoder, each with its copy."""
        own = self.of.blocks()
        if self.aware is None:
            return own
        return [nn.ModuleList(pair) for pair in zip(own, self.aware.blocks(), strict=True)]

    def spec(self) -> dict[str, Any]:
        """The configuration, with that of the window's encoder in it."""
        return self.config.model_dump(mode="json")


class SequenceWindows(WindowEncoder):
    """Windows of precomputed features or poses."""

    modality: ClassVar[str] = "sequence"


class VideoWindows(WindowEncoder):
    """Windows of frames."""

    modality: ClassVar[str] = "video"


def _input(of: Encoder, config: WindowsConfig) -> SequenceInput | VideoInput:
    if isinstance(of.input, SequenceInput):
        return replace(of.input, length=config.length, sampling="first")
    if isinstance(of.input, VideoInput):
        return replace(of.input, frames=config.length, sampling="dense")
    raise ConfigError(f"windows.of: expected an encoder of sequences or clips, got one for {of.modality}")


def build_windows(config: WindowsConfig, *, weights: bool | Path = False, texts: Any = None) -> SequenceWindows:
    """Windows of sequences; see :func:`accord.encoders.build_encoder`."""
    return SequenceWindows(built("sequence", _named(config.of), weights=weights), config)


def build_video_windows(config: VideoWindowsConfig, *, weights: bool | Path = False, texts: Any = None) -> VideoWindows:
    """Windows of clips; see :func:`accord.encoders.build_encoder`."""
    return VideoWindows(built("video", _named(config.of), weights=weights), config)


def describe_windows(corpus: Corpus, field: str, **options: Any) -> dict[str, Any]:
    """Settings of an encoder for these rows: how wide a step is, they say."""
    of = options.get("of") or {}
    return {**options, "of": describe_steps(corpus, field, **({"name": of} if isinstance(of, str) else of))}


def _named(of: str | dict[str, Any]) -> dict[str, Any]:
    return {"name": of} if isinstance(of, str) else {"name": "tiny_sequence", **of}
