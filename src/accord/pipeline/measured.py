"""What a comparison has measured: a file per arm and seed, so that a stopped one goes on, and the time that is left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accord import __version__
from accord.evaluation.metric import Metric
from accord.files import reading, write_atomically
from accord.pipeline.config import RunConfig
from accord.pipeline.folder import MEASURED


@dataclass(frozen=True)
class Outcome:
    """One arm on one seed.

    Args:
        arm: its name.
        metrics: what was measured on held-out rows.
        seconds: how long training and measuring took.
    """

    arm: str
    metrics: list[Metric]
    seconds: float


class Measured:
    """The outcomes in the folder of a comparison, each under the settings that it was measured with.

    Args:
        folder: the comparison's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / MEASURED

    def read(self, arm: str, run: RunConfig) -> Outcome | None:
        """The outcome of these very settings, None where there is none yet.

        Raises:
            StorageError: its file is damaged.
        """
        path = self._path(arm, run)
        if not path.is_file():
            return None
        with reading(path, "delete it, and the same command with --resume measures this arm anew"):
            found = json.loads(path.read_text(encoding="utf-8"))
            return Outcome(arm, [Metric.from_dict(metric) for metric in found["metrics"]], found["seconds"])

    def write(self, run: RunConfig, outcome: Outcome) -> None:
        """Keep an outcome."""
        record = {"seconds": outcome.seconds, "metrics": [metric.to_dict() for metric in outcome.metrics]}
        write_atomically(self._path(outcome.arm, run), json.dumps(record, indent=2))

    def _path(self, arm: str, run: RunConfig) -> Path:
        settings = json.dumps([__version__, run.model_dump(mode="json")], sort_keys=True)
        digest = hashlib.blake2b(settings.encode(), digest_size=6).hexdigest()
        return self.folder / f"{arm}-{run.training.seed}-{digest}.json"


def time_left(done: Sequence[Outcome], waiting: Sequence[str]) -> float | None:
    """Seconds that the waiting arms take: each as long as it took so far, new ones as long as the mean arm.

    Example:
        >>> time_left([Outcome("short", [], 10.0), Outcome("long", [], 50.0)], ["short", "long", "new"])
        90.0
        >>> time_left([], ["short"]) is None
        True
    """
    if not done:
        return None
    means = {arm: _mean([outcome.seconds for outcome in done if outcome.arm == arm]) for arm in {o.arm for o in done}}
    usual = _mean([outcome.seconds for outcome in done])
    return sum(means.get(arm, usual) for arm in waiting)


def in_words(seconds: float) -> str:
    """A duration to read.

    >>> in_words(8.4), in_words(75), in_words(900), in_words(7000)
    ('8 s', '1 min 15 s', '15 min', '1 h 56 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 10:
        return f"{minutes} min {rest} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
