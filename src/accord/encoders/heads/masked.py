"""The other half of a masked autoencoder: from the tokens that were shown to the pixels of those that were not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from timm.layers import trunc_normal_
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from accord.encoders.masked import MaskedViT, Stem, init_linear
from accord.errors import ConfigError
from accord.functional import masked_mse, patch_statistics, patchify, predicted_frames, random_masking, unpatchify


class MaskedDecoder(nn.Module):
    """A narrow ViT over all positions, with a learned token where nothing was seen (He et al. 2022, CVPR, section 3).

    Args:
        width: of the encoder's tokens.
        values: numbers V that are predicted of a token.
        grid: slots of time, rows and columns.
        dim: width of the decoder.
        depth: its blocks.
        heads: its attention heads.

    Raises:
        ConfigError: heads that do not divide the width.

    Example:
        >>> decoder = MaskedDecoder(8, values=12, grid=(2, 2, 2), dim=16, depth=1, heads=2)
        >>> decoder(torch.zeros(3, 2, 8), torch.arange(8).expand(3, 8)).shape
        torch.Size([3, 8, 12])
    """

    def __init__(
        self, width: int, values: int, grid: tuple[int, int, int], dim: int = 512, depth: int = 8, heads: int = 16
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"decoder_heads = {heads}: must divide decoder_width = {dim}")
        norm: Any = partial(nn.LayerNorm, eps=1e-6)
        self.stem = Stem(width, dim, grid)
        self.mask_token = nn.Parameter(trunc_normal_(torch.empty(dim), std=0.02))
        self.layers = nn.ModuleList(Block(dim, heads, qkv_bias=True, norm_layer=norm) for _ in range(depth))
        self.norm, self.head = norm(dim), nn.Linear(dim, values)
        init_linear(self)

    def forward(self, visible: Tensor, restore: Tensor) -> Tensor:
        """``(B, n, width)`` to ``(B, L, V)``; ``restore (B, L)`` is :func:`accord.functional.random_masking`'s."""
        seen = self.stem.embed(visible)
        hidden = self.mask_token.to(seen).expand(len(seen), restore.shape[1] - seen.shape[1], -1)
        tokens = torch.cat([seen, hidden], dim=1)
        tokens = tokens.gather(1, restore[..., None].expand_as(tokens)) + self.stem.positions()
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(self.norm(tokens))


@dataclass(frozen=True)
class Shown:
    """What an encoder made of the tokens that it was shown, and a decoder of the others.

    Args:
        tokens: ``(B, n, D)``.
        keep: ``(B, n)`` their positions.
        hidden: ``(B, L)``, 1 on what was hidden.
        target: ``(B, L, V)`` pixels that are to be filled in.
        made: ``(B, L, V)`` what the decoder made of them; None without one.
    """

    tokens: Tensor
    keep: Tensor
    hidden: Tensor
    target: Tensor
    made: Tensor | None

    @property
    def pooled(self) -> Tensor:
        """``(B, D)``, the mean over what was shown."""
        return self.tokens.mean(dim=1)

    def error(self, standardise: bool) -> Tensor | None:
        """:func:`accord.functional.masked_mse`; None without decoder."""
        return None if self.made is None else masked_mse(self.made, self.target, self.hidden, standardise)

    def filled(self, standardise: bool) -> Tensor:
        """The pixels ``(B, L, V)`` with what was made in the place of what was hidden.

        Targets that were brought to mean 0 and variance 1 get their own back, which the decoder does not know.
        """
        assert self.made is not None
        mean, deviation = patch_statistics(self.target) if standardise else (0.0, 1.0)
        return torch.where(self.hidden[..., None] > 0, self.made.float() * deviation + mean, self.target.float())


def show(
    tower: MaskedViT,
    decoder: MaskedDecoder | None,
    view: Tensor,
    noise: Tensor,
    ratio: float,
    *,
    tubes: int = 1,
    predicted: int | None = None,
) -> Shown:
    """Hide tokens of pictures or clips, encode the others, and fill in what is hidden.

    Args:
        tower: a MAE encoder.
        decoder: fills in; None only encodes.
        view: ``(B, 3, H, W)``, or ``(B, T, 3, H, W)`` with as many frames as the encoder takes.
        noise: ``(B, L / tubes)``, what decides what is hidden.
        ratio: share that is hidden.
        tubes: see :func:`accord.functional.random_masking`.
        predicted: frames that are filled in, spread over the clip; None for all.
    """
    patches = tower.patches(view)
    visible, hidden, restore, keep = random_masking(patches, ratio, noise, tubes=tubes)
    tokens = tower(visible, keep=keep).sequence()[0]
    target = patches if predicted is None else _some_frames(tower, view, predicted)
    return Shown(tokens, keep, hidden, target, None if decoder is None else decoder(tokens, restore))


def values_of(tower: MaskedViT, predicted: int | None = None) -> int:
    """Numbers V of a token of the target.

    Raises:
        ConfigError: the predicted frames do not divide among the slots of time.
    """
    slots = tower.grid[0]
    if predicted is not None and (predicted % slots or predicted > slots * tower.tubelet):
        raise ConfigError(
            f"predict_frames = {predicted}: expected a multiple of {slots}, {slots * tower.tubelet} at most"
        )
    return 3 * (tower.tubelet if predicted is None else predicted // slots) * tower.config.patch**2


def as_clips(tower: MaskedViT, tokens: Tensor) -> Tensor:
    """The pixels ``(B, L, V)`` of tokens as clips ``(B, T, 3, H, W)``, a picture as one of one frame."""
    tubelet = tokens.shape[2] // (3 * tower.config.patch**2)
    return unpatchify(tokens, tower.config.patch, tubelet, tower.grid).transpose(1, 2)


def _some_frames(tower: MaskedViT, clips: Tensor, predicted: int) -> Tensor:
    chosen = clips[:, predicted_frames(clips.shape[1], predicted).to(clips.device)]
    return patchify(chosen.transpose(1, 2), tower.config.patch, predicted // tower.grid[0])
