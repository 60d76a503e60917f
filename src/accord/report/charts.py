"""Geometry of the report's charts: numbers in, coordinates out; the template draws them as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accord.evaluation.metric import Metric
from accord.report.summary import Comparison, Confusion, Curve, Curves, Point, Relations

_MAX_POINTS = 160  # of one drawn line; more are averaged
_TITLES = {"lr": "learning rate", "rows_per_second": "rows per second"}  # terms that are not losses come last


@dataclass(frozen=True)
class Scale:
    """A linear map from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixel of ``value``, to a tenth.

        >>> Scale(0, 10, 100, 0)(2.5)
        75.0
        """
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, count: int = 4) -> list[tuple[float, str]]:
        """Pixels and labels of about ``count`` round values within the range."""
        values = round_values(self.low, self.high, count)
        return [(self(value), f"{value:,.10g}".replace(",", "\u202f")) for value in values]


def round_values(low: float, high: float, count: int = 4) -> list[float]:
    """About ``count`` round numbers between ``low`` and ``high``.

    >>> round_values(0.3, 9.7)
    [2.0, 4.0, 6.0, 8.0]
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(math.log(factor * power / rough)))
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    """Range of ``values`` with some air; never empty."""
    low, high = min(values), max(values)
    size = max(abs(low), abs(high), 1e-6)
    air = (high - low) * share if high - low > 1e-6 * size else 0.1 * size
    return low - air, high + air


@dataclass(frozen=True)
class Line:
    """One polyline: ``series`` picks the colour, ``dots`` are (x, y, tooltip)."""

    name: str
    series: int
    points: str
    dots: list[tuple[float, float, str]]


@dataclass(frozen=True)
class Panel:
    """A small chart: one training term over all stages, or the lines of a task."""

    title: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    borders: list[float]
    last: str

    width = 340
    height = 190
    left = 56
    right = 332
    top = 12
    bottom = 160


def curve_panels(curves: Mapping[str, Curve]) -> list[Panel]:
    """One panel per term, ``total`` first; the stages lie end to end on a common axis of steps.

    A term that is the total itself, as where a loss has but one, is left out.

    >>> [panel.title for panel in curve_panels({"a/lr": [(0, 1.0)], "a/total": [(0, 2.0), (9, 1.0)]})]
    ['total', 'learning rate']
    """
    curves = {name: points for name, points in curves.items() if points}
    offsets = _stage_offsets(curves)
    end = max((offset + length for offset, length in offsets.values()), default=1)
    return [_panel(term, curves, offsets, Scale(0, end, Panel.left, Panel.right)) for term in terms_of(curves)]


def terms_of(curves: Mapping[str, Curve]) -> list[str]:
    """The terms to draw, ``total`` first and what is no loss last, without those that are the total itself.

    >>> terms_of({"a/lr": [(0, 1.0)], "a/total": [(0, 2.0)], "a/gap": [(0, 1.0)]})
    ['total', 'gap', 'lr']
    """
    terms = [term for term in dict.fromkeys(name.partition("/")[2] for name in curves) if not _is_total(term, curves)]
    return sorted(terms, key=lambda term: (term != "total", term in _TITLES))


def title_of(term: str) -> str:
    """What a term is called on its panel.

    >>> title_of("lr"), title_of("logit_scale")
    ('learning rate', 'logit scale')
    """
    return _TITLES.get(term, term.replace("_", " "))


def lines_panel(curves: Curves) -> Panel:
    """The lines that a task shows, over their common axis; what is not a number is left out.

    >>> lines_panel(Curves("", {"found": [(0.0, 100.0), (1.0, 50.0)]}, x="IoU", y="recall")).lines[0].dots[1][2]
    'found, IoU 1: 50'
    """
    lines = {name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in curves.lines.items()}
    places = [point for points in lines.values() for point in points] or [(0.0, 0.0)]
    x = Scale(*padded([place for place, _ in places], 0.0), Panel.left, Panel.right)
    y = Scale(*padded([value for _, value in places]), Panel.bottom, Panel.top)
    drawn = []
    for number, (name, points) in enumerate(lines.items()):
        dots = [(x(at), y(value), f"{name}, {curves.x} {at:.4g}: {value:.4g}") for at, value in points]
        drawn.append(Line(name, number, " ".join(f"{px},{py}" for px, py, _ in dots), dots))
    return Panel(f"{curves.y} over {curves.x}", drawn, x.ticks(), y.ticks(), [], "")


def _is_total(term: str, curves: Mapping[str, Curve]) -> bool:
    """Whether a term has the total's values wherever it occurs."""
    stages = [stage for stage, _, name in (name.partition("/") for name in curves) if name == term]
    return term != "total" and all(curves[f"{stage}/{term}"] == curves.get(f"{stage}/total") for stage in stages)


def _stage_offsets(curves: Mapping[str, Curve]) -> dict[str, tuple[int, int]]:
    """Stage -> (first step on the common axis, number of steps)."""
    lengths: dict[str, int] = {}
    for name, points in curves.items():
        stage = name.partition("/")[0]
        lengths[stage] = max(lengths.get(stage, 0), points[-1][0] + 1)
    offsets, start = {}, 0
    for stage, length in lengths.items():
        offsets[stage] = (start, length)
        start += length
    return offsets


def _panel(term: str, curves: Mapping[str, Curve], offsets: Mapping[str, tuple[int, int]], x: Scale) -> Panel:
    present = {stage: thinned(curves[f"{stage}/{term}"]) for stage in offsets if f"{stage}/{term}" in curves}
    values = [value for points in present.values() for _, value in points]
    y = Scale(*padded(values), Panel.bottom, Panel.top)
    lines = [
        _line(stage, list(offsets).index(stage), points, offsets[stage][0], x, y) for stage, points in present.items()
    ]
    borders = [x(start) for start, _ in offsets.values() if start]
    return Panel(title_of(term), lines, x.ticks(), y.ticks(), borders, f"{values[-1]:.4g}")


