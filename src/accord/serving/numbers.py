"""Numbers as the routes for programs give them."""

from __future__ import annotations

import math

from pydantic import BaseModel

from accord.diagnostics import Diagnostic
from accord.evaluation.metric import Metric


class Number(BaseModel):
    """A measured number; None stands for what is not there, or not finite.

    Example:
        >>> Number.of(Metric("top-1", 50.0, 40.0, 60.0, 10.0, 99)).high
        60.0
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    chance: float | None
    n: int | None
    unit: str
    meaning: str = ""

    @classmethod
    def of(cls, found: Metric | Diagnostic) -> Number:
        """What was measured."""
        low, high, chance, value = map(finite, (found.low, found.high, found.chance, found.value))
        meaning = found.meaning if isinstance(found, Diagnostic) else ""
        return cls(
            name=found.name, value=value, low=low, high=high, chance=chance, n=found.n, unit=found.unit, meaning=meaning
        )


def finite(value: float | None) -> float | None:
    """The number, or None where JSON cannot say it.

    >>> finite(float("nan")), finite(2.0)
    (None, 2.0)
    """
    return None if value is None or not math.isfinite(value) else value
