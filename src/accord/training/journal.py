"""What happened, step by step: ``train.jsonl``, other loggers, and the watch for values that are not finite.

Loss terms stay on their device and are fetched once per window of ``log_every`` steps, so that logging does not
hold up a card. Every step is still checked: an infinite or undefined term is reported with the step it arose in.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.errors import DivergenceError
from accord.files import reading, storage_of, write_atomically
from accord.methods.base import Step
from accord.training.curves import Curves

Row = dict[str, float]
_NO_CURVES = "delete it, and --resume goes on; only the curves of earlier steps are lost"


class Journal:
    """Collects the loss terms of each step and writes one line per window.

    A window also ends with its epoch. A line is ``{"stage", "epoch", "step", "lr", TERM: mean over the window, ...,
    "rows_per_second"}`` where ``step`` counts optimiser steps from 1 over all stages.

    Args:
        path: the JSONL file, appended to.
        window: steps per line.
        batch_size: rows per step, for the throughput.
        average: mean of a tensor over processes.
        writes: whether this process writes files.
        loggers: where the lines go as well, see :class:`accord.training.curves.Curves`.
    """

    def __init__(
        self,
        path: Path,
        *,
        window: int,
        batch_size: int,
        average: Callable[[Tensor], Tensor] = lambda tensor: tensor,
        writes: bool = True,
        loggers: Sequence[str] = (),
    ) -> None:
        self.path, self.window, self.batch_size = path, window, batch_size
        self.average, self.writes = average, writes
        self._waiting: list[tuple[Step, int, dict[str, Tensor]]] = []  # on their device
        self._rows: list[Row] = []  # fetched and found finite, not yet written
        self._last_finite: Row = {}
        self._clock, self._timed = time.perf_counter(), 0
        self._noted = 0
        self._curves = Curves(loggers if writes else (), path.parent, resumed=path.exists())

    def record(
        self, step: Step, number: int, lr: float, terms: dict[str, Tensor], *, close: bool = False
    ) -> dict[str, Any] | None:
        """Note the terms of a step; returns the line when one is written.

        Args:
            step: where the step stands in its stage.
            number: its number in the run, from 1.
            lr: its learning rate.
            terms: scalar terms, detached.
            close: end the window here, as at the end of an epoch.

        Raises:
            DivergenceError: a term of this window is not finite.
        """
        self._waiting.append((step, number, terms))
        self._timed += 1
        if len(self._waiting) + len(self._rows) < self.window and not close:
            return None
        return self._line(step, number, lr)

    def note(self, step: Step, number: int, measure: Callable[[], Mapping[str, float]]) -> None:
        """Write a line of its own with what is measured after step ``number``, unless the file has it already."""
        if self.writes and self._noted < number:
            self._write({"stage": step.stage, "epoch": step.epoch, "step": number, **measure()})
            self._noted = number
            self._clock = time.perf_counter()  # measuring is no part of the throughput

    def fetch(self) -> None:
        """Bring the waiting terms to the host and check them.

        Raises:
            DivergenceError: a term is not finite; names it, where it arose, and the last finite values.
        """
        if not self._waiting:
            return
        flat = torch.stack([term.float() for _, _, terms in self._waiting for term in terms.values()])
        values = iter(self.average(flat).tolist())
        for step, number, terms in self._waiting:
            row = {name: next(values) for name in terms}
            broken = [name for name, value in row.items() if not math.isfinite(value)]
            if broken:
                raise DivergenceError(_sentence(broken, row, step, number, self._last_finite))
            self._last_finite = row
            self._rows.append(row)
        self._waiting.clear()

    def _line(self, step: Step, number: int, lr: float) -> dict[str, Any]:
        self.fetch()
        seconds, self._clock = time.perf_counter() - self._clock, time.perf_counter()
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        means = {name: _mean([row[name] for row in self._rows if name in row]) for name in names}
        line = {"stage": step.stage, "epoch": step.epoch, "step": number, "lr": lr, **means}
        line["rows_per_second"] = round(self._timed * self.batch_size / seconds, 1)
        self._rows, self._timed = [], 0
        if self.writes:
            self._write(line)
        return line

    def _write(self, line: dict[str, Any]) -> None:
        with storage_of(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._curves.write(line)

    def state(self) -> list[Row]:
        """Terms of the steps that no line holds yet, for the checkpoint.

        Raises:
            DivergenceError: one of them is not finite: such a state must not be saved.
        """
        self.fetch()
        return self._rows

    def restore(self, rows: list[Row], number: int) -> None:
        """Continue after step ``number``: cut off later lines and take up the unfinished window.

        Raises:
            StorageError: the file is damaged.
        """
        self._rows = list(rows)
        if not self.writes:
            return
        with reading(self.path, _NO_CURVES):
            self._curves.restore(_lines(self.path), number)
        truncate(self.path, number)
        with reading(self.path, _NO_CURVES):
            last = self.path.read_text(encoding="utf-8").splitlines()[-1:] if self.path.exists() else []
            self._noted = max((line["step"] for line in map(json.loads, last) if "lr" not in line), default=0)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._curves.close("success" if kind is None else "failed")


def truncate(path: Path, number: int) -> None:
    """Drop the lines of ``path`` after optimiser step ``number``, and a last line that was cut short; atomically."""
    if not path.exists():
        return
    kept = []
    with reading(path, _NO_CURVES):
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.endswith("\n") or json.loads(line)["step"] > number:
                break
            kept.append(line)
    write_atomically(path, "".join(kept))


def _lines(path: Path) -> list[dict[str, Any]]:
    """What the file holds, without a last line that was cut short."""
    if not path.exists():
        return []
    whole = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in whole if line.endswith("\n")]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _sentence(broken: list[str], row: Row, step: Step, number: int, last: Row) -> str:
    came = ", ".join(f"{name} = {row[name]}" for name in broken)
    before = ", ".join(f"{name} = {value:.4g}" for name, value in last.items()) or "none, it is the first step"
    return (
        f"training diverged in stage {step.stage!r}, epoch {step.epoch}, step {step.index} "
        f"(optimiser step {number}): {came}; last finite values: {before}; "
        "try a lower lr, grad_clip = 1, a longer warmup, or precision = 'fp32'"
    )
