"""What a comparison came to: the arms side by side, made anew or read from its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.evaluation.metric import Metric
from accord.evaluation.seeds import seeds_interval
from accord.files import reading
from accord.pipeline.folder import COMPARISON
from accord.report import summary as report


def side_by_side(
    arms: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, Mapping[str, Sequence[float]]],
    chance: Mapping[str, float | None],
    shown: Sequence[str],
    seeds: int,
    units: Mapping[str, str],
) -> report.Comparison:
    """The means of the metrics that are shown, with their intervals, of each arm."""
    found = []
    for name, arm in arms.items():
        metrics = [
            Metric(metric, *seeds_interval(values[name][metric]), chance.get(metric), seeds, units.get(metric, "%"))
            for metric in shown
            if metric in values[name]
        ]
        found.append(report.Arm(name, tuple(metrics), arm["role"], arm["note"]))
    return report.Comparison(tuple(found), seeds)


@dataclass(frozen=True)
class Compared:
    """What a comparison came to, as its folder keeps it.

    Args:
        title: headline.
        table: the arms side by side.
        sentences: what the table says, in words.
        seconds: wall time of all arms.
    """

    title: str
    table: report.Comparison
    sentences: tuple[str, ...]
    seconds: float


def read_comparison(folder: Path) -> Compared:
    """What the comparison in a folder came to.

    Raises:
        StorageError: there is none, or its file is damaged.
    """
    path = folder / COMPARISON
    with reading(path, "the same comparison with --resume writes it anew"):
        kept = json.loads(path.read_text(encoding="utf-8"))
        values = kept["values"]
        usual = {name: {"role": "baseline", "note": ""} for name in values}  # older files say no more of the arms
        shown = kept.get("shown", list(dict.fromkeys(metric for arm in values.values() for metric in arm)))
        units = kept.get("units", {})
        table = side_by_side(kept.get("arms", usual), values, kept["chance"], shown, kept["seeds"], units)
        return Compared(kept["title"], table, tuple(kept["sentences"]), kept["seconds"])
