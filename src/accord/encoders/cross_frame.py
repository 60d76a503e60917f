"""Video encoder whose frames talk to each other: X-CLIP's vision tower and its transformer over frames.

Ni et al. 2022, ECCV. In every block of a frame's transformer a message token, made of the class token, hears those of
the other frames and is read by its own frame (section 3.2); a small transformer with positions then merges the frames.
Without messages and with the mean over frames it is CLIP's image tower on each frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from accord.encoders.base import Freeze
from accord.encoders.clip_tower import ClipVisionTransformer, ResidualAttentionBlock, attend
from accord.encoders.clip_video import ClipVideoConfig, ClipVideoEncoder, MultiframeIntegration, build_on_clip

__all__ = [
    "CrossFrameAttentionBlock",
    "CrossFrameConfig",
    "CrossFrameEncoder",
    "CrossFrameVisionTransformer",
    "MultiframeIntegration",
    "build_cross_frame",
]


class CrossFrameConfig(ClipVideoConfig):
    """CLIP's image tower whose frames exchange messages; the sizes are those of a network for a laptop."""

    name: Literal["cross_frame"] = "cross_frame"
    message: bool = Field(True, description="message tokens between the frames in every block")


class CrossFrameEncoder(ClipVideoEncoder):
    """The cross-frame tower and what merges its frames."""

    new: ClassVar[tuple[str, ...]] = ("*.message_*",)

    def tower(self, config: CrossFrameConfig) -> CrossFrameVisionTransformer:
        """With messages or without."""
        sizes = config.model_dump(include={"size", "patch", "width", "depth", "heads", "dim", "message", "drop_path"})
        return CrossFrameVisionTransformer(**sizes)

    def usual_freeze(self) -> Freeze:
        """Nothing: messages and what merges the frames have no pretrained weights, and CLIP's are tuned with them."""
        return "none"


class CrossFrameVisionTransformer(ClipVisionTransformer):
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

    own: ClassVar[tuple[str, ...]] = ("message_",)

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
        kind: Any = CrossFrameAttentionBlock if message else ResidualAttentionBlock

        def block(dim: int, heads: int) -> nn.Module:
            made: nn.Module = kind(dim, heads, drop_path)
            return made

        super().__init__(size, patch, width, depth, block, heads=heads, dim=dim)

    def forward(self, video: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Frames ``(B, T, 3, S, S)`` to their vectors ``(B, T, D)`` and their patches ``(B, T, N, C)``.

        The patches are those of the last block, before the final norm. Frames where ``mask (B, T)`` is False send no
        messages.
        """
        x = self.stem(video, mask)  # (B, T, 1 + N, C)
        for block in self.resblocks:
            x = block(x, mask) if isinstance(block, CrossFrameAttentionBlock) else block(x.flatten(0, 1)).view_as(x)
        return self.head(x), x[:, :, 1:]


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


def build_cross_frame(config: CrossFrameConfig, *, weights: bool | Path, texts: Any = None) -> CrossFrameEncoder:
    """The encoder; see :func:`accord.encoders.build_encoder`."""
    return build_on_clip(CrossFrameEncoder, config, weights=weights)
