"""Where a step asks the device for a number, so that the processor waits for all that was queued before."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from contract_case import TRAINING, Case
from torch.utils._python_dispatch import TorchDispatchMode

from accord.methods.base import Step
from accord.training.config import TrainingConfig
from accord.training.module import HookLoader, Run, training_loader
from accord.training.seeding import seed_everything
from accord.training.stages import trained_in

ASKING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}  # answers, or shapes, that hang on values

PROCESSORS = (
    "functional/tiled.py: return bool(largest",  # which shortcut to take: an accelerator is not asked
    "functional/checks.py: check_range(",  # indices out of range: an accelerator refuses them itself
    "functional/similarity/geodesic.py: ",  # which items came nearer: an accelerator follows all edges
    "functional/mixing.py: ",  # draws are of the processor's generator
    "image/pixpro.py: self.teacher.follow(",  # a momentum is computed where it is needed
    "image/slotcon.py: self.teacher.follow(",
    "video/recognition.py: return F.one_hot(",  # with a number of classes, only a processor looks
)


class Waits(TorchDispatchMode):
    """Collects the lines of ``accord`` whose operations wait for the values of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if ASKING.intersection(func.tags) and not numbered(func, args) and not asked_of_processors(line := place()):
            self.found.add(f"{line} ({func})")
        return func(*args, **(kwargs or {}))


def numbered(func: Any, args: Any) -> bool:
    """Whether rows are taken by their numbers, so that it is known how many there will be."""
    return func is torch.ops.aten.index.Tensor and not any(
        one is not None and one.dtype == torch.bool for one in args[1]
    )


def asked_of_processors(line: str) -> bool:
    """Whether the line is run for tensors of the processor alone, on whatever device the model is."""
    return any(part in line for part in PROCESSORS)


def place() -> str:
    """The innermost line of ``accord`` that is being run."""
    lines = [frame for frame in traceback.extract_stack() if "/accord/" in frame.filename]
    return f"{lines[-1].filename.split('/accord/')[-1]}: {lines[-1].line}" if lines else "backward pass"


def waiting(case: Case) -> Iterator[str]:
    """What a step of each stage waits for that is not watched."""
    method, config = case.built(), TrainingConfig.parse(TRAINING)
    run = Run(case.corpus, config, Path(), None, {}, None, {}, frozenset())  # type: ignore[arg-type]
    rows = HookLoader(method, run, lambda: 0)
    for stage in method.stages:
        step = Step(stage.name, epochs=stage.epochs or config.epochs, total=9, watched=False)
        with trained_in(method, stage):
            for hook, at in ((method.before_stage, stage), (method.before_epoch, step)):
                seed_everything(0)
                hook(at, rows)  # type: ignore[operator]
            batch = next(iter(training_loader(method.train(), run)))
            with Waits() as waits:
                for optimiser in stage.optimisers:
                    method.loss(method.mix(batch, step), replace(step, optimiser=optimiser.name))["total"].backward()
                method.after_step(step)
            yield from (f"{stage.name}: {one}" for one in sorted(waits.found))