def _line(stage: str, series: int, points: Sequence[Point], offset: int, x: Scale, y: Scale) -> Line:
    dots = [(x(step + offset), y(value), f"{stage}, step {step:.0f}: {value:.4g}") for step, value in points]
    return Line(stage, series, " ".join(f"{px},{py}" for px, py, _ in dots), dots)


def thinned(points: Curve, most: int = _MAX_POINTS) -> list[Point]:
    """At most so many points, each the mean of its neighbours.

    >>> thinned([(0, 4.0), (1, 2.0), (2, 1.0)], most=2)
    [(0.5, 3.0), (2.0, 1.0)]
    """
    size = max(math.ceil(len(points) / most), 1)
    chunks = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        (sum(step for step, _ in chunk) / len(chunk), sum(value for _, value in chunk) / len(chunk)) for chunk in chunks
    ]


@dataclass(frozen=True)
class Whisker:
    """A value with its interval and chance level, in percent of the axis; None where there is none."""

    value: float
    low: float | None
    high: float | None
    chance: float | None


def whisker(metric: Metric, low: float = 0.0, high: float = 100.0) -> Whisker | None:
    """Where the metric lies on an axis from ``low`` to ``high``; None for a value that is not a finite share.

    >>> whisker(Metric("top-1", 60.0, 50.0, 70.0, 10.0, 99), high=200.0)
    Whisker(value=30.0, low=25.0, high=35.0, chance=5.0)
    """
    if metric.unit != "%" or not math.isfinite(metric.value):
        return None
    scale = Scale(low, high, 0.0, 100.0)

    def place(value: float | None) -> float | None:
        return None if value is None or not math.isfinite(value) else min(max(scale(value), 0.0), 100.0)

    chance = metric.chance if metric.chance is not None and low <= metric.chance <= high else None
    return Whisker(place(metric.value) or 0.0, place(metric.low), place(metric.high), place(chance))


def comparison_axis(comparison: Comparison, name: str) -> tuple[float, float] | None:
    """A range that holds all arms' values and intervals of the share ``name``, rounded outwards to tens.

    None where the metric is not a share, or nowhere finite.
    """
    ends = [
        end
        for arm in comparison.arms
        for metric in arm.metrics
        if metric.name == name and metric.unit == "%"
        for end in (metric.value, metric.low, metric.high)
        if end is not None and math.isfinite(end)
    ]
    if not ends:
        return None
    low, high = padded(ends)
    return max(math.floor(low / 10) * 10.0, 0.0), min(math.ceil(high / 10) * 10.0, 100.0)


@dataclass(frozen=True)
class Cell:
    """One cell of a matrix of classes; ``share``, between 0 and 1, is the opacity."""

    x: int
    y: int
    share: float
    tooltip: str
    diagonal: bool
    text: str


def heatmap(confusion: Confusion) -> list[Cell]:
    """The non-empty cells of a confusion matrix, each by its share of the row."""
    return [
        Cell(
            predicted,
            true,
            round(count / sum(row), 3),
            f"{confusion.classes[true]} taken for {confusion.classes[predicted]}: {count} of {sum(row)}",
            true == predicted,
            str(count),
        )
        for true, row in enumerate(confusion.counts)
        for predicted, count in enumerate(row)
        if count
    ]


def relation_cells(relations: Relations) -> list[Cell]:
    """A cell for every pair of classes, the smallest value pale and the largest dark; written in hundredths.

    >>> cells = relation_cells(Relations("", ("cat", "dog"), [[1.0, 0.25], [0.25, 1.0]]))
    >>> [(cell.share, cell.text) for cell in cells], cells[1].tooltip
    ([(1.0, '100'), (0.0, '25'), (0.0, '25'), (1.0, '100')], 'cat and dog: 0.250')
    """
    values = [value for row in relations.values for value in row]
    low, high = min(values), max(values)
    return [
        Cell(
            second,
            first,
            round((value - low) / (high - low), 3) if high > low else 1.0,
            f"{relations.classes[first]} and {relations.classes[second]}: {value:.3f}",
            first == second,
            f"{100 * value:.0f}".replace("-", "\u2212"),
        )
        for first, row in enumerate(relations.values)
        for second, value in enumerate(row)
    ]


@dataclass(frozen=True)
class Cloud:
    """Points of several groups in a picture of ``width`` × ``height`` pixels."""

    width: int
    height: int
    groups: dict[str, list[Point]]


def scatter(groups: Mapping[str, Sequence[Point]], width: int = 440) -> Cloud:
    """Points with the same unit on both axes, so that distances can be read.

    >>> scatter({"a": [(0.0, 0.0), (2.0, 1.0)]}).height
    220
    """
    points = [point for group in groups.values() for point in group]
    (left, right), (bottom, top) = (padded([point[axis] for point in points]) for axis in (0, 1))
    height = min(max(round(width * (top - bottom) / (right - left)), width // 3), width)
    unit = min(width / (right - left), height / (top - bottom))  # pixels
    margin_x, margin_y = (width - unit * (right - left)) / 2, (height - unit * (top - bottom)) / 2
    x = Scale(left, right, margin_x, width - margin_x)
    y = Scale(bottom, top, height - margin_y, margin_y)
    return Cloud(width, height, {name: [(x(px), y(py)) for px, py in group] for name, group in groups.items()})
