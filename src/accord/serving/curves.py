"""Training curves as charts: one a term, with a line for each run or stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.files import reading
from accord.report.charts import terms_of, thinned, title_of
from accord.report.curves import read_curves
from accord.report.summary import Curve

LOG = "train.jsonl"
_POINTS = 800  # of one line
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """The chart of one term.

    Args:
        term: as the log calls it.
        title: as people do.
        last: the last value of its only line; None of several.
        option: what ECharts draws.
    """

    term: str
    title: str
    last: float | None
    option: Mapping[str, Any]


def curves_of(folder: Path, most: int = _POINTS) -> dict[str, Points]:
    """``stage/term`` -> at most so many points of the run in a folder; nothing where it has no log yet.

    Raises:
        StorageError: the log is damaged.
    """
    return {name: thinned(points, most) for name, points in _curves(folder).items()}


def charts_of_run(folder: Path) -> list[Chart]:
    """A chart a term, a line for each stage that has it."""
    curves, charts = _curves(folder), []
    for term in terms_of(curves):
        lines = {name.partition("/")[0]: thinned(curve, _POINTS) for name, curve in curves.items() if _is(name, term)}
        charts.append(_chart(term, lines))
    return charts


def charts_of_runs(folders: Mapping[str, Path]) -> list[Chart]:
    """A chart a term, a line for each run that has it, over all of its stages.

    Args:
        folders: name of a run -> where it is.
    """
    logs = {name: _curves(folder) for name, folder in folders.items()}
    terms = dict.fromkeys(term for curves in logs.values() for term in terms_of(curves))
    return [_chart(term, _lines_of(term, logs), legend=True) for term in terms]


def _curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    log = folder / LOG
    if not log.is_file():
        return {}
    with reading(log, "delete it; only the curves are lost"):
        return read_curves(log)


def _lines_of(term: str, logs: Mapping[str, Mapping[str, Curve]]) -> dict[str, Points]:
    """The line of each run, from its stages, which are numbered on."""
    lines: dict[str, Points] = {}
    for run, curves in logs.items():
        points = sorted(point for name, curve in curves.items() if _is(name, term) for point in curve)
        if points:
            lines[run] = thinned(points, _POINTS)
    return lines


def _is(name: str, term: str) -> bool:
    return name.partition("/")[2] == term


def _chart(term: str, lines: Mapping[str, Points], legend: bool = False) -> Chart:
    several = legend or len(lines) > 1
    series = [
        {
            "name": name,
            "type": "line",
            "data": points,
            "showSymbol": len(points) == 1,
            "lineStyle": {"width": 1.8},
            "emphasis": {"disabled": True},
        }
        for name, points in lines.items()
    ]
    option = {
        "grid": {"left": 8, "right": 16, "top": 40 if several else 16, "bottom": 8, "containLabel": True},
        "xAxis": {"type": "value", "min": "dataMin", "max": "dataMax", "splitLine": {"show": False}},
        "yAxis": {"type": "value", "scale": True},
        "tooltip": {"trigger": "axis"},
        "dataZoom": [{"type": "inside", "zoomOnMouseWheel": "ctrl", "moveOnMouseWheel": False}],
        "series": series,
        **({"legend": {"top": 4, "left": 0, "right": 0}} if several else {}),
    }
    only = next(iter(lines.values())) if len(lines) == 1 else ()
    return Chart(term, title_of(term), only[-1][1] if only else None, option)
