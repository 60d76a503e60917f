"""Whole methods against what one would otherwise put together from other libraries: accuracy, step time and memory.

A contest has sides, ours and peers. All start from the same encoder weights, see the same batches in the same order and
take the same number of steps of the same optimiser; a peer is written as an :class:`accord.methods.base.Method`, so
that loop and evaluation are the same as well. A script declares contests and calls :func:`main`.

Accuracy: every seed trains all sides in step. Time: a step is loss, backward pass and optimiser, as training makes
them; the batches are made before. Every side has a process of its own, since what the process does with freed memory
decides much of the time: ours keeps it, as Accord's training does, the peers' are as PyTorch leaves them. Blocks of
steps take turns, the first ones do not count, and the median of the rounds' ratios is given, in processor time, which
other work on the machine hardly changes. The loss alone, on random outputs of the right shapes, is timed in the same
way. Memory: the most that tensors take at once during a step, by PyTorch's own count, and by how much the process grew
at most.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, islice
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch
from record import write
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from accord.encoders.base import Encoder
from accord.evaluation.seeds import Interval, paired_interval, seeds_interval
from accord.methods.base import Batch, Method, Step
from accord.training.allocator import keep_freed_memory
from accord.training.config import TrainingConfig
from accord.training.optimiser import build_optimizer, schedule

GOAL = 0.9  # largest ratio of step times wanted
SEEDS = 3
ROUNDS, BLOCK = 12, 3  # rounds of the sides, and steps of a side in each
ALONE = 0.05  # seconds of the loss alone in a round, at least


class Data(Protocol):
    """What the sides of a contest share for one seed; ``steps`` is the number of batches of an epoch."""

    steps: int

    def encoders(self) -> dict[str, Encoder]:
        """Encoders with the seed's first weights, new ones at every call."""
        ...

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        ...

    def score(self, method: Method) -> float:
        """How good a method is on held-out rows, in percent."""
        ...


@dataclass(frozen=True)
class Side:
    """One way to do the work.

    Args:
        name: as shown in the table.
        build: the method around the contest's encoders.
        ours: compared with every side that is not.
        alone: makes the loss alone, a function without arguments that returns a scalar with gradient.
        trained: False where only time and memory differ from another side of the contest.
        keeps: whether its process keeps freed memory, which it does where the side is ours.
    """

    name: str
    build: Callable[[Mapping[str, Encoder]], Method]
    ours: bool = False
    alone: Callable[[], Callable[[], Tensor]] | None = None
    trained: bool = True
    keeps: bool = False


@dataclass(frozen=True)
class Contest:
    """Sides that are compared.

    Args:
        name: as shown in the table.
        data: of a seed.
        measure: what :meth:`Data.score` gives.
        training: epochs and optimiser.
        sides: ours and the peers.
    """

    name: str
    data: Callable[[int], Data]
    measure: str
    training: TrainingConfig
    sides: tuple[Side, ...]


