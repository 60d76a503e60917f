"""One arm on one seed, carried out: a method trained and measured, or a function called.

What is written here and in what this imports decides the numbers; how an arm is configured and kept is in
:mod:`accord.claims.arms`.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from accord.data.corpus import Corpus
from accord.data.recipe import Prepared
from accord.data.splits import Splits, split
from accord.methods import Method
from accord.pipeline.config import RunConfig
from accord.pipeline.score import score
from accord.training.device import resolve_device
from accord.training.fit import FitResult, fit
from accord.training.model import Model
from accord.training.seeding import seed_everything

if TYPE_CHECKING:
    from accord.claims.declare import Measure, Measured, Metrics

THREADS = 1  # of every arm, so that it matters neither how many cores there are nor how many arms are trained at once


class Rows(NamedTuple):
    """The rows of an arm: for training, for measuring, and those for training with texts as the method wants them."""

    train: Corpus
    test: Corpus
    fed: Corpus


class Found(NamedTuple):
    """What an arm gave on a seed."""

    metrics: dict[str, float]
    seconds: float
    training_seconds: float | None
    steps: int | None
    epochs: int | None


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread for PyTorch inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train_and_measure(
    method: Method, rows: Rows, config: RunConfig, measure: Measure, *, epochs: int, untrained: bool, quick: bool
) -> Found:
    """Train a method as ``config`` says, or not at all, and measure it.

    Args:
        method: the method before training, changed in place.
        rows: the rows.
        config: the run.
        measure: what gives the values.
        epochs: passes over the rows that training makes.
        untrained: only measure.
        quick: whether this is a smoke run, for a measure that has a parameter for it.
    """
    started = time.perf_counter()
    seed_everything(config.training.seed)
    if untrained:
        method.eval().to(resolve_device(config.training.accelerator))
        fitted = FitResult(steps=0, seconds=0.0, steps_per_second=0.0)
    else:
        with TemporaryDirectory() as folder:
            fitted = fit(method, rows.fed, config.training, Path(folder), progress=False)
    model = Model(method, config=config.model_dump(mode="json"))
    seed_everything(config.training.seed)  # what is random in measuring is the same for all arms
    metrics = _floats(measure(model, rows.train, rows.test, **_known(measure, quick=quick)))
    return Found(metrics, time.perf_counter() - started, fitted.seconds, fitted.steps, 0 if untrained else epochs)


def call(function: Callable[..., Metrics | Measured], seed: int, **options: Any) -> Found:
    """Call a function arm with those of the options that it has parameters for.

    Args:
        function: the arm.
        seed: the seed.
        options: ``quick``, ``settings``, ``share``.
    """
    started = time.perf_counter()
    seed_everything(seed)
    found = function(seed, **_known(function, **options))
    seconds = time.perf_counter() - started
    if isinstance(found, Mapping):
        return Found(_floats(found), seconds, None, None, None)
    return Found(_floats(found.metrics), seconds, None, found.steps, found.epochs)


def evaluations(config: RunConfig) -> Measure:
    """The evaluation tasks of a run as a measure."""

    def measure(model: Model, train: Corpus, test: Corpus) -> Metrics:
        prepared = Prepared(train, test, test.select([]), Splits({}))
        return {metric.name: metric.value for metric in score(model, prepared, config.evaluate)}

    return measure


def held_out(train: Corpus, share: float, seed: int) -> tuple[Corpus, Corpus]:
    """A corpus in two: what is left for training, and a share for choosing settings, cut along its groups.

    Args:
        train: training rows.
        share: of the rows that are held out.
        seed: which of the many such cuts.
    """
    parts = split(train.groups(), train.labels, {"val": share}, seed, ids=train.ids)
    left, chosen = (train.select(parts.positions(name, train.ids)) for name in ("train", "val"))
    return left, chosen


def _known(function: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Those of the options that a function has parameters for."""
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in parameters}


def _floats(metrics: Metrics) -> dict[str, float]:
    return {metric: float(value) for metric, value in metrics.items()}
