"""Where arms are run: in this process or in several, each result kept as soon as it is there."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accord.claims.arms import Arms, Ready, Seed, Settings
from accord.claims.code import Code
from accord.claims.load import loaded
from accord.claims.machine import machine, versions
from accord.claims.measuring import THREADS, single_threaded
from accord.claims.store import Result, keep, recall
from accord.errors import DivergenceError
from accord.training.device import resolve_device

Waiting = Callable[["Task"], AbstractContextManager[None]]


@dataclass(frozen=True)
class Task:
    """One arm on one seed.

    Args:
        arm: its name.
        seed: the seed.
        settings: for a trial, the settings that are tried; None for what the record is made of.
        held: for a trial, the share of the training rows that it is measured on.
    """

    arm: str
    seed: int
    settings: Settings | None = None
    held: float = 0.0


@dataclass(frozen=True)
class Done:
    """A task that is finished.

    Args:
        task: the task.
        key: the name that its result is kept under; empty in a smoke run, which keeps none.
        code: the code that it depends on.
        result: what it gave; None for a trial that diverged.
        kept: whether that was there already.
    """

    task: Task
    key: str
    code: Code
    result: Result | None
    kept: bool


@dataclass(frozen=True)
class Order:
    """What a process needs to know to run a claim's arms.

    Args:
        slug: the claim.
        folder: where its file is.
        quick: a smoke run, which keeps nothing.
        device: kind of device, None for what the claim says.
        settings: arm -> the settings that a search chose.
        commit: what is checked out.
    """

    slug: str
    folder: Path
    quick: bool = False
    device: str | None = None
    settings: Mapping[str, Settings] = field(default_factory=dict)
    commit: str | None = None


class Bench:
    """Runs tasks one after another in this process.

    Args:
        arms: the arms of the claim.
        order: what else there is to know.
        seed: a seed whose rows are made already, if any.
    """

    def __init__(self, arms: Arms, order: Order, seed: Seed | None = None) -> None:
        self.arms, self.order = arms, order
        self._seed = seed or Seed(-1)

    def do(self, task: Task) -> Done:
        """Run a task, unless its result is known."""
        with single_threaded():
            ready = self._ready(task)
            key = "" if self.order.quick else ready.key
            known = recall(key) if key else None
            return Done(task, key, ready.code, known or self._run(ready, task), known is not None)

    def _ready(self, task: Task) -> Ready:
        if task.settings is not None:
            return self.arms.trial(task.arm, task.seed, task.settings, task.held)
        if self._seed.number != task.seed:
            self._seed = Seed(task.seed)
        return self.arms.ready(task.arm, self._seed)

    def _run(self, ready: Ready, task: Task) -> Result | None:
        try:
            found = ready.run()
        except DivergenceError:
            if task.settings is None:
                raise
            return None  # a trial may: then its settings are not chosen
        result = Result(**found._asdict(), place=self._place(ready.code))
        if not self.order.quick:
            keep(ready.key, result)
        return result

    def _place(self, code: Code) -> dict[str, Any]:
        """Where and with what something was measured."""
        device = resolve_device(self.order.device or "auto").type
        told = {"commit": self.order.commit, "machine": machine(), "threads": THREADS, "device": device}
        return told | {"versions": {**versions("accord"), **code.versions}}


def carried_out(tasks: Sequence[Task], bench: Bench, jobs: int, waiting: Waiting) -> Iterator[Done]:
    """Run tasks and give each as it is finished.

    Args:
        tasks: seed by seed, so that a run that is stopped has whole pairs.
        bench: this process's.
        jobs: how many processes; with one it is this one.
        waiting: called around each task that this process runs.
    """
    if jobs == 1:
        for task in tasks:
            with waiting(task):
                done = bench.do(task)
            yield done
        return
    context = multiprocessing.get_context("forkserver")  # whose server imports once for all
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(jobs, context, _begin, (bench.order,)) as pool:
        try:
            for future in as_completed([pool.submit(_do, task) for task in tasks]):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_open = ExitStack()  # the claim's file, for as long as a process of the pool lives
_bench: Bench | None = None  # of such a process


def _begin(order: Order) -> None:
    """Load the claim, once in the life of a process of the pool."""
    global _bench
    claim = _open.enter_context(loaded(order.slug, order.folder))
    arms = Arms(claim, order.folder, quick=order.quick, device=order.device, settings=order.settings)
    _bench = Bench(arms, order)


def _do(task: Task) -> Done:
    assert _bench is not None
    return _bench.do(task)
