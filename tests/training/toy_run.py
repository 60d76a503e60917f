"""Train the toy in a process of its own, alone or as one of several, to its end or to its death."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from programmed import programmed
from torch import Tensor
from toy_method import Toy, toy, toy_corpus

from accord.errors import AccordError
from accord.methods.base import Batch, Loader, Step
from accord.training.config import TrainingConfig
from accord.training.fit import fit


class Mortal(Toy):
    """Kills its process after the optimiser has moved the weights, before anything is logged or saved."""

    steps_left = -1

    def after_step(self, step: Step) -> None:
        super().after_step(step)
        self.steps_left -= 1
        if self.steps_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Tied(Toy):
    """Takes the table of words from inside its encoder."""

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        towers = super().towers(batch)
        return {**towers, "words": towers["h"] @ self.encoders["text"].table.weight.T}


class Meddling(Toy):
    """Changes weights of its encoder between epochs."""

    @torch.no_grad()
    def before_epoch(self, step: Step, loader: Loader) -> None:
        self.encoders["text"].table.weight.mul_(0.5)


def train(run_dir: Path, task: dict[str, Any], world: dict[str, str] | None = None) -> None:
    """Train as ``task`` says and leave ``final.pt``.

    Args:
        run_dir: folder of the run.
        task: ``training`` and ``method`` settings, ``dropout``, ``resume``, ``programmed``, which of the toys, and
            ``kill_at``, an optimiser step, of all processes or of the one that ``dies``; and
            ``idle``, for a parameter that no step uses, and ``wrong``, a toy below that sharded weights do not suit.
        world: environment of one of several processes, as torchrun sets it.
    """
    torch.set_num_threads(1)
    os.environ.update(world or {})
    rank_zero_only.rank = rank = int((world or {}).get("RANK", 0))  # this process was forked with the import done
    make = programmed if task.get("programmed") else toy
    method = make(task.get("method"), dropout=task.get("dropout", 0.1))
    if "kill_at" in task and rank == task.get("dies", rank):
        method.__class__ = type("Mortal", (Mortal, type(method)), {})
        method.steps_left = task["kill_at"]
    if task.get("idle"):
        method.idle = torch.nn.Parameter(torch.ones(2))
    if "wrong" in task:
        method.__class__ = {"tied": Tied, "meddling": Meddling}[task["wrong"]]
    config = TrainingConfig.parse(task["training"])
    try:
        fit(method, toy_corpus(), config, run_dir, resume=task.get("resume", False), progress=False)
    except AccordError as error:
        (run_dir / f"error{rank}").write_text(f"{type(error).__name__}: {error}")
        raise
    if rank == 0:
        torch.save(method.state_dict(), run_dir / "final.pt")