class Trainer:
    """A side's method and its optimiser, one step at a time.

    Args:
        side: what is trained.
        data: gives its encoders.
        config: the optimiser.
        steps: steps of an epoch, for the schedule.
    """

    def __init__(self, side: Side, data: Data, config: TrainingConfig, steps: int) -> None:
        encoders = data.encoders()
        torch.manual_seed(config.seed)  # heads of the same shapes start from the same numbers
        self.method = side.build(encoders).train()
        named = [(name, p) for name, p in self.method.named_parameters() if p.requires_grad]
        self.optimizer = build_optimizer(named, config, self.method.group)
        self.config, self.steps, self.done = config, steps, 0

    def step(self, batch: Batch) -> None:
        """One optimiser step."""
        config, total = self.config, self.config.epochs * self.steps
        step = Step(epoch=self.done // self.steps, index=self.done, total=total, epochs=config.epochs)
        common = schedule(step.index, total, config)
        for group in self.optimizer.param_groups:
            own = group["name"]
            factor = self.method.lr_factor(own, step, round(config.warmup * total)) if own else common
            group["lr"] = config.lr * factor
        self.optimizer.zero_grad()
        self.method.loss(batch, step)["total"].backward()
        self.method.after_backward(step)
        self.optimizer.step()
        self.method.after_step(step)
        self.done += 1


# -- measuring


def accuracy(contest: Contest, seed: int) -> dict[str, float]:
    """The score of every trained side after the same steps, and of ours before the first one."""
    data, config = contest.data(seed), contest.training.model_copy(update={"seed": seed})
    trainers = {side.name: Trainer(side, data, config, data.steps) for side in contest.sides if side.trained}
    found = {"steps": config.epochs * data.steps}
    found["untrained"] = data.score(next(iter(trainers.values())).method)
    for epoch in range(config.epochs):
        for batch in data.batches(epoch):
            for trainer in trainers.values():
                trainer.method.train()
                trainer.step(batch)
    return found | {name: data.score(trainer.method) for name, trainer in trainers.items()}


@dataclass(frozen=True)
class Work:
    """Something of a side that is timed.

    Args:
        make: gives the block that is repeated, and how many parts it has.
        keeps: whether the process keeps freed memory.
    """

    make: Callable[[], tuple[Callable[[], None], int]]
    keeps: bool


def seconds(contest: Contest) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds a step of every side, round by round, and MB by which its process grew at most."""
    data, config = contest.data(0), contest.training
    batches = list(islice(data.batches(0), BLOCK))

    def steps(side: Side) -> tuple[Callable[[], None], int]:
        return partial(_steps, Trainer(side, data, config, ROUNDS * BLOCK), batches), len(batches)

    return in_turns({side.name: Work(partial(steps, side), side.ours or side.keeps) for side in contest.sides})


def _steps(trainer: Trainer, batches: Sequence[Batch]) -> None:
    for batch in batches:
        trainer.step(batch)


def seconds_alone(contest: Contest) -> dict[str, list[float]]:
    """Seconds of the loss alone with its backward pass, of the sides that have it."""

    def losses(alone: Callable[[], Callable[[], Tensor]]) -> tuple[Callable[[], None], int]:
        loss = alone()
        start = time.process_time()
        loss().backward()
        times = 1 + int(ALONE / (time.process_time() - start))
        return partial(_losses, loss, times), times

    work = {
        side.name: Work(partial(losses, side.alone), side.ours or side.keeps)
        for side in contest.sides
        if side.alone is not None
    }
    return in_turns(work)[0]


def _losses(loss: Callable[[], Tensor], times: int) -> None:
    for _ in range(times):
        loss().backward()


def in_turns(work: Mapping[str, Work]) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of a part of each work, round by round, each round begun by another; and MB of growth of each process."""
    apart, lines = multiprocessing.get_context("fork"), {}
    for name, each in work.items():
        lines[name], theirs = apart.Pipe()
        apart.Process(target=_serve, args=(each, theirs), daemon=True).start()
        theirs.close()  # where the process dies, waiting for it ends with an error
        lines[name].recv()  # made
    names, times = list(lines), {name: [] for name in lines}
    for turn in range(ROUNDS + 1):
        first = turn % len(names) if names else 0
        for name in names[first:] + names[:first]:
            lines[name].send(True)
            taken = lines[name].recv()
            if turn:  # the first round warms up
                times[name].append(taken)
    for line in lines.values():
        line.send(False)
    return times, {name: line.recv() for name, line in lines.items()}


def _serve(work: Work, line: Connection) -> None:
    """Repeat a block whenever asked to; in the end, tell how much memory that took."""
    if work.keeps:
        keep_freed_memory()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    block, parts = work.make()
    line.send(True)
    while line.recv():
        start = time.process_time()
        block()
        line.send((time.process_time() - start) / parts)
    line.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10)


