"""A number as Accord reports it: with its chance level, its 95 % interval and the number of items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from accord.evaluation.bootstrap import bootstrap_interval, bootstrap_totals, percentile_interval

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Metric", "bootstrap_interval", "format_metrics", "mean_metric", "ratio_metric"]


@dataclass(frozen=True)
class Metric:
    """One measured number.

    Args:
        name: what it is called in tables and in ``metrics.json``.
        value: the number, in ``unit``.
        low: lower end of the 95 % interval, or None when there is none.
        high: upper end of the 95 % interval.
        chance: what guessing would give, or None where that has no meaning.
        n: number of items it was measured on.
        unit: ``"%"`` for shares, ``""`` for ranks and sums.

    Example:
        >>> str(Metric("top-1", 61.25, 57.0, 65.5, chance=10.0, n=200))
        'top-1 61.2 % [57.0, 65.5], chance 10.0, n = 200'
    """

    name: str
    value: float
    low: float | None
    high: float | None
    chance: float | None
    n: int
    unit: str = "%"

    def to_dict(self) -> dict[str, Any]:
        """The plain dict that ``metrics.json`` holds; NaN becomes None, which JSON can say."""
        return {key: None if isinstance(item, float) and np.isnan(item) else item for key, item in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Metric:
        """The inverse of :meth:`to_dict`.

        >>> metric = Metric("top-1", 50.0, 40.0, 60.0, 10.0, 99)
        >>> Metric.from_dict(metric.to_dict()) == metric
        True
        """
        return cls(**{**values, "value": np.nan if values["value"] is None else values["value"]})

    @property
    def interval(self) -> str:
        """``[low, high]`` as printed, empty when there is no interval."""
        return "" if self.low is None or self.high is None else f"[{self.low:.1f}, {self.high:.1f}]"

    def __str__(self) -> str:
        value = f"{self.value:.1f} {self.unit}".rstrip()
        chance = "" if self.chance is None else f", chance {self.chance:.1f}"
        return f"{' '.join([self.name, value, self.interval]).rstrip()}{chance}, n = {self.n}"


def mean_metric(name: str, scores: ArrayLike, *, chance: float | None, groups: ArrayLike | None = None) -> Metric:
    """A share in percent: the mean of 0/1 scores and its interval; NaN without any item.

    Args:
        name: name of the metric.
        scores: ``(N,)`` in [0, 1].
        chance: chance level in percent.
        groups: ``(N,)`` items of equal value are resampled together.

    Example:
        >>> mean_metric("top-1", [1, 1, 1, 0], chance=25.0).value
        75.0
    """
    values = np.asarray(scores, dtype=np.float64)
    if len(values) == 0:
        return Metric(name, np.nan, None, None, chance, 0)
    low, high = bootstrap_interval(100 * values, groups=groups)
    return Metric(name, float(100 * values.mean()), low, high, chance, len(values))


def ratio_metric(
    name: str,
    parts: ArrayLike,
    ratio: Callable[[Any], Any],
    *,
    chance: float | None,
    groups: ArrayLike | None = None,
    unit: str = "%",
) -> Metric:
    """Any function of column sums (precision, macro averages, F1), with a joint bootstrap of its columns.

    Args:
        name: name of the metric.
        parts: ``(N, M)`` additive quantities of each item.
        ratio: maps totals ``(R, M)`` to ``(R,)`` in ``unit``; undefined resamples give NaN.
        chance: chance level in ``unit``.
        groups: ``(N,)`` items of equal value are resampled together.
        unit: unit of the value.

    Example:
        >>> hits_and_trials = [[1, 1], [0, 1], [0, 0], [1, 1]]
        >>> share = lambda totals: 100 * totals[:, 0] / totals[:, 1]
        >>> round(ratio_metric("precision", hits_and_trials, share, chance=None).value, 1)
        66.7
    """
    values = np.asarray(parts, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(ratio(values.sum(axis=0, keepdims=True))[0])
        samples = ratio(bootstrap_totals(values, groups=groups))
    low, high = (None, None) if np.isnan(samples).all() else percentile_interval(samples)
    return Metric(name, value, low, high, chance, len(values), unit)


def format_metrics(metrics: Iterable[Metric], title: str | None = None) -> Table:
    """The metrics as a table for the terminal: value, 95 % interval, chance level, number of items.

    >>> format_metrics([Metric("top-1", 50.0, 40.0, 60.0, 10.0, 99)]).row_count
    1
    """
    from rich.table import Table

    table = Table(title=title)
    table.add_column("metric")
    for heading in ("value", "95 % interval", "chance", "n"):
        table.add_column(heading, justify="right")
    for metric in metrics:
        table.add_row(metric.name, *_cells(metric))
    return table


def _cells(metric: Metric) -> Sequence[str]:
    value = f"{metric.value:.1f} {metric.unit}".rstrip()
    chance = "—" if metric.chance is None else f"{metric.chance:.1f}"
    return value, metric.interval or "—", chance, str(metric.n)
