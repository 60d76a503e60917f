"""Which parameters a stage trains, and where in the run training stands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import nn

from accord.errors import ConfigError
from accord.methods.base import Method, Stage, Step
from accord.methods.programme import Optimiser
from accord.training.config import TrainingConfig

NamedParameters = list[tuple[str, nn.Parameter]]


@dataclass(frozen=True)
class Position:
    """Where a run stands: what is done so far.

    Args:
        stage: number of the current stage, from 0.
        epoch: epoch of the stage, from 0.
        batch: batches of that epoch already trained on.
        index: optimiser steps made in the stage.
        number: optimiser steps made in all stages.
        epochs_before: epochs of the earlier stages, so that no two stages see the same augmentations.
    """

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    index: int = 0
    number: int = 0
    epochs_before: int = 0

    def after_step(self, batches: int) -> Position:
        """One optimiser step on, in epochs of ``batches`` batches.

        >>> Position(epoch=2, batch=3).after_step(4)
        Position(stage=0, epoch=3, batch=0, index=1, number=1, epochs_before=0)
        """
        epoch, batch = (self.epoch + 1, 0) if self.batch + 1 == batches else (self.epoch, self.batch + 1)
        return replace(self, epoch=epoch, batch=batch, index=self.index + 1, number=self.number + 1)

    def after_stage(self) -> Position:
        """The start of the next stage."""
        return Position(stage=self.stage + 1, number=self.number, epochs_before=self.epochs_before + self.epoch)

    def step(self, stage: Stage, total: int, epochs: int) -> Step:
        """What the method is told."""
        return Step(stage.name, self.epoch, self.index, total, epochs)


def check_stages(method: Method) -> tuple[Stage, ...]:
    """The stages of a method; none where it has no loss, and so is not trained.

    Raises:
        ConfigError: a method with a loss has none, two share a name, one has no epochs or no optimiser, or two of
            these share a name.
    """
    stages = tuple(method.stages)
    names = [stage.name for stage in stages]
    forgotten = not stages and type(method).loss is not Method.loss
    if forgotten or len(set(names)) < len(names):
        raise ConfigError(f"method {method.name} declares stages {names}: expected at least one, with distinct names")
    for stage in stages:
        if stage.epochs is not None and stage.epochs < 1:
            raise ConfigError(f"stage {stage.name!r} has epochs = {stage.epochs}: expected at least 1")
        optimisers = [optimiser.name for optimiser in stage.optimisers]
        if not optimisers or len(set(optimisers)) < len(optimisers):
            raise ConfigError(
                f"stage {stage.name!r} has optimisers {optimisers}: expected at least one, with distinct names"
            )
    return stages


def settings_of(optimiser: Optimiser, config: TrainingConfig, stage: Stage) -> TrainingConfig:
    """The settings as they hold for an optimiser of a stage.

    Raises:
        ConfigError: what it changes is out of range.
    """
    changes = optimiser.changes()
    if not changes:
        return config
    place = f"optimiser {optimiser.name!r} of stage {stage.name!r}"
    return TrainingConfig.parse(config.model_dump() | changes, at=place)


def divided(trained: NamedParameters, stage: Stage) -> list[NamedParameters]:
    """The parameters of each optimiser of a stage: those under its prefixes, or all that no other names.

    Raises:
        ConfigError: a parameter belongs to no optimiser or to two, or an optimiser has none.
    """
    parts: dict[str, NamedParameters] = {optimiser.name: [] for optimiser in stage.optimisers}
    for name, parameter in trained:
        claimed = [one.name for one in stage.optimisers if one.parameters and name.startswith(one.parameters)]
        owners = claimed or [one.name for one in stage.optimisers if not one.parameters]
        if len(owners) != 1:
            belongs = f"to {' and '.join(owners)}" if owners else "to none"
            raise ConfigError(f"stage {stage.name!r}: {name} belongs {belongs} of its optimisers; expected exactly one")
        parts[owners[0]].append((name, parameter))
    for name, parameters in parts.items():
        if not parameters:
            raise ConfigError(f"stage {stage.name!r}: optimiser {name!r} has no parameters that are trained")
    return list(parts.values())


@contextmanager
def trained_in(method: Method, stage: Stage) -> Iterator[NamedParameters]:
    """Let only the parameters of ``stage`` require gradient; afterwards restore exactly what was before.

    Parameters that do not require gradient to begin with (frozen encoders, momentum copies) are never trained.

    Raises:
        ConfigError: a prefix fits no parameter, or nothing is left to train.
    """
    before = [(name, parameter) for name, parameter in method.named_parameters() if parameter.requires_grad]
    for prefix in stage.train:
        if not any(name.startswith(prefix) for name, _ in method.named_parameters()):
            parts = ", ".join(name for name, _ in method.named_children())
            raise ConfigError(
                f"stage {stage.name!r} trains {prefix!r}, which names no parameter; the parts are {parts}"
            )
    trained = [(name, parameter) for name, parameter in before if name.startswith(stage.train or "")]
    if not trained:
        raise ConfigError(f"stage {stage.name!r} has nothing to train: unfreeze an encoder or widen Stage.train")
    for _, parameter in before:
        parameter.requires_grad_(False)
    for _, parameter in trained:
        parameter.requires_grad_(True)
    try:
        yield trained
    finally:
        for _, parameter in before:
            parameter.requires_grad_(True)


def hold_encoders(trained: NamedParameters, stage: Stage, epoch: int) -> None:
    """Freeze the encoders' trained parameters in the first ``freeze_epochs`` epochs of a stage, free them after."""
    for name, parameter in trained:
        if name.startswith("encoders."):
            parameter.requires_grad_(epoch >= stage.freeze_epochs)