def megabytes(contest: Contest) -> dict[str, float]:
    """Most memory that tensors take at once during a step, above what is there before it."""
    data, found = contest.data(0), {}
    batches = list(islice(data.batches(0), 2))
    for side in contest.sides:
        trainer = Trainer(side, data, contest.training, len(batches))
        trainer.step(batches[0])  # the optimiser's averages are there from now on
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watch:
            trainer.step(batches[-1])
        events = watch.profiler.kineto_results.events()
        changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
        found[side.name] = max(accumulate(size for _, size in changes)) / 2**20
    return found


# -- rows


def rows(contest: Contest, seeds: int) -> list[dict[str, Any]]:
    """One row for each of our sides with each peer."""
    times, growth = seconds(contest)
    alone, memory = seconds_alone(contest), megabytes(contest)
    scores = [accuracy(contest, seed) for seed in range(seeds)]
    return [
        row(contest, ours, peer, scores, times, alone, memory, growth)
        for ours in contest.sides
        for peer in contest.sides
        if ours.ours and not peer.ours
    ]


def row(
    contest: Contest,
    ours: Side,
    peer: Side,
    scores: Sequence[Mapping[str, float]],
    times: Mapping[str, list[float]],
    alone: Mapping[str, list[float]],
    memory: Mapping[str, float],
    growth: Mapping[str, float],
) -> dict[str, Any]:
    """What the table says of one of our sides and one peer."""
    own = [score[ours.name] for score in scores]
    theirs = [score[peer.name] for score in scores] if peer.trained else None
    difference = paired_interval(own, theirs) if theirs else None
    step = ratio(times, ours, peer)
    return {
        "contest": contest.name,
        "ours": ours.name,
        "peer": peer.name,
        "steps": int(scores[0]["steps"]),
        "seeds": len(scores),
        "measure": contest.measure,
        "untrained": round(statistics.mean(score["untrained"] for score in scores), 1),
        "score": plus_minus(seeds_interval(own)),
        "peer score": plus_minus(seeds_interval(theirs)) if theirs else None,
        "difference": f"{difference.value:+.1f}{ends(difference)}" if difference else None,
        "as good": None if difference is None or difference.high is None else difference.high >= 0,
        "ms a step": round(1000 * statistics.median(times[ours.name]), 1),
        "peer ms": round(1000 * statistics.median(times[peer.name]), 1),
        "step time ratio": step,
        "goal met": step is not None and step <= GOAL,
        "loss time ratio": ratio(alone, ours, peer),
        "MB": round(memory[ours.name]),
        "peer MB": round(memory[peer.name]),
        "process MB": round(growth[ours.name]),
        "peer process MB": round(growth[peer.name]),
    }


def ratio(times: Mapping[str, list[float]], ours: Side, peer: Side) -> float | None:
    """Median over the rounds of our time over theirs."""
    if ours.name not in times or peer.name not in times:
        return None
    return round(statistics.median(a / b for a, b in zip(times[ours.name], times[peer.name], strict=True)), 3)


def plus_minus(interval: Interval) -> str:
    """Mean and half the width of its interval."""
    width = "" if interval.high is None else f" ± {interval.high - interval.value:.1f}"
    return f"{interval.value:.1f}{width}"


def ends(interval: Interval) -> str:
    """Both ends of an interval, where it has some."""
    return "" if interval.low is None or interval.high is None else f" [{interval.low:+.1f}, {interval.high:+.1f}]"


def main(name: str, contests: Sequence[Contest], packages: tuple[str, ...], about: str) -> None:
    """Measure all contests and write ``results/NAME.json``, or print the named ones.

    Args:
        name: of the benchmark.
        contests: what is measured.
        packages: distributions whose versions matter.
        about: what ``--help`` says.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("contests", nargs="*", help="part of a contest's name; nothing is written then")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for contest in contests:
        if not options.contests or any(part in contest.name for part in options.contests):
            for each in rows(contest, options.seeds):
                print(json.dumps(each, ensure_ascii=False), flush=True)
                found.append(each)
    if not options.contests:
        print(write(name, found, packages))
