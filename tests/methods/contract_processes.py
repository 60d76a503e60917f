"""The terms and gradients of every method in one process, and in two that share the rows out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from contract_case import TRAINING, Case

from accord.methods import Step, available
from accord.training.config import TrainingConfig
from accord.training.module import HookLoader, Run, training_loader
from accord.training.seeding import seed_everything
from accord.training.stages import trained_in


def pair(rank: int, places: list[str], cache: str) -> dict[str, dict[str, Tensor]]:
    """Method -> what :func:`alone` gives, of this process's share of the rows."""
    import platformdirs

    platformdirs.user_cache_path = lambda *_, **__: Path(cache)  # type: ignore[assignment, misc]
    rows, graph = (Path(place) for place in places)
    import time
    return {(print(rank, name, time.process_time(), flush=True), name)[1]: alone(Case(name, (rows, graph), Path(cache)), rank, 2) for name in available()}


def alone(case: Case, rank: int = 0, world: int = 1) -> dict[str, Tensor]:
    """Terms of the loss and gradients of the first step of every stage, by name."""
    method, config = case.built(), TrainingConfig.parse(TRAINING)
    run = Run(case.corpus, config, Path(), None, {}, None, {}, frozenset())  # type: ignore[arg-type]
    rows = HookLoader(method, run, lambda: 0)
    found: dict[str, Tensor] = {}
    for stage in method.stages:
        step = Step(stage.name, epochs=stage.epochs or config.epochs, total=9)
        with trained_in(method, stage) as trained:
            for hook, place in ((method.before_stage, stage), (method.before_epoch, step)):
                seed_everything(0)
                method.eval()
                hook(place, rows)  # type: ignore[operator]
            found |= {f"{stage.name}: {name}": value for name, value in _step(method.train(), run, step, trained, rank, world)}
            method.zero_grad()
    return found


def _step(method: Any, run: Run, step: Step, trained: Any, rank: int, world: int) -> list[tuple[str, Tensor]]:
    batch = next(iter(training_loader(method, run, rank, world)))
    seed_everything(0)
    terms = method.loss(batch, step)
    terms["total"].backward()
    gradients = [(name, parameter.grad) for name, parameter in trained if parameter.grad is not None]
    return [*((name, term.detach()) for name, term in terms.items()), *gradients]
