"""What a method says of its own training: its stages, its groups of parameters, how rows are drawn.

Training reads these declarations and carries them out; a method that says nothing is trained in one stage, on every row
once an epoch, all parameters alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

Batch = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """Where training stands.

    Args:
        stage: name of the current stage.
        epoch: epoch within the stage, from 0.
        index: optimiser step within the stage, from 0.
        total: optimiser steps of the whole stage.
        epochs: epochs of the whole stage.
    """

    stage: str = "train"
    epoch: int = 0
    index: int = 0
    total: int = 1
    epochs: int = 1


@dataclass(frozen=True)
class Stage:
    """One part of training with its own optimiser, schedule and frozen parts.

    Args:
        name: what logs, checkpoints and hooks call it.
        epochs: number of epochs, or None for what the training configuration says.
        lr_scale: factor on the configured learning rate.
        train: name prefixes of the parameters trained in this stage; empty trains all that require gradient.
        freeze_epochs: the encoders stay frozen for that many epochs from the start of the stage.
    """

    name: str = "train"
    epochs: int | None = None
    lr_scale: float = 1.0
    train: tuple[str, ...] = ()
    freeze_epochs: int = 0


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate of their own, or go without weight decay.

    Args:
        name: what :meth:`Method.lr_factor` is asked with; empty for the common schedule.
        decay: whether weight decay applies to those of its parameters that are matrices.
    """

    name: str = ""
    decay: bool = True


@dataclass(frozen=True)
class Episode:
    """An epoch of rows drawn with replacement instead of every row once (ProtoCLIP).

    Args:
        rows: how many rows an episode has; None for as many as there are.
    """

    rows: int | None = None


@dataclass(frozen=True)
class DataInfo:
    """What a method may know of the data set at construction.

    Args:
        rows: number of training rows N; ``batch["index"]`` lies in [0, N).
        classes: class names, empty without labels.
        definitions: one text per class (its definition, or the class name), aligned with ``classes``.
        multi_label: labels are ``(B, C)`` multi-hot instead of ``(B,)`` class indices.
        label_counts: number of training rows of each class, aligned with ``classes``.
    """

    rows: int = 0
    classes: tuple[str, ...] = ()
    definitions: tuple[str, ...] = ()
    multi_label: bool = False
    label_counts: tuple[int, ...] = ()


class Loader(Protocol):
    """Batches of the training rows in order, without augmentation, that hooks may go through."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int: ...

    def episode(self) -> Iterator[Batch]:
        """The augmented batches that training is about to see in this epoch, those of all processes together."""
        ...

    def texts(self) -> list[list[str]]:
        """The captions of every training row."""
        ...
