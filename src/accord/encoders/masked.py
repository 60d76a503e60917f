"""ViTs for clips and pictures that can be shown some of their tokens alone, as masked autoencoders train them.

A clip is cut into tubelets with positions that are learned apart for place and time (Feichtenhofer et al. 2022,
NeurIPS); a picture is a clip of one frame (He et al. 2022, CVPR). What is hidden never enters the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from timm.layers import trunc_normal_
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from accord.config import Config
from accord.data.inputs import ImageInput, VideoInput
from accord.encoders.base import Encoder, Features, Stream
from accord.encoders.shapes import check_mask, check_shape
from accord.encoders.stages import longest_stack, stages_around
from accord.functional import patchify
from accord.functional.checks import as_float


class MaskedViTConfig(Config):
    """What both have in common; the sizes are those of a network for a laptop."""

    size: int = Field(64, gt=0, description="side of a frame in pixels")
    patch: int = Field(8, gt=0, description="side of a patch in pixels; divides size")
    width: int = Field(128, gt=0, description="width of a token; a multiple of heads (768 in the papers)")
    depth: int = Field(4, gt=0, description="number of blocks (12)")
    heads: int = Field(4, gt=0, description="attention heads (12)")
    class_token: bool = Field(False, description="a class token beside the others, which the vector is not made of")
    drop_path: float = Field(0.0, ge=0, lt=1, description="probability that a branch is left out for a row")

    @model_validator(mode="after")
    def _sizes_divide(self) -> MaskedViTConfig:
        if self.size % self.patch:
            raise ValueError(f"patch = {self.patch} must divide size = {self.size}")
        if self.width % self.heads:
            raise ValueError(f"heads = {self.heads} must divide width = {self.width}")
        return self

    @property
    def grid(self) -> tuple[int, int, int]:
        """Slots of time, rows and columns of tokens."""
        side = self.size // self.patch
        return 1, side, side


class VideoMaeConfig(MaskedViTConfig):
    """A ViT over tubelets of a clip."""

    name: Literal["video_mae"] = "video_mae"
    frames: int = Field(8, gt=0, description="frames taken from a video (16)")
    tubelet: int = Field(2, gt=0, description="frames of a token; divides frames")
    sampling: Literal["segments", "dense"] = Field(
        "segments", description="one frame of each of equal segments, or a run of frames; drawn in training"
    )
    stride: int = Field(1, gt=0, description="distance of the frames of a dense run")

    @model_validator(mode="after")
    def _tubelet_divides(self) -> VideoMaeConfig:
        if self.frames % self.tubelet:
            raise ValueError(f"tubelet = {self.tubelet} must divide frames = {self.frames}")
        return self

    @property
    def grid(self) -> tuple[int, int, int]:
        """As elsewhere."""
        return self.frames // self.tubelet, *super().grid[1:]


class ImageMaeConfig(MaskedViTConfig):
    """A ViT over the patches of a picture."""

    name: Literal["image_mae"] = "image_mae"


class MaskedViT(Encoder):
    """A pre-norm ViT over patches or tubelets, with learned positions in place and time.

    The vector is the mean over the tokens after the last norm. With ``keep`` the encoder is given the
    :meth:`patches` of some positions and sees no others.

    Args:
        config: what :meth:`spec` returns.
        tubelet: frames of a token.
    """

    config: Any

    def __init__(self, config: MaskedViTConfig, tubelet: int = 1) -> None:
        super().__init__()
        self.config, self.tubelet, self.grid, self.dim = config, tubelet, config.grid, config.width
        values = 3 * tubelet * config.patch**2
        self.stem = Stem(values, config.width, config.grid, class_token=config.class_token)
        norm: Any = partial(nn.LayerNorm, eps=1e-6)
        rates = torch.linspace(0, config.drop_path, config.depth).tolist()
        self.layers = nn.ModuleList(
            Block(config.width, config.heads, qkv_bias=True, norm_layer=norm, drop_path=rate) for rate in rates
        )
        self.norm = norm(config.width)
        init_linear(self)

    @property
    def length(self) -> int:
        """Number L of tokens."""
        slots, rows, columns = self.grid
        return slots * rows * columns

    def patches(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The pixels ``(B, L, V)`` of the tokens of raw input, see :func:`accord.functional.patchify`."""
        raise NotImplementedError

    def forward(
        self,
        x: Any,
        mask: Tensor | None = None,
        *,
        layers: bool = False,
        times: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> Features:
        """As elsewhere; with ``keep`` the features of some tokens alone.

        Args:
            x: a batch of this modality, or with ``keep`` the :meth:`patches` ``(B, n, V)`` that are shown.
            mask: as elsewhere.
            layers: as elsewhere.
            times: as elsewhere.
            keep: ``(B, n)`` positions of the patches; the stream ``visible`` holds their tokens then, whose mean is
                ``pooled``.
        """
        if keep is None:
            return super().forward(x, mask, layers=layers, times=times)
        with self.computing():
            tokens = as_float(self._tokens(x, keep))
        return Features(tokens.mean(dim=1), streams={"visible": Stream(tokens)}, main="visible")

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of all tokens of raw input.

        Raises:
            ShapeError: it has not the shape that the network was built for.
        """
        tokens = self._tokens(self.patches(x, mask))
        return Features(tokens.mean(dim=1), streams=self._streams(tokens), main=self._main)

    _main: str = "patches"

    def _streams(self, tokens: Tensor) -> dict[str, Stream]:
        return {"patches": Stream(tokens, grid=self.grid[1:])}

    def _tokens(self, patches: Tensor, keep: Tensor | None = None) -> Tensor:
        """``(B, n, V)`` to ``(B, n, D)``."""
        hidden = self.stem(patches, keep)
        for layer in self.layers:
            hidden = layer(hidden)
        return self.norm(hidden)[:, self.stem.before :]

    def layer_vector(self, hidden: Tensor, features: Features) -> Tensor:
        """The mean over the tokens."""
        return hidden[:, self.stem.before :].mean(dim=1)

    def blocks(self) -> list[nn.Module]:
        """The embedding of patches with their positions, then the blocks."""
        return stages_around(self, longest_stack(self))

    def spec(self) -> dict[str, Any]:
        """The configuration."""
        return dict(self.config.model_dump(mode="json"))


class VideoMaeEncoder(MaskedViT):
    """Clips; the main sequence ``frames`` are the means of the slots of time, ``patches`` lie in ``(T/u, h, w)``.

    A clip of fewer frames than it is built for is stretched: its frames repeat.

    Example:
        >>> encoder = VideoMaeEncoder(VideoMaeConfig(size=16, width=16, depth=1, heads=2, frames=4))
        >>> features = encoder(torch.zeros(2, 4, 3, 16, 16))
        >>> features.stream("patches").grid, features.tokens.shape
        ((2, 2, 2), torch.Size([2, 2, 16]))
    """

    modality = "video"
    gives = frozenset({"pooled", "tokens", "frames", "patches", "layers", "visible"})
    _main = "frames"

    def __init__(self, config: VideoMaeConfig) -> None:
        super().__init__(config, config.tubelet)
        self.input = VideoInput(ImageInput(size=config.size), config.frames, config.sampling, config.stride)

    def forward(
        self,
        x: Any,
        mask: Tensor | None = None,
        *,
        layers: bool = False,
        times: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> Features:
        """As elsewhere; a clip that is stretched has its times stretched too."""
        times = None if times is None else stretched(times, mask, self.config.frames)
        return super().forward(x, mask, layers=layers, times=times, keep=keep)

    def patches(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Of normalised frames ``(B, T, 3, S, S)``; ``mask`` ``(B, T)`` is True on real frames, which come first."""
        check_shape("video", x, "B", "T", 3, self.config.size, self.config.size)
        clips = stretched(x, mask, self.config.frames)
        return patchify(clips.transpose(1, 2), self.config.patch, self.tubelet)

    def _streams(self, tokens: Tensor) -> dict[str, Stream]:
        slots = tokens.unflatten(1, (self.grid[0], -1)).mean(dim=2)  # (B, T/u, D)
        return {"frames": Stream(slots), "patches": Stream(tokens, grid=self.grid)}


class ImageMaeEncoder(MaskedViT):
    """Pictures; weights of a masked autoencoder as its authors or timm publish them fit, with ``class_token``.

    Example:
        >>> encoder = ImageMaeEncoder(ImageMaeConfig(size=16, width=16, depth=1, heads=2))
        >>> encoder(torch.zeros(2, 3, 16, 16)).stream("patches").grid
        (2, 2)
    """

    modality = "image"
    gives = frozenset({"pooled", "tokens", "patches", "layers", "visible"})

    def __init__(self, config: ImageMaeConfig) -> None:
        super().__init__(config)
        self.input = ImageInput(size=config.size)

    def patches(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Of normalised pictures ``(B, 3, S, S)``, which have no mask."""
        check_shape("image", x, "B", 3, self.config.size, self.config.size)
        return patchify(x[:, :, None], self.config.patch)

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of timm's ViT, or those of MAE's authors, by the names of this network; others as they are."""
        if "pos_embed" not in state or "patch_embed.proj.weight" not in state:
            return dict(state)
        place, kernel = state["pos_embed"].squeeze(0), state["patch_embed.proj.weight"]
        named = {
            "stem.embed.weight": kernel.permute(0, 2, 3, 1).flatten(1),  # a token's values end with the colours
            "stem.embed.bias": state["patch_embed.proj.bias"],
            "stem.pos_embed_space": place[len(place) - self.length :],
            **{name: value for name, value in state.items() if name.startswith("norm.")},
        }
        if "cls_token" in state:
            named["stem.class_token"] = state["cls_token"].flatten() + place[0]
        blocks = {name: value for name, value in state.items() if name.startswith("blocks.")}
        return named | {name.replace("blocks.", "layers.", 1): value for name, value in blocks.items()}


class Stem(nn.Module):
    """Embeds the pixels of tokens and adds what says where and when they are.

    Args:
        values: numbers V of a token.
        width: D.
        grid: slots of time, rows and columns; one slot has no position in time.
        class_token: put one before the others.
    """

    def __init__(self, values: int, width: int, grid: tuple[int, int, int], *, class_token: bool = False) -> None:
        super().__init__()
        slots, rows, columns = grid
        self.embed = nn.Linear(values, width)
        self.before = int(class_token)
        self.pos_embed_space = _positions(rows * columns, width)
        self.pos_embed_time = _positions(slots, width) if slots > 1 else None
        self.class_token = nn.Parameter(trunc_normal_(torch.empty(width), std=0.02)) if class_token else None

    def positions(self) -> Tensor:
        """``(L, D)``, slot after slot."""
        if self.pos_embed_time is None:
            return self.pos_embed_space
        return (self.pos_embed_time[:, None] + self.pos_embed_space).flatten(0, 1)

    def forward(self, patches: Tensor, keep: Tensor | None = None) -> Tensor:
        """``(B, n, V)`` to ``(B, [1 +] n, D)``; ``keep (B, n)`` says which positions they have, None all in order."""
        positions = self.positions()
        tokens = self.embed(patches) + (positions if keep is None else positions[keep])
        if self.class_token is None:
            return tokens
        return torch.cat([self.class_token.expand(len(tokens), 1, -1).to(tokens), tokens], dim=1)


def _positions(count: int, width: int) -> nn.Parameter:
    return nn.Parameter(trunc_normal_(torch.empty(count, width), std=0.02))


def init_linear(module: nn.Module) -> None:
    """Linear maps as masked autoencoders start them: Xavier's uniform weights, no bias."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def stretched(x: Tensor, mask: Tensor | None, frames: int) -> Tensor:
    """Clips of any number of real frames as clips of ``frames``, in which frames repeat or are left out evenly.

    Args:
        x: ``(B, T, ...)``.
        mask: ``(B, T)`` bool, True on real frames, which come first; None for all.
        frames: how many it has to be.

    Example:
        >>> stretched(torch.tensor([[1, 2, 0, 0]]), torch.tensor([[True, True, False, False]]), 4)
        tensor([[1, 1, 2, 2]])
    """
    check_mask("video_mask", mask, *x.shape[:2])
    if mask is None and x.shape[1] == frames:
        return x
    real = torch.full((len(x), 1), x.shape[1], device=x.device) if mask is None else mask.sum(dim=1, keepdim=True)
    places = torch.arange(frames, device=x.device) * real // frames  # (B, frames)
    return x[torch.arange(len(x), device=x.device)[:, None], places]


def build_video_mae(config: VideoMaeConfig, *, weights: Any = False, texts: Any = None) -> VideoMaeEncoder:
    """A ViT over tubelets with random weights; see :func:`accord.encoders.build_encoder`."""
    return VideoMaeEncoder(config)


def build_image_mae(config: ImageMaeConfig, *, weights: Any = False, texts: Any = None) -> ImageMaeEncoder:
    """A ViT over patches with random weights; see :func:`accord.encoders.build_encoder`."""
    return ImageMaeEncoder(config)
