"""Video encoder: an image encoder on each frame, then the mean over time or a transformer over the frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from accord.config import Config
from accord.data.inputs import ImageInput, VideoInput
from accord.encoders.base import Encoder, Features, Freeze, Stream
from accord.encoders.build import built
from accord.encoders.pooling import masked_mean, unpacked
from accord.encoders.shapes import check_mask, check_shape
from accord.encoders.transformer import Transformer, sinusoids
from accord.errors import ConfigError

_PREFIX = "frames:"


class FramesConfig(Config):
    """Frames through an image encoder, pooled over time."""

    name: Literal["frames"] = "frames"
    image: str | dict[str, Any] = Field(description="the image encoder: a name, or its dict of options")
    temporal: Literal["mean", "transformer"] = Field(
        "mean",
        description="mean: over the frames' vectors; transformer: over time, added to them, then the mean",
    )
    frames: int = Field(8, gt=0, description="frames taken from a video")
    sampling: Literal["segments", "dense"] = Field(
        "segments", description="one frame of each of equal segments, or a run of frames; drawn in training"
    )
    stride: int = Field(1, gt=0, description="distance of the frames of a dense run")
    rate: float = Field(1.0, gt=0, description="frames a second of clips that do not say, such as folders of pictures")
    depth: int = Field(2, gt=0, description="blocks of the temporal transformer")
    heads: int = Field(4, gt=0, description="its attention heads; divide the width of the image encoder")

    @model_validator(mode="before")
    @classmethod
    def _named_with_its_image(cls, values: Any) -> Any:
        """``frames:IMAGE`` as ``frames`` and the option ``image``."""
        name = str(values.get("name", "")) if isinstance(values, Mapping) else ""
        if not name.startswith(_PREFIX):
            return values
        return {**values, "name": "frames", "image": _with_options(name.removeprefix(_PREFIX), values.get("image"))}


class FrameEncoder(Encoder):
    """An image encoder per frame and pooling over time; the main sequence is ``frames``.

    Where the image encoder gives a main sequence, ``patches`` are those of all frames, with grid ``(T, h, w)``; its
    ``layers`` are given as their means over the frames.

    Args:
        image: encoder of one frame.
        config: what :meth:`spec` returns, with the image encoder's own spec filled in.

    Raises:
        ConfigError: the image encoder's width is no multiple of the heads, or is odd.
    """

    modality = "video"

    def __init__(self, image: Encoder, config: FramesConfig) -> None:
        super().__init__()
        if not isinstance(image.input, ImageInput):
            raise ConfigError(f"frames.image: expected an image encoder, got one for {image.modality}")
        self.image = image
        self.config = config.model_copy(update={"image": image.spec()})
        self.dim = image.dim
        self.input = VideoInput(image.input, config.frames, config.sampling, config.stride, rate=config.rate)
        self.weights_from = image.weights_from
        patches = {"patches"} if "tokens" in image.gives else set()
        self.gives = frozenset({"pooled", "tokens", "frames", *patches, *(image.gives & {"layers"})})
        self.adapters = tuple(f"image.{pattern}" for pattern in image.adapters)
        self.temporal: Transformer | None = None
        if config.temporal == "transformer":
            if image.dim % config.heads or image.dim % 2:
                raise ConfigError(
                    f"frames.heads = {config.heads}: must divide the image encoder's even width {image.dim}"
                )
            self.temporal = Transformer(image.dim, config.depth, config.heads)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of normalised frames ``(B, T, 3, H, W)``; ``mask`` ``(B, T)`` is True on real frames.

        Raises:
            ShapeError: frames or mask are not of that shape.
        """
        return self._encode(x, mask, layers=False)

    def encode_layers(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """As elsewhere; the layers are those of the image encoder, each the mean over the frames."""
        return self._encode(x, mask, layers=True)

    def _encode(self, x: Tensor, mask: Tensor | None, layers: bool) -> Features:
        check_shape("video", x, "B", "T", 3, "H", "W")
        check_mask("video_mask", mask, *x.shape[:2])
        pictures = self.image(x.flatten(0, 1) if mask is None else x[mask], layers=layers)
        tokens = unpacked(pictures.pooled, x.shape[:2], mask)  # (B, T, D)
        if self.temporal is not None:
            # Added to the frames' own vectors, as in CLIP4Clip's sequence head: the start is close to the mean.
            positions = sinusoids(tokens.shape[1], self.dim, tokens.device).to(tokens.dtype)
            tokens = tokens + self.temporal(tokens + positions, mask)
        streams = {"frames": Stream(tokens, mask)}
        if "patches" in self.gives:
            streams["patches"] = _patches(pictures.stream(), x, mask)
        if layers:
            each = unpacked(pictures.stream("layers").values, x.shape[:2], mask)  # (B, T, L, D)
            streams["layers"] = Stream(masked_mean(each.flatten(2), mask).unflatten(1, each.shape[2:]))
        return Features(masked_mean(tokens, mask), streams=streams, main="frames")

    def stream_dim(self, name: str) -> int:
        """As elsewhere; patches and layers are those of the image encoder."""
        return self.image.stream_dim(name) if name in ("patches", "layers") else super().stream_dim(name)

    def blocks(self) -> list[nn.Module]:
        """The image encoder's blocks, then those of the temporal transformer."""
        return [*self.image.blocks(), *(self.temporal.layers if self.temporal is not None else [])]

    def usual_freeze(self) -> Freeze:
        """As elsewhere; the transformer over time has no pretrained weights and is trained."""
        usual = super().usual_freeze()
        return len(self.temporal.layers) if usual == "all" and self.temporal is not None else usual

    def spec(self) -> dict[str, Any]:
        """The configuration, with that of the image encoder in it."""
        return self.config.model_dump(mode="json")


def _patches(patches: Stream, x: Tensor, mask: Tensor | None) -> Stream:
    """The patches ``(R, n, D)`` of the real frames as those of the clips ``(B, T·n, D)``."""
    count = patches.values.shape[1]
    return Stream(
        unpacked(patches.values, x.shape[:2], mask).flatten(1, 2),
        None if mask is None else mask.repeat_interleave(count, dim=1),
        None if patches.grid is None else (x.shape[1], *patches.grid),
    )


def build_frames(config: FramesConfig, *, weights: bool | Path, texts: Any = None) -> FrameEncoder:
    """Frames through an image encoder; see :func:`accord.encoders.build_encoder`."""
    image = {"name": config.image} if isinstance(config.image, str) else config.image
    return FrameEncoder(built("image", image, weights=weights), config)


def _with_options(named: str, options: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """The image encoder of ``frames:NAME`` and its options, in which it may be named again, but no other one.

    Raises:
        ConfigError: the options name another.
    """
    own = {"name": options} if isinstance(options, str) else dict(options or {})
    if own.setdefault("name", named) != named:
        raise ConfigError(
            f"video encoder {_PREFIX}{named}: encoders.video.options.image names another image encoder, "
            f"{own['name']!r}: name it in one place"
        )
    return own
