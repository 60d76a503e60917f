"""Video encoder that sees where neighbouring frames meet: ILA's vision tower.

Tu et al. 2023, ICCV. In every block a small convolutional net looks at each pair of neighbouring frames and points to a
place in either; what lies in soft windows around the places is given back to the frames before they attend to
themselves. There is no attention over time. As it starts it is CLIP's image tower on each frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord.encoders.base import Stream
from accord.encoders.clip_tower import ClipVisionTransformer, ResidualAttentionBlock, attend
from accord.encoders.clip_video import ClipVideoConfig, ClipVideoEncoder, build_on_clip
from accord.encoders.pooling import unpacked
from accord.errors import ConfigError
from accord.functional.checks import as_float
from accord.functional.dense import merge_pairs, neighbour_average, pair_cosine_loss, soft_window

Fusion = Literal["add", "concat"]
Kind = Literal["separable", "dense"]
DELTA = 0.2  # how far away the neighbours of a point are, at first
REACH = 0.75  # the largest coordinate of a point


class AlignmentConfig(ClipVideoConfig):
    """CLIP's image tower with implicit alignment; the sizes are those of a network for a laptop."""

    name: Literal["alignment"] = "alignment"
    fusion: Fusion = Field(
        "add",
        description="add: what was aligned is added to the tokens, which starts as CLIP (the release); concat: its "
        "mean is one more token in attention (the paper)",
    )
    kind: Kind = Field("separable", description="net on pairs: separable (for Kinetics), dense (Something-Something)")
    hidden: int = Field(256, gt=0, multiple_of=8, description="channels of that net")


class AlignmentEncoder(ClipVideoEncoder):
    """The tower with implicit alignment and what merges its frames.

    Besides the streams of the others, ``alignment (B, T-1, L)`` says how far apart the contents of the windows of each
    pair of neighbouring frames are in each of L blocks, which a method can train; ``windows (B, L, C)`` what the
    windows of a clip show on average, without gradient, by which it can be watched whether all clips come to show the
    same.
    """

    gives = frozenset({"pooled", "tokens", "frames", "patches", "alignment", "windows"})
    new: ClassVar[tuple[str, ...]] = ("*.message_*", "*.temporal_*")
    visual: ILAVisionTransformer

    def tower(self, config: AlignmentConfig) -> ILAVisionTransformer:
        """As configured."""
        sizes = {"size", "patch", "width", "depth", "heads", "dim", "drop_path"}
        return ILAVisionTransformer(**config.model_dump(include=sizes | {"fusion", "kind", "hidden"}))

    def seen(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Stream]]:
        """As elsewhere, with the streams ``alignment`` and ``windows``."""
        frames, patches, away, shown = self.visual(x, mask)
        return frames, patches, {"alignment": Stream(away, real_pairs(mask)), "windows": Stream(shown)}

    def stream_dim(self, name: str) -> int:
        """As elsewhere; ``alignment`` has a number for each block, and windows show patches."""
        return self.config.depth if name == "alignment" else super().stream_dim(name.replace("windows", "patches"))

    def look_around(self, delta: float) -> None:
        """How far away the neighbours of a point are in training from now on; it is kept with the weights."""
        for module in self.visual.modules():
            if isinstance(module, ImplicitAlignment):
                module.delta.fill_(delta)


