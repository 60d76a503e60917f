"""One line per arm and seed on standard error, with the time that is left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from accord.claims.bench import Done, Task


class Progress:
    """Tells of tasks.

    Args:
        tasks: all that are to be done.
        shown: False prints nothing.
        jobs: how many are done at a time.
    """

    def __init__(self, tasks: Sequence[Task], shown: bool, jobs: int = 1) -> None:
        self.console = Console(stderr=True, highlight=False, quiet=not shown)
        self.jobs, self.seeds = jobs, list(dict.fromkeys(task.seed for task in tasks))
        self.seconds: dict[str, list[float]] = {task.arm: [] for task in tasks}
        self.left = {name: sum(task.arm == name for task in tasks) for name in self.seconds}

    @contextmanager
    def waiting(self, task: Task) -> Iterator[None]:
        """Show what is being trained, on a terminal."""
        shown = self.console.is_terminal and not self.console.quiet
        with self.console.status(self._place(task)) if shown else nullcontext():
            yield

    def watched(self, tasks: Iterable[Done]) -> Iterator[Done]:
        """The same, with a line for each."""
        for done in tasks:
            self._tell(done)
            yield done

    def remaining(self) -> float:
        """Seconds still to go, were nothing else kept: each arm as long as it has been, or as the others have."""
        known = [value for values in self.seconds.values() for value in values]
        usual = sum(known) / max(1, len(known))
        means = {name: sum(values) / len(values) if values else usual for name, values in self.seconds.items()}
        return sum(number * means[name] for name, number in self.left.items()) / self.jobs

    def _tell(self, done: Done) -> None:
        self.left[done.task.arm] -= 1
        if done.result is None:
            self.console.print(f"{self._place(done.task)}: diverged", soft_wrap=True)
            return
        self.seconds[done.task.arm].append(done.result.seconds)
        metrics = "  ".join(f"{metric} {value:.4g}" for metric, value in done.result.metrics.items())
        cost = "kept from an earlier run" if done.kept else f"{done.result.seconds:.0f} s"
        left = self.remaining()
        more = f", {_minutes(left)} left" if left else ""
        self.console.print(f"{self._place(done.task)}: {metrics}  [dim]({cost}{more})[/dim]", soft_wrap=True)

    def _place(self, task: Task) -> str:
        number = self.seeds.index(task.seed) + 1
        tried = "" if task.settings is None else f" {dict(task.settings)}".replace("[", "(").replace("]", ")")
        return f"seed {number} of {len(self.seeds)}  [bold]{task.arm}[/bold]{tried}"


def _minutes(seconds: float) -> str:
    """A duration in words.

    >>> _minutes(40), _minutes(200), _minutes(7300)
    ('40 s', '3 min', '2.0 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
