"""Where training stands, in ``progress.json`` beside the log, for those who look on from outside.

The file is small, whole at any moment, and written at most once a second. A resumed run writes it anew from where it
goes on; one that was killed leaves it as it stood.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from accord.files import reading, write_atomically

STANDING = "progress.json"
_PAUSE = 1.0  # seconds between two writings


@dataclass(frozen=True)
class Standing:
    """Where training stands.

    Args:
        stage: name of the stage.
        number: its number, from 1.
        stages: how many there are.
        epoch: epoch of the stage, from 1.
        epochs: how many it has.
        step: optimiser steps made in the stage.
        steps: how many it has.
        rows_per_second: at the last line of the log; None before the first.
        seconds_left: of the stage, at the pace since this process began it; None before the first line.
        at: when this was so, seconds since 1970.

    Example:
        >>> Standing("train", 1, 1, epoch=2, epochs=4, step=15, steps=40).share
        37.5
    """

    stage: str
    number: int
    stages: int
    epoch: int
    epochs: int
    step: int
    steps: int
    rows_per_second: float | None = None
    seconds_left: float | None = None
    at: float = 0.0

    @property
    def share(self) -> float:
        """How much of the stage is done, in percent."""
        return 100 * self.step / max(self.steps, 1)

    @property
    def done(self) -> bool:
        """Whether the last step of the last stage is made."""
        return self.number == self.stages and self.step >= self.steps


class StandingFile:
    """Keeps ``progress.json`` during one stage.

    Args:
        folder: of the run; None writes nothing.
        start: where the stage begins, or goes on.

    Raises:
        StorageError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> file = StandingFile(folder, Standing("train", 1, 1, epoch=1, epochs=2, step=0, steps=8))
        >>> file.line({"epoch": 1, "rows_per_second": 320.0}, 8)
        >>> read_standing(folder).epoch, read_standing(folder).done
        (2, True)
    """

    def __init__(self, folder: Path | None, start: Standing) -> None:
        self._path = None if folder is None else folder / STANDING
        self._start, self._began, self._written = start, time.monotonic(), 0.0
        self._write(start)

    def line(self, line: Mapping[str, Any], step: int) -> None:
        """Take up a line of the log after so many steps of the stage."""
        now = time.monotonic()
        if self._path is None or (now - self._written < _PAUSE and step < self._start.steps):
            return
        pace = (now - self._began) / max(step - self._start.step, 1)
        found = replace(self._start, epoch=line["epoch"] + 1, step=step, rows_per_second=line["rows_per_second"])
        self._write(replace(found, seconds_left=round(pace * (found.steps - step), 1)))

    def _write(self, standing: Standing) -> None:
        if self._path is not None:
            write_atomically(self._path, json.dumps(asdict(replace(standing, at=round(time.time(), 1)))))
            self._written = time.monotonic()


def read_standing(folder: Path) -> Standing | None:
    """Where the training of a run stands or ended; None of a run that has not said so yet.

    Raises:
        StorageError: the file is damaged.
    """
    path = folder / STANDING
    if not path.is_file():
        return None
    with reading(path, "delete it; training writes it anew"):
        return Standing(**json.loads(path.read_text(encoding="utf-8")))