class ILAVisionTransformer(ClipVisionTransformer):
    """CLIP's image tower on each frame of a clip, with implicit alignment of neighbouring frames in every block.

    Args:
        size: side S of a frame in pixels.
        patch: side of a patch in pixels; N = W², W = S / patch.
        width: width C of a token.
        depth: number L of blocks.
        heads: attention heads; None for one per 64 of the width.
        dim: size D of a frame's vector after a projection without bias; None leaves it out, and D = C.
        fusion: as of :class:`ILABlock`.
        kind: as of :class:`ImplicitAlignment`.
        hidden: likewise.
        drop_path: probability that a branch of a block is left out.

    Raises:
        ConfigError: a patch that does not divide the size, heads that do not divide the width, or fewer than 4 × 4
            patches.

    Example:
        >>> tower = ILAVisionTransformer(16, patch=4, width=64, depth=2, hidden=16)
        >>> [part.shape for part in tower(torch.zeros(2, 3, 3, 16, 16))]
        [torch.Size([2, 3, 64]), torch.Size([2, 3, 16, 64]), torch.Size([2, 2, 2]), torch.Size([2, 2, 64])]
    """

    own: ClassVar[tuple[str, ...]] = ("message_", "temporal_")

    def __init__(
        self,
        size: int,
        patch: int,
        width: int,
        depth: int,
        heads: int | None = None,
        *,
        dim: int | None = None,
        fusion: Fusion = "add",
        kind: Kind = "separable",
        hidden: int = 256,
        drop_path: float = 0.0,
    ) -> None:
        def block(dim: int, heads: int) -> nn.Module:
            return ILABlock(dim, heads, size // patch, fusion, kind=kind, hidden=hidden, drop_path=drop_path)

        super().__init__(size, patch, width, depth, block, heads=heads, dim=dim)

    def forward(self, video: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Frames ``(B, T, 3, S, S)`` to vectors ``(B, T, D)``, patches ``(B, T, N, C)`` and two streams.

        The patches are those of the last block, before the final norm; the others are the distances ``(B, T-1, L)`` of
        the windows and what these show, ``(B, L, C)``. Pairs with a frame where ``mask (B, T)`` is False are left out.
        """
        x, away, shown = self.stem(video, mask), [], []  # (B, T, 1 + N, C)
        for block in self.resblocks:
            x, pair = block(x, mask)
            away.append(pair_cosine_loss(pair[0], pair[1], real_pairs(mask), reduction="none"))
            shown.append(F.normalize(pair[0].detach(), dim=-1).sum(dim=1))  # nothing of pairs with padding
        return self.head(x), x[:, :, 1:], torch.stack(away, dim=-1), torch.stack(shown, dim=1)


class ILABlock(ResidualAttentionBlock):
    """CLIP's block on each frame of a clip, which is first shown what its neighbours and it have in common.

    Args:
        dim: width C of a token.
        heads: attention heads; divides ``dim``.
        grid: patches W on a side, at least 4.
        fusion: ``"add"`` adds linear maps of what was aligned to the tokens, which start at zero; ``"concat"`` lets the
            tokens attend to the mean of the aligned patches.
        kind: as of :class:`ImplicitAlignment`.
        hidden: likewise.
        drop_path: probability that a branch is left out for a frame.

    Example:
        >>> x, (p, q) = ILABlock(16, heads=2, grid=4, hidden=16)(torch.zeros(2, 3, 17, 16))
        >>> x.shape, p.shape
        (torch.Size([2, 3, 17, 16]), torch.Size([2, 2, 16]))
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        grid: int,
        fusion: Fusion = "add",
        *,
        kind: Kind = "separable",
        hidden: int = 256,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(dim, heads, drop_path)
        self.fusion = fusion
        self.message_fc, self.message_ln = nn.Linear(dim, dim), nn.LayerNorm(dim)
        self.message_alignment = ImplicitAlignment(dim, grid, hidden, kind, interactive=fusion == "add")
        if fusion == "add":
            self.temporal_skip_align_fc, self.temporal_skip_fc = _zero(nn.Linear(dim, dim)), _zero(nn.Linear(dim, dim))

    def forward(  # type: ignore[override]
        self, x: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``(B, T, 1 + N, C)``, token 0 of a frame its class token, to the same, and what the windows of pairs show.

        That are two ``(B, T-1, C)``, zero for pairs with padding, which :func:`pair_cosine_loss` draws together.
        """
        found = self.message_alignment(self.message_ln(self.message_fc(x)), mask)
        z = x.flatten(0, 1)  # (B·T, 1 + N, C)
        if self.fusion == "add":
            z = z + self.drop_path(self.temporal_skip_align_fc(found.aligned.flatten(0, 1)))
            z = z + self.drop_path(self.temporal_skip_fc(found.interactive.flatten(0, 1)))
        else:
            z = torch.cat([z, found.pooled.flatten(0, 1)[:, None]], dim=1)
        z = (z + self.drop_path(attend(self.attn, self.ln_1(z))))[:, : x.shape[2]]
        return (z + self.drop_path(self.mlp(self.ln_2(z)))).view_as(x), found.pair


@dataclass(frozen=True)
class Alignment:
    """What :class:`ImplicitAlignment` makes of a clip.

    Args:
        aligned: ``(B, T, 1 + N, C)`` the tokens of each frame, its patches weighed by its windows.
        interactive: ``(B, T, 1 + N, C)`` what the net made of its pairs, behind the class token; None without.
        pair: two ``(B, T-1, C)``, the contents of the windows of each pair: sums over the weighed patches.
        points: ``(B, T-1, 2, 2)`` as (x, y) in the earlier frame and in the later one.
    """

    aligned: Tensor
    interactive: Tensor | None
    pair: tuple[Tensor, Tensor]
    points: Tensor

    @property
    def pooled(self) -> Tensor:
        """``(B, T, C)`` the mean of the aligned patches."""
        return self.aligned[:, :, 1:].mean(dim=2)


class ImplicitAlignment(nn.Module):
    """Points to a place in either frame of each pair of neighbours, and weighs their patches by windows around them.

    In training a window is the mean of nine, around the point and its neighbours ``delta`` away.

    Args:
        dim: width C of a token.
        grid: patches W on a side, at least 4: the net halves the map twice.
        hidden: channels of the net; a multiple of 8.
        kind: ``"separable"``, whose first convolution is depthwise, or ``"dense"``.
        interactive: whether what the net made of the pairs is returned as tokens.

    Raises:
        ConfigError: fewer patches.

    Example:
        >>> found = ImplicitAlignment(16, grid=4, hidden=16)(torch.rand(2, 3, 17, 16))
        >>> found.aligned.shape, found.points.shape
        (torch.Size([2, 3, 17, 16]), torch.Size([2, 2, 2, 2]))
    """

    delta: Tensor

    def __init__(
        self, dim: int, grid: int, hidden: int = 256, kind: Kind = "separable", *, interactive: bool = True
    ) -> None:
        super().__init__()
        if grid < 4:
            raise ConfigError(
                f"alignment: {grid} x {grid} patches of a frame are too few to point at: expected at least 4 x 4, "
                "from larger frames (size) or smaller patches (patch)"
            )
        self.grid, self.hidden = grid, hidden
        self.interact, self.points = _pair_net(2 * dim, hidden, kind), PointHead(hidden)
        self.temporal = nn.Conv3d(hidden // 2, hidden // 2, (3, 1, 1), padding=(1, 0, 0)) if interactive else None
        self.spread = nn.Linear(hidden // 2, dim) if interactive else None
        self.register_buffer("delta", torch.tensor(DELTA))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Alignment:
        """Tokens ``(B, T, 1 + N, C)``; pairs with a frame where ``mask (B, T)`` is False count as none."""
        prev, cur = tokens[:, :-1, 1:], tokens[:, 1:, 1:]  # (B, T-1, N, C)
        real = real_pairs(mask)
        maps, points = self._look(torch.cat([prev, cur], dim=-1), real)  # (B, T-1, h, W, W), (B, T-1, 2, 2)
        windows = self._windows(points).flatten(-2)[..., None].to(prev)  # (B, T-1, 2, N, 1)
        prev, cur = windows[:, :, 0] * prev, windows[:, :, 1] * cur
        own = tokens[:, :, :1]
        aligned = torch.cat([own, merge_pairs(prev, cur, real)], dim=2)
        there = torch.ones((), device=tokens.device) if real is None else real[..., None]
        pair = [as_float(patches).sum(dim=2) * there for patches in (prev, cur)]
        return Alignment(aligned, self._interactive(own, maps, real), (pair[0], pair[1]), points)

    def _look(self, patches: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the net makes of patches ``(B, T-1, N, 2C)``, of real pairs alone: padding moves no batch statistics."""
        chosen = patches.flatten(0, 1) if real is None else patches[real]
        chosen = chosen.mT.contiguous().unflatten(2, (self.grid, self.grid))  # (P, 2C, W, W)
        if len(chosen):
            maps = self.interact(chosen)
            points = REACH * as_float(self.points(maps))  # (P, 4)
        else:  # single frames, of which there are no batch statistics
            maps, points = chosen.new_zeros(0, self.hidden, self.grid, self.grid), chosen.new_zeros(0, 4)
        found = [unpacked(part, patches.shape[:2], real) for part in (maps, points)]
        return found[0], found[1].unflatten(2, (2, 2))

    def _windows(self, points: Tensor) -> Tensor:
        return neighbour_average(points, self.grid, self.delta) if self.training else soft_window(points, self.grid)

    def _interactive(self, own: Tensor, maps: Tensor, real: Tensor | None) -> Tensor | None:
        if self.temporal is None or self.spread is None:
            return None
        prev, cur = maps.chunk(2, dim=2)
        frames = self.temporal(merge_pairs(prev, cur, real).transpose(1, 2))  # (B, h/2, T, W, W)
        return torch.cat([own, self.spread(frames.flatten(3).permute(0, 2, 3, 1))], dim=2)


class PointHead(nn.Module):
    """A point in either frame of a pair, from the map that a net made of the two; at first the centre.

    Args:
        hidden: channels h of the map; a multiple of 8.

    Example:
        >>> PointHead(16)(torch.rand(5, 16, 4, 4))[0]
        tensor([0., 0., 0., 0.], grad_fn=<SelectBackward0>)
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        half, quarter = hidden // 2, hidden // 4
        self.maps = nn.Sequential(
            *[_conv(hidden, half, 3), nn.BatchNorm2d(half), nn.MaxPool2d(2), nn.ReLU()],
            *[_conv(half, half, 3), nn.BatchNorm2d(half), nn.MaxPool2d(2), nn.ReLU()],
            nn.AdaptiveMaxPool2d(1),
        )
        # In two groups, so that the points of the two frames come from channels of their own.
        last = _zero(nn.Conv1d(quarter, 4, 1, groups=2))
        self.coordinates = nn.Sequential(nn.Conv1d(half, quarter, 1, groups=2), nn.ReLU(), last)

    def forward(self, maps: Tensor) -> Tensor:
        """``(P, h, W, W)`` to ``(P, 4)`` in (-1, 1): x and y in the earlier frame, x and y in the later one."""
        return self.coordinates(self.maps(maps).flatten(2)).flatten(1).tanh()


def real_pairs(mask: Tensor | None) -> Tensor | None:
    """Which pairs of neighbours ``(B, T-1)`` have no padding, of ``mask (B, T)``.

    >>> real_pairs(torch.tensor([[True, True, False]]))
    tensor([[ True, False]])
    """
    return None if mask is None else mask[:, :-1] & mask[:, 1:]


def _pair_net(channels: int, hidden: int, kind: Kind) -> nn.Sequential:
    """The net on the maps of a pair, one behind the other."""
    if kind == "dense":
        first: list[nn.Module] = [_conv(channels, hidden, 3)]
    else:
        depthwise: list[nn.Module] = [
            _conv(channels, channels, 3, groups=channels),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
        first = [*depthwise, _conv(channels, hidden, 1)]
    second = [nn.BatchNorm2d(hidden), nn.ReLU(), _conv(hidden, hidden, 3), nn.BatchNorm2d(hidden), nn.ReLU()]
    return nn.Sequential(*first, *second)


def _conv(inputs: int, outputs: int, side: int, groups: int = 1) -> nn.Conv2d:
    """Without bias: a batch norm follows."""
    return nn.Conv2d(inputs, outputs, side, padding=side // 2, groups=groups, bias=False)


def _zero(layer: Any) -> Any:
    """The layer with nothing but zeros in it."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def build_alignment(config: AlignmentConfig, *, weights: bool | Path, texts: Any = None) -> AlignmentEncoder:
    """The encoder; see :func:`accord.encoders.build_encoder`."""
    return build_on_clip(AlignmentEncoder, config, weights=weights)
