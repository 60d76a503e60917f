"""Video encoder that sees where neighbouring frames meet: ILA's vision tower.

Tu et al. 2023, ICCV. In every block a small convolutional net looks at each pair of neighbouring frames and points to a
place in either; what lies in soft windows around the places is given back to the frames before they attend to
themselves. There is no attention over time. As it starts it is CLIP's image tower on each frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord.encoders.base import Stream
from accord.encoders.clip_tower import ClipVisionTransformer, ResidualAttentionBlock, attend
from accord.encoders.clip_video import ClipVideoConfig, ClipVideoEncoder, build_on_clip
from accord.encoders.implicit_alignment import ImplicitAlignment, Kind, at_zero, real_pairs
from accord.functional.dense import pair_cosine_loss

Fusion = Literal["add", "concat"]


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
            self.temporal_skip_align_fc, self.temporal_skip_fc = (
                at_zero(nn.Linear(dim, dim)),
                at_zero(nn.Linear(dim, dim)),
            )

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


def build_alignment(config: AlignmentConfig, *, weights: bool | Path, texts: Any = None) -> AlignmentEncoder:
    """The encoder; see :func:`accord.encoders.build_encoder`."""
    return build_on_clip(AlignmentEncoder, config, weights=weights)
