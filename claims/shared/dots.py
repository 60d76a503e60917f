"""Digits and a dot: clips of three real 8×8 digits that stand still, above a dot that moves in one of eight directions.

The digits are what a clip shows, a thousand combinations; the direction is what happens, and no single frame tells it.
A caption names both. Test clips are made of digits that training does not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.digits import Digits, split_digits

SIDE, FRAMES, NOISE = 24, 6, 0.1  # pixels, frames, standard deviation over white
FIELD = SIDE - 8  # rows in which the dot moves, on a torus
DOT, SPEED = 3, 2  # pixels, and pixels a frame
DIRECTIONS = (  # rows and columns a frame over the speed, in the order of the angle
    ("right", (0, 1)),
    ("down right", (1, 1)),
    ("down", (1, 0)),
    ("down left", (1, -1)),
    ("left", (0, -1)),
    ("up left", (-1, -1)),
    ("up", (-1, 0)),
    ("up right", (-1, 1)),
)
SLOTS = 4  # three digits and a direction
WORDS = (*(str(digit) for digit in range(10)), *(name.replace(" ", "-") for name, _ in DIRECTIONS))


class Clips(NamedTuple):
    """Clips and what they show.

    Args:
        frames: ``(N, T, S, S)`` float32, black 0 and white 1.
        said: ``(N, 4)`` int64, three digits and the number of a direction.
    """

    frames: Tensor
    said: NDArray[np.int64]


@lru_cache(maxsize=1)
def dot_clips(seed: int, train: int, test: int) -> tuple[Clips, Clips]:
    """Clips for training and for testing."""
    parts = zip(split_digits(seed), (train, test), strict=True)
    first, second = (
        _clips(digits, count, np.random.default_rng([seed, place])) for place, (digits, count) in enumerate(parts)
    )
    return first, second


def caption(said: Sequence[int]) -> str:
    """What a clip's caption is.

    >>> caption([3, 0, 7, 3])
    '3 0 7 down-left'
    """
    *digits, direction = said
    return " ".join([*(WORDS[digit] for digit in digits), WORDS[10 + direction]])


def likeness(first: int, second: int) -> float:
    """How alike two directions are: 1 for the same one, 0 for the opposite.

    >>> [round(likeness(0, other), 2) for other in (0, 1, 2, 4)]
    [1.0, 0.85, 0.5, 0.0]
    """
    return float(1 + np.cos(2 * np.pi * (first - second) / len(DIRECTIONS))) / 2


def altered(said: Sequence[int], slot: int, count: int, random: np.random.Generator) -> list[list[int]]:
    """A caption with ``count`` other words in one of its slots."""
    words = len(DIRECTIONS) if slot == SLOTS - 1 else 10
    others = [word for word in range(words) if word != said[slot]]
    return [[*said[:slot], int(word), *said[slot + 1 :]] for word in random.choice(others, count, replace=False)]


def _clips(digits: Digits, count: int, random: np.random.Generator) -> Clips:
    chosen = random.integers(len(digits.labels), size=(count, 3))
    directions = random.integers(len(DIRECTIONS), size=count)
    frames = np.zeros((count, FRAMES, SIDE, SIDE), dtype=np.float32)
    frames[:, :, :8] = np.concatenate(list((digits.pixels[chosen] / 255).swapaxes(0, 1)), axis=2)[:, None]
    dot = np.zeros((FIELD, SIDE), dtype=np.float32)
    dot[:DOT, :DOT] = 1
    for clip, direction in enumerate(directions):
        start, step = random.integers((FIELD, SIDE)), np.array(DIRECTIONS[direction][1])
        for time in range(FRAMES):
            frames[clip, time, 8:] = np.roll(dot, start + SPEED * time * step, axis=(0, 1))
    frames += NOISE * random.standard_normal(frames.shape, dtype=np.float32)
    said = np.concatenate([digits.labels[chosen], directions[:, None]], axis=1)
    return Clips(torch.from_numpy(frames), said)
