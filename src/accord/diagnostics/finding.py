"""What a measure finds: numbers, each with a sentence on how to read it, and panels of a figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from accord.evaluation.metric import Metric

Panel = Callable[["Axes"], None]  # draws one part of a figure


@dataclass(frozen=True)
class Diagnostic:
    """A named number and what it means.

    Args:
        name: what it is called.
        value: the number, in ``unit``.
        meaning: how to read it.
        low: lower end of the 95 % interval, or None where there is none.
        high: upper end of it.
        chance: what embeddings that know nothing would give, or None where that has no meaning.
        n: number of rows it was measured on, or None where nobody counted.
        unit: ``"%"`` for shares, ``""`` for the rest.

    Example:
        >>> Diagnostic("image purity at 10", 61.25, "of its neighbours", chance=10.0, n=200, unit="%").shown
        '61.2 %'
    """

    name: str
    value: float
    meaning: str
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    n: int | None = None
    unit: str = ""

    @classmethod
    def of(cls, metric: Metric, meaning: str) -> Diagnostic:
        """A metric, with how to read it."""
        return cls(
            metric.name, metric.value, meaning, metric.low, metric.high, metric.chance, metric.n, unit=metric.unit
        )

    @property
    def shown(self) -> str:
        """The value as it is printed."""
        return f"{self.text(self.value)} {self.unit}".rstrip()

    def text(self, value: float | None) -> str:
        """A number in the unit of this one, without the unit; empty for None."""
        return "" if value is None else f"{value:.{1 if self.unit else 2}f}"

    def to_dict(self) -> dict[str, Any]:
        """The number as JSON holds it."""
        return asdict(self)


@dataclass(frozen=True)
class Finding:
    """What measures found.

    Args:
        numbers: in the order in which they are told.
        panels: what draws the figure, one panel each; nothing is computed for them before they are drawn.
    """

    numbers: list[Diagnostic]
    panels: tuple[Panel, ...] = ()
