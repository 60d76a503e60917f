"""What a method says of its own training: stages, optimisers and their parameters, how rows are drawn.

Training reads these declarations and carries them out. A method that says nothing is trained in one stage, on every row
once an epoch, with all parameters alike and as :class:`accord.training.config.TrainingConfig` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self

import torch

from accord.config import OptimizerName, ScheduleName
from accord.data.loading.order import (
    QUERY,
    SUPPORT,
    ClassBalanced,
    Clusters,
    Episode,
    OneOfEach,
    Repeated,
    Sampling,
    SupportQuery,
    Weighted,
)

Batch = dict[str, Any]
MAIN = "main"  # the optimiser of a method that declares none


@dataclass(frozen=True)
class Step:
    """Where training stands.

    Args:
        stage: name of the current stage.
        epoch: epoch within the stage, from 0.
        index: optimiser step within the stage, from 0.
        total: optimiser steps of the whole stage.
        epochs: epochs of the whole stage.
        optimiser: whose terms are asked for, where a stage has several.
        seed: another one at every step, and the same in all processes.
        watched: whether a line of the log ends with this step: what costs time to watch is computed then alone.
    """

    stage: str = "train"
    epoch: int = 0
    index: int = 0
    total: int = 1
    epochs: int = 1
    optimiser: str = MAIN
    seed: int = 0
    watched: bool = True

    def generator(self, device: torch.device) -> torch.Generator:
        """A source of draws of which every process makes the same, for all rows, to keep those of its own.

        >>> draws = [torch.rand(2, generator=Step(seed=3).generator(torch.device("cpu"))) for _ in range(2)]
        >>> bool((draws[0] == draws[1]).all())
        True
        """
        return torch.Generator(device).manual_seed(self.seed)


@dataclass(frozen=True)
class Optimiser:
    """What moves some of the parameters, by terms of their own: :meth:`Method.loss` is asked for each optimiser.

    What is None is as the training configuration says, under the same name.

    Args:
        name: ``step.optimiser`` when its terms are asked for.
        parameters: name prefixes of its parameters; empty for all that no other optimiser of the stage names.
        kind: ``optimizer`` of the configuration.
        lr: peak learning rate.
        weight_decay: of the matrices.
        betas: of AdamW, Adam and LAMB.
        eps: likewise.
        momentum: of SGD and LARS.
        grad_clip: largest norm of the gradient of its parameters.
        schedule: how the learning rate falls after the warm-up.
        warmup: share of the stage's steps with rising learning rate.
        lr_floor: share of the peak at which ``cosine`` and ``poly`` end.
        power: of ``poly``.
        milestones: shares of the stage's steps at which ``step`` multiplies the learning rate by ``gamma``.
        gamma: see there.

    Example:
        >>> critic = Optimiser("critic", parameters=("critic.",), kind="adam", betas=(0.5, 0.9))
        >>> Stage("both", optimisers=(Optimiser(), critic)).optimisers[1].changes()
        {'optimizer': 'adam', 'betas': (0.5, 0.9)}
    """

    name: str = MAIN
    parameters: tuple[str, ...] = ()
    kind: OptimizerName | None = None
    lr: float | None = None
    weight_decay: float | None = None
    betas: tuple[float, float] | None = None
    eps: float | None = None
    momentum: float | None = None
    grad_clip: float | None = None
    schedule: ScheduleName | None = None
    warmup: float | None = None
    lr_floor: float | None = None
    power: float | None = None
    milestones: tuple[float, ...] | None = None
    gamma: float | None = None

    def changes(self) -> dict[str, Any]:
        """The settings of the training configuration that this optimiser replaces."""
        names = [field.name for field in fields(self) if field.name not in ("name", "parameters")]
        changed = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return {"optimizer" if name == "kind" else name: value for name, value in changed.items()}


@dataclass(frozen=True)
class Stage:
    """One part of training with its own optimisers, schedules and frozen parts.

    Args:
        name: what logs, checkpoints and hooks call it.
        epochs: number of epochs, or None for what the training configuration says.
        lr_scale: factor on the configured learning rate.
        train: name prefixes of the parameters trained in this stage; empty trains all that require gradient.
        freeze_epochs: the encoders stay frozen for that many epochs from the start of the stage.
        optimisers: what moves the parameters of the stage; by default one for all, as configured. At every step the
            terms of each are computed, and back-propagated into its own parameters alone, before any of them moves.
        partial: some steps give no gradient to some of the parameters, such as those of a term that joins later.
            Several processes have to know, since they look for those parameters then, which takes time.
    """

    name: str = "train"
    epochs: int | None = None
    lr_scale: float = 1.0
    train: tuple[str, ...] = ()
    freeze_epochs: int = 0
    optimisers: tuple[Optimiser, ...] = (Optimiser(),)
    partial: bool = False

    @property
    def may_leave_out(self) -> bool:
        """Whether a step may give no gradient to some of the parameters."""
        return self.partial or self.freeze_epochs > 0 or len(self.optimisers) > 1


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate or a weight decay of their own.

    Args:
        name: what :meth:`Method.lr_factor` is asked with; empty for the common schedule.
        decay: whether weight decay applies to those of its parameters that are matrices.
        lr_scale: factor on the learning rate, such as 0.1 for a backbone.
        decay_scale: factor on the weight decay.
    """

    name: str = ""
    decay: bool = True
    lr_scale: float = 1.0
    decay_scale: float = 1.0


@dataclass(frozen=True)
class ClipsAround:
    """Training clips of any frame and others near it, instead of frames spread over the whole film (CTVIS).

    Args:
        span: how many frames away from the first one the others may be.
    """

    span: int = 20


@dataclass(frozen=True)
class DataInfo:
    """What a method may know of the data set at construction.

    Args:
        rows: number of training rows N; ``batch["index"]`` lies in [0, N).
        classes: class names, empty without labels.
        definitions: one text per class (its definition, or the class name), aligned with ``classes``.
        multi_label: labels are ``(B, C)`` multi-hot instead of ``(B,)`` class indices.
        label_counts: number of training rows of each class, aligned with ``classes``.
        datasets: names of the data sets that rows are of; ``batch["dataset_id"]`` counts them.
        mask_classes: class names of ``segmentation``, empty where not known.
        instance_classes: class names of boxes, instances and tracks, which ``instance_label`` counts.
        answers: the commonest of ``answers``, the commonest first, in lower case.
    """

    rows: int = 0
    classes: tuple[str, ...] = ()
    definitions: tuple[str, ...] = ()
    multi_label: bool = False
    label_counts: tuple[int, ...] = ()
    datasets: tuple[str, ...] = ()
    mask_classes: tuple[str, ...] = ()
    instance_classes: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> Self:
        """From what JSON or YAML made of one.

        >>> DataInfo.parse({"rows": 2, "classes": ["a", "b"]}).classes
        ('a', 'b')
        """
        facts: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in record.items()
        }
        return cls(**facts)


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


__all__ = [
    "MAIN",
    "QUERY",
    "SUPPORT",
    "Batch",
    "ClassBalanced",
    "ClipsAround",
    "Clusters",
    "DataInfo",
    "Episode",
    "Group",
    "Loader",
    "OneOfEach",
    "Optimiser",
    "Repeated",
    "Sampling",
    "Stage",
    "Step",
    "SupportQuery",
    "Weighted",
]
