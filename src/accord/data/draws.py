"""Random choices that depend on nothing but what they are for: no generator is shared or advanced.

A choice is a hash of (seed, purpose, epoch, row, ...), so it is the same in whatever order, by whichever
worker and after however many interruptions the rows are read. The hash is the finaliser of SplitMix64
(Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014), key by key, over all rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class Purpose(IntEnum):
    """What a choice is for; choices for different purposes are independent."""

    ORDER = 0
    VIEW = 1
    CAPTION = 2
    VARIANT = 3
    REPLACEMENT = 4
    SHUFFLE = 5
    TEXT_VIEW = 6
    MOMENT = 7


@dataclass(frozen=True)
class Draws:
    """What the random choices for a row, or for the rows of a batch, hang on; it reaches all that reads and cuts them.

    Args:
        seed: of the run.
        epoch: which pass over the data, or ``(B,)`` that of each row.
        row: number of the row, or ``(B,)`` of several.
        training: False where nothing is drawn: first caption, middle frames, evaluation view.

    Example:
        >>> draws = Draws(seed=0, epoch=3, row=11, training=True)
        >>> draws.hashes(Purpose.CAPTION) == draw(0, Purpose.CAPTION, 3, 11)
        array([ True])
    """

    seed: int = 0
    epoch: int | np.ndarray = 0
    row: int | np.ndarray = 0
    training: bool = False

    def hashes(self, purpose: Purpose, *more: ArrayLike) -> np.ndarray:
        """Uniform 64-bit hashes for a purpose: one a row, or one a row and entry of ``more``, rows first."""
        axes = (1,) * max((np.ndim(keys) for keys in more), default=0)
        epoch, row = (np.asarray(keys).reshape(np.shape(keys) + axes) for keys in (self.epoch, self.row))
        return draw(self.seed, purpose, epoch, row, *more)

    def shares(self, purpose: Purpose, *more: ArrayLike) -> np.ndarray:
        """The same as uniform numbers in [0, 1)."""
        return (self.hashes(purpose, *more) >> np.uint64(11)) / 2.0**53


UNDRAWN = Draws()  # for what is read as evaluation reads it


def draw(*keys: ArrayLike) -> np.ndarray:
    """Uniform 64-bit hashes of the keys (non-negative integers or arrays of them, broadcast together).

    Example:
        >>> draw(0, Purpose.CAPTION, 3, [10, 11]) % 5
        array([...], dtype=uint64)
        >>> bool((draw(1, [2, 3]) == draw(1, [2, 3])).all()), bool(draw(1, 2)[0] == draw(2, 1)[0])
        (True, False)
    """
    state = np.zeros(1, dtype=np.uint64)
    for key in keys:
        values = np.atleast_1d(np.asarray(key)).astype(np.uint64)
        state = _scramble((state + _GOLDEN) ^ _scramble(values + _GOLDEN))
    return state


def seed_of(*keys: int) -> int:
    """One seed in [0, 2⁶³) for a generator.

    >>> seed_of(0, 1) == seed_of(0, 1) != seed_of(1, 0)
    True
    """
    return int(draw(*keys)[0] >> np.uint64(1))


def _scramble(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))
