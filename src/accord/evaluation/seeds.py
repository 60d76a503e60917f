"""Intervals over seeds: what several trainings of one arm say, and what two arms say about each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from accord.errors import ShapeError
from accord.evaluation.bootstrap import LEVEL


class Interval(NamedTuple):
    """A mean over seeds and the ends of its 95 % interval (None with fewer than two seeds)."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.1f}"
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


def seeds_interval(values: Sequence[float]) -> Interval:
    """Student's t interval of the mean of one value per seed.

    Raises:
        ShapeError: no values.

    Example:
        >>> str(seeds_interval([50.0, 52.0, 54.0, 51.0, 53.0]))
        '52.0 [50.0, 54.0]'
        >>> seeds_interval([50.0])
        Interval(value=50.0, low=None, high=None)
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0:
        raise ShapeError(f"values: shape {sample.shape}; expected one value per seed")
    mean = float(sample.mean())
    if sample.size == 1:
        return Interval(mean, None, None)
    error = sample.std(ddof=1) / np.sqrt(sample.size)
    half = float(stdtrit(sample.size - 1, (1 + LEVEL) / 2) * error)
    return Interval(mean, mean - half, mean + half)


def paired_interval(first: Sequence[float], second: Sequence[float]) -> Interval:
    """t interval of ``first - second`` over shared seeds; it excludes 0 when the arms differ.

    Args:
        first: one value per seed of one arm.
        second: one value per seed of the other arm, in the same order of seeds.

    Raises:
        ShapeError: the arms have different numbers of seeds.

    Example:
        >>> paired_interval([3.0, 5.0, 4.0], [1.0, 3.0, 2.0])
        Interval(value=2.0, low=2.0, high=2.0)
    """
    if len(first) != len(second):
        raise ShapeError(f"paired arms: {len(first)} and {len(second)} seeds; run both arms on the same seeds")
    return seeds_interval([one - other for one, other in zip(first, second, strict=True)])
