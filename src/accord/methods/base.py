"""The contract of every method: a batch becomes a loss, an input becomes an embedding.

Training, evaluation, search, reports and serving are written once against this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from accord.config import Config
from accord.data.views import View
from accord.encoders.base import Encoder, Freeze
from accord.errors import ConfigError

Batch = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """Where training stands.

    Args:
        stage: name of the current stage.
        epoch: epoch within the stage, from 0.
        index: optimiser step within the stage, from 0.
        total: optimiser steps of the whole stage.
    """

    stage: str = "train"
    epoch: int = 0
    index: int = 0
    total: int = 1


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


@dataclass
class Verdicts:
    """What a method thinks of each training row, for cleaning and for the report.

    Args:
        kept: ``(N,)`` bool, False where the row was judged wrong and dropped.
        label: ``(N,)`` corrected class index, or None for methods without classes.
        score: ``(N,)`` confidence that the row's pair or label is right, higher is cleaner.
        trusted: ``(N,)`` bool, rows the method selected as certainly clean, or None.
    """

    kept: Tensor
    score: Tensor
    label: Tensor | None = None
    trusted: Tensor | None = None


class Loader(Protocol):
    """Batches of the training rows in order, without augmentation, that hooks may go through."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int: ...


class Method(nn.Module):
    """Base of all methods.

    A subclass sets ``name`` (the registry name), ``Config``, ``needs`` and implements :meth:`loss` and
    :meth:`embed`; everything else has a default. Its encoders are ``self.encoders[modality]``.

    Args:
        config: the method's :class:`Config`.
        encoders: one encoder per modality.
        data: what is known of the training data.

    Raises:
        ConfigError: an encoder is missing or does not give what the method needs.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Config]]
    needs: ClassVar[Mapping[str, frozenset[str]]]  # modality -> features, e.g. {"image": {"pooled"}}

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__()
        self.config = self.Config.parse(config)
        self.data = data
        for modality, wanted in self.needs.items():
            if modality not in encoders:
                raise ConfigError(f"method {self.name} needs an encoder for {modality}: pass {modality}=NAME")
            missing = wanted - encoders[modality].gives
            if missing:
                given = ", ".join(sorted(encoders[modality].gives))
                raise ConfigError(
                    f"method {self.name} needs {', '.join(sorted(missing))} from the {modality} encoder, "
                    f"which gives only {given}: choose another {modality} encoder"
                )
        self.encoders = nn.ModuleDict({modality: encoders[modality] for modality in self.needs})

    @property
    def views(self) -> tuple[View, ...]:
        """Augmented image views of the training data; the first is ``batch["image"]``."""
        return ()

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stages in order."""
        return (Stage(),)

    @staticmethod
    def prepare_texts(captions: list[str]) -> list[str]:
        """The captions of one row as the method wants them tokenised (cleaned, joined); default unchanged."""
        return captions

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Named scalar terms; ``total`` is minimised, the rest is logged."""
        raise NotImplementedError

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Unit-norm embeddings ``{modality: (B, D)}`` of the modalities that the batch holds."""
        raise NotImplementedError

    @property
    def embeds(self) -> tuple[str, ...]:
        """Modalities that :meth:`embed` can return."""
        return tuple(self.needs)

    @property
    def classifies(self) -> bool:
        """Whether the method has a classifier of its own, see :meth:`classify`."""
        return type(self).classify is not Method.classify

    def classify(self, batch: Batch) -> Tensor:
        """Class logits ``(B, C)`` of the method's own classifier.

        Raises:
            ConfigError: the method has none.
        """
        raise ConfigError(f"method {self.name} has no classifier of its own; evaluate it by knn or zero_shot")

    def verdicts(self) -> Verdicts | None:
        """The method's judgement of the training rows, or None when it makes none."""
        return None

    def before_stage(self, stage: Stage, loader: Loader) -> None:
        """Run once before a stage; ``loader`` gives every training row once, in order, without augmentation."""

    def before_epoch(self, step: Step, loader: Loader) -> None:
        """Run before each epoch with the same kind of loader."""

    def after_step(self, step: Step) -> None:
        """Run after each optimiser step (clamps, moving averages)."""

    def after_stage(self, stage: Stage, loader: Loader) -> None:
        """Run once after a stage."""

    @property
    def device(self) -> torch.device:
        """Where the method's parameters are."""
        return next(self.parameters()).device


class TwoTower(Method):
    """A method whose loss is a function of each modality's embedding only, so that GradCache applies.

    ``loss(batch, step)`` equals ``objective(towers(batch), batch, step)``.
    """

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        """Differentiable tensors with the batch first, computed row by row (no interaction between rows)."""
        raise NotImplementedError

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """The loss terms from the towers' outputs."""
        raise NotImplementedError

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """``objective(towers(batch))``."""
        return self.objective(self.towers(batch), batch, step)


__all__ = [
    "Batch",
    "DataInfo",
    "Freeze",
    "Loader",
    "Method",
    "Stage",
    "Step",
    "TwoTower",
    "Verdicts",
]
