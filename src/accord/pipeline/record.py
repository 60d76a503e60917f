"""What the folder of a run says of it: state, settings, numbers, what comes next. Small files are read, no model."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from accord.evaluation.metric import Metric
from accord.files import reading
from accord.pipeline.folder import is_owned
from accord.report.summary import RunSummary
from accord.training.artifact import CONFIG, WEIGHTS
from accord.training.standing import Standing, read_standing

METRICS, REPORT, NEXT = "metrics.json", "report.html", "next.txt"
State = Literal["training", "evaluating", "finished", "interrupted"]
_PARTS = ("data", "method", "training")
_ANEW = "put it back from a copy, or train anew into another folder"


@dataclass(frozen=True)
class Record:
    """A run, finished or not.

    Args:
        folder: its directory.
        state: whether it is at work, and with what.
        config: settings that it began with, without what was found out of the data.
        metrics: what was measured on held-out rows; empty before.
        standing: where training stands or ended; None of a run that did not say so.
    """

    folder: Path
    state: State
    config: Mapping[str, Any]
    metrics: tuple[Metric, ...]
    standing: Standing | None

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.config.get("method", {}).get("name", "clip"))

    @property
    def data(self) -> str:
        """What it was trained on."""
        return str(self.config.get("data", {}).get("source", ""))

    @property
    def epochs(self) -> int | None:
        """Passes over the data, for stages that do not say; None where the settings do not say either."""
        found = self.config.get("training", {}).get("epochs")
        return found if isinstance(found, int) else None

    @property
    def at_work(self) -> bool:
        """Whether a process writes into it."""
        return self.state in ("training", "evaluating")

    @property
    def headline(self) -> tuple[Metric, ...]:
        """The main figures, those on top of its report."""
        return RunSummary("", self.method, metrics=self.metrics).headline

    @property
    def settings(self) -> dict[str, Any]:
        """Dotted name -> value."""
        return dotted(self.config)

    def next_steps(self) -> tuple[str, ...]:
        """Commands to try next; of an interrupted run the one that goes on with it."""
        if self.state == "interrupted":
            return (shlex.join(("accord", "train", "--resume", "--out", str(self.folder))),)
        path = self.folder / NEXT
        if not path.is_file():
            return ()
        with reading(path, "delete it"):
            return tuple(path.read_text(encoding="utf-8").splitlines())


def read_record(folder: Path) -> Record:
    """The run in a folder.

    Raises:
        StorageError: one of its files is damaged.
    """
    path = folder / CONFIG
    with reading(path, _ANEW):
        status = path.stat()
        config = _config(path, status.st_mtime_ns, status.st_size)
    return Record(folder, _state(folder), config, tuple(read_metrics(folder)), read_standing(folder))


def read_metrics(folder: Path) -> list[Metric]:
    """What ``metrics.json`` of a run holds; nothing where it was not evaluated yet.

    Raises:
        StorageError: the file is damaged.
    """
    path = folder / METRICS
    if not path.is_file():
        return []
    with reading(path, "accord evaluate measures the run again"):
        record = json.loads(path.read_text(encoding="utf-8"))
        return [Metric.from_dict({"name": name, **values}) for name, values in record.items()]


def dotted(values: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names; an empty mapping stays one.

    >>> dotted({"method": {"name": "clip", "dim": 64}, "evaluate": []})
    {'method.name': 'clip', 'method.dim': 64, 'evaluate': []}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        inside = isinstance(value, Mapping) and value
        found |= dotted(value, f"{at}{name}.") if inside else {f"{at}{name}": value}
    return found


def _state(folder: Path) -> State:
    trained = (folder / WEIGHTS).is_file()
    if is_owned(folder):
        return "evaluating" if trained else "training"
    return "finished" if trained else "interrupted"


@lru_cache(maxsize=512)
def _config(path: Path, changed: int, size: int) -> Mapping[str, Any]:
    """The configuration of a file, read once for each version of it."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where libyaml is
    values = yaml.load(path.read_text(encoding="utf-8"), Loader=loader) or {}
    if not isinstance(values, dict) or not all(isinstance(values.get(part, {}), dict) for part in _PARTS):
        raise ValueError("no mapping of settings")
    return {key: values[key] for key in values if key != "data_info"}
