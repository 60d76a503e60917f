"""Progress of training on the terminal: a bar per stage with loss terms, throughput and time left.

Where the output is not a terminal, one line per epoch; both go to standard error.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

_PLACE = ("stage", "epoch", "step", "lr", "rows_per_second")


class StageProgress:
    """Shows one stage.

    Args:
        title: name of the stage.
        total: optimiser steps of the stage.
        done: steps already made, after a resume.
        epochs: epochs of the stage.
        console: where to write; None shows nothing.
    """

    def __init__(self, title: str, *, total: int, done: int, epochs: int, console: Console | None) -> None:
        self.title, self.epochs, self.console = title, epochs, console
        self._line: dict[str, Any] = {}
        self._bar: Progress | None = None
        if console is not None and console.is_terminal:
            self._bar = Progress(*_columns(), console=console, transient=False)
            self._task = self._bar.add_task(title, total=total, completed=done, terms="", epoch="")
            self._bar.start()

    def line(self, line: dict[str, Any], index: int) -> None:
        """Take up a line of the journal after ``index`` steps of the stage."""
        self._line = line
        if self._bar is not None:
            epoch = f"epoch {line['epoch'] + 1}/{self.epochs}"
            self._bar.update(self._task, completed=index, terms=describe(line), epoch=epoch)

    def epoch(self, epoch: int) -> None:
        """Print the line of a finished epoch, where there is no bar."""
        if self.console is not None and self._bar is None and self._line:
            self.console.print(
                f"{self.title}: epoch {epoch + 1}/{self.epochs}  {describe(self._line)}",
                highlight=False,
                soft_wrap=True,
            )

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.stop()


def describe(line: dict[str, Any]) -> str:
    """Loss terms and throughput of a journal line.

    >>> describe({"stage": "train", "epoch": 0, "step": 5, "lr": 0.1, "total": 1.25, "rows_per_second": 1234.0})
    'total 1.250  1,234 rows/s'
    """
    terms = "  ".join(
        f"{name} {value:.4g}" if abs(value) < 1e-3 or abs(value) >= 1e3 else f"{name} {value:.3f}"
        for name, value in line.items()
        if name not in _PLACE
    )
    return f"{terms}  {line['rows_per_second']:,.0f} rows/s"


def _columns() -> list[ProgressColumn]:
    return [
        TextColumn("{task.description}"),
        TextColumn("{task.fields[epoch]}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[terms]}"),
    ]
