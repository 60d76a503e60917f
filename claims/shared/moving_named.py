"""Moving digits as tensors, with the number of the digit beside its action: clips that a claim trains on in seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from shared.digits import Digits, split_digits
from shared.moving import ACTIONS, NOISE, SIDE, clip


@dataclass(frozen=True)
class Clips:
    """Clips of one digit each.

    Args:
        frames: ``(N, T, S, S)`` uint8.
        actions: ``(N,)`` int64.
        digits: ``(N,)`` int64.
    """

    frames: NDArray[np.uint8]
    actions: NDArray[np.int64]
    digits: NDArray[np.int64]


def named_moving_digits(seed: int, train: int, test: int, *, centred: bool) -> tuple[Clips, Clips]:
    """Clips of different pictures of digits for training and for testing.

    Args:
        seed: decides all that is random.
        train: how many.
        test: how many.
        centred: every digit starts in the middle, where the tokens tell what it is; else at any place of a torus, where
            they tell less of what it does.
    """
    parts = zip(split_digits(seed), (train, test), strict=True)
    train_clips, test_clips = (
        _clips(digits, count, [seed, place], centred) for place, (digits, count) in enumerate(parts)
    )
    return train_clips, test_clips


def _clips(digits: Digits, count: int, key: list[int], centred: bool) -> Clips:
    random = np.random.default_rng(key)
    actions = random.permutation(np.arange(count) % len(ACTIONS))
    chosen = random.integers(len(digits.labels), size=count)
    frames = [
        _placed(digits.pixels[digit], int(action), [*key, row], centred)
        for row, (digit, action) in enumerate(zip(chosen, actions, strict=True))
    ]
    return Clips(np.stack(frames), actions, digits.labels[chosen])


def _placed(digit: NDArray[np.uint8], action: int, key: list[int], centred: bool) -> NDArray[np.uint8]:
    """:func:`shared.moving.clip`, rolled back by the random place at which it starts where that is to be the middle."""
    frames = clip(digit, action, np.random.default_rng(key))
    place = np.random.default_rng(key).integers(SIDE, size=2)  # the first thing that it draws
    return np.roll(frames, -place, axis=(1, 2)) if centred else frames


def still_digits(seed: int, count: int) -> NDArray[np.uint8]:
    """Training digits ``(N, S, S)`` as large as a frame, each in the middle, between a quarter and half of the side."""
    random, pixels = np.random.default_rng([seed, 2]), split_digits(seed)[0].pixels[:count]
    stills = np.stack([_still(digit, int(random.integers(SIDE // 4, SIDE // 2 + 3))) for digit in pixels])
    return (stills + 255 * NOISE * random.standard_normal(stills.shape)).round().clip(0, 255).astype(np.uint8)


def _still(digit: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    canvas, corner = Image.new("L", (SIDE, SIDE)), (SIDE - size) // 2
    canvas.paste(Image.fromarray(digit).resize((size, size), Image.Resampling.BILINEAR), (corner, corner))
    return np.asarray(canvas)


def as_frames(frames: NDArray[np.uint8]) -> Tensor:
    """Grey pictures ``(..., S, S)`` as ``(..., 3, S, S)`` in [-1, 1]."""
    pixels = torch.from_numpy(frames).float() / 127.5 - 1
    return pixels.unsqueeze(-3).expand(*frames.shape[:-2], 3, *frames.shape[-2:])


def view_of_clip(x: Tensor, area: tuple[float, float] = (0.6, 1.0)) -> Tensor:
    """Another view of clips ``(B, T, 3, S, S)`` or pictures: one crop, contrast and brightness for all their frames."""
    count, (low, high), flat = len(x), area, x.flatten(1, -3)
    side = (low + (high - low) * torch.rand(count)).sqrt()
    shift = (2 * torch.rand(count, 2) - 1) * (1 - side)[:, None]
    zoom = side[:, None, None] * torch.eye(2)
    grid = F.affine_grid(torch.cat([zoom, shift[..., None]], dim=2), list(flat.shape), align_corners=False)
    seen = F.grid_sample(flat, grid, align_corners=False).view(x.shape)
    more = (count, *[1] * (x.ndim - 1))
    return (seen + 1) * (0.6 + 0.8 * torch.rand(more)) - 1
