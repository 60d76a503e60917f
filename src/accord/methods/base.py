"""The contract of every method: a batch becomes a loss, an input becomes an embedding.

Training, evaluation, search, reports and serving are written once against this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from accord.config import Config
from accord.data.features import Features
from accord.data.views import View
from accord.encoders.base import Encoder, Freeze
from accord.errors import ConfigError

if TYPE_CHECKING:
    from accord.data.text_views import TextView
    from accord.encoders.bundles import Bundle
    from accord.encoders.generation import Caption, CaptionFit, Decoding

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


@dataclass
class Concepts:
    """Which concepts of a vocabulary that modalities share an input activates, and where; see :meth:`Method.concepts`.

    Args:
        weights: ``(B, C)`` how much of each concept there is; nonnegative, rows sum to 1.
        relevance: ``(B, N, C)`` how strongly each patch, word or frame speaks for each concept.
        mask: ``(B, N)`` bool, True where there is a patch, word or frame, or None when all are.
    """

    weights: Tensor
    relevance: Tensor
    mask: Tensor | None = None


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


class Method(nn.Module):
    """Base of all methods.

    A subclass sets ``name`` (the registry name), ``Config``, ``needs`` and implements :meth:`loss` and
    :meth:`embed`; everything else has a default. Its encoders are ``self.encoders[modality]``. Parameters and
    buffers under a prefix of ``training_only`` (momentum copies, queues, teachers' features) are checkpointed, but
    no part of the finished model.

    Args:
        config: the method's :class:`Config`.
        encoders: one encoder per modality.
        data: what is known of the training data.

    Raises:
        ConfigError: an encoder is missing or does not give what the method needs.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Config]]
    needs: Mapping[str, frozenset[str]]  # modality -> features, e.g. {"image": {"pooled"}}
    training_only: ClassVar[tuple[str, ...]] = ()
    learns_labels: ClassVar[bool] = False  # whether each training row has to have a label
    rescores_in_logits: ClassVar[bool] = False  # whether `rescore` gives logits, as a matching head does, not cosines

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__()
        self.config = self.Config.parse(config)
        self.data = data
        self.needs = self.wants(self.config)
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

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """What a method with this configuration needs of which modality; ``needs`` unless settings decide."""
        return cls.needs

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """Encoders to take where the user names none and the usual ones do not fit.

        Modality -> ``name``, ``freeze`` and ``options``, as in :class:`accord.pipeline.config.EncoderConfig`.
        """
        return {}

    @classmethod
    def settings_from(cls, bundle: Bundle) -> dict[str, Any]:
        """Settings that a pretrained joint space decides where the user does not: its size, if there is such a one."""
        return {"dim": bundle.dim} if "dim" in cls.Config.model_fields else {}

    def start_from(self, bundle: Bundle) -> tuple[str, ...]:
        """Take over what fits of a pretrained joint space, whose encoders it has already; returns in words what.

        The default is :func:`accord.methods.inherit.inherit`: ``projections`` and ``logit_scale``.
        """
        from accord.methods.inherit import inherit

        return inherit(self, bundle)

    @property
    def views(self) -> tuple[View, ...]:
        """Augmented image views of the training data; the first is ``batch["image"]``."""
        return ()

    @property
    def text_views(self) -> tuple[TextView, ...]:
        """Augmented views of the caption: ``batch["text_views"]``, beside ``batch["text"]``."""
        return ()

    @property
    def sampling(self) -> Episode | None:
        """How the rows of an epoch are drawn; None for every row once."""
        return None

    def group(self, name: str) -> Group:
        """The group of the parameter ``name``."""
        return Group()

    def lr_factor(self, group: str, step: Step, warmup: int) -> float:
        """Factor on the learning rate of a named group at a step, after ``warmup`` steps of warm-up."""
        raise NotImplementedError

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

    def joint(
        self, queries: Mapping[str, Tensor], candidates: Mapping[str, Tensor], present: Tensor | None = None
    ) -> Tensor:
        """Score ``(A, B)`` of A queries against B candidates, each of one or several modalities; the mean cosine.

        Args:
            queries: modality -> unit-norm embeddings ``(A, D)``.
            candidates: modality -> unit-norm embeddings ``(B, D)``.
            present: ``(B, k)`` bool, False for a modality that a candidate lacks; None when all are there.
        """
        query = torch.stack(list(queries.values())).mean(dim=0)  # (A, D)
        cosines = torch.stack([query @ candidate.T for candidate in candidates.values()], dim=2)  # (A, B, k)
        if present is None:
            return cosines.mean(dim=2)
        there = present.to(cosines)
        return (cosines * there).sum(dim=2) / there.sum(dim=1).clamp(min=1)

    @property
    def matches(self) -> str | None:
        """The modality that :meth:`match` reads beside all others; None where there is no such head."""
        return None

    def match(self, anchor: Features, others: Mapping[str, Features]) -> Tensor:
        """Log-odds ``(P,)`` that the p-th item of one modality belongs to the p-th tuple of the others.

        Args:
            anchor: of the modality :attr:`matches`, from :meth:`local`.
            others: modality -> the same.

        Raises:
            ConfigError: the method has no such head.
        """
        raise ConfigError(f"method {self.name} compares whole embeddings; it has no matching head for tuples")

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

    @property
    def rescores(self) -> bool:
        """Whether pairs that a search found can be scored more closely, see :meth:`rescore`."""
        return type(self).rescore is not Method.rescore

    def local(self, batch: Batch) -> dict[str, Features]:
        """``tokens (B, N, D)`` and ``mask (B, N)`` of the modalities in the batch; ``pooled`` is the embedding.

        They are for :meth:`rescore` or :meth:`match`.

        Raises:
            ConfigError: the method has no second stage.
        """
        raise ConfigError(f"method {self.name} compares whole embeddings; it has no second stage")

    def rescore(self, query: Features, candidates: Features, modality: str) -> Tensor:
        """Scores ``(A, B)`` of A queries of a modality against B candidates of the other, both from :meth:`local`.

        Raises:
            ConfigError: the method does not rescore.
        """
        raise ConfigError(f"method {self.name} compares whole embeddings; it has no second stage")

    @property
    def locates_words(self) -> bool:
        """Whether words can be traced to places in a picture, see :meth:`word_patch`."""
        return type(self).word_patch is not Method.word_patch

    def word_patch(self, batch: Batch) -> Tensor:
        """Similarity ``(B, L, N)`` of every word of a row with every patch of its picture, 0 for padding.

        Raises:
            ConfigError: the method does not compare words with patches.
        """
        raise ConfigError(
            f"method {self.name} does not compare words with patches; choose one that does, such as filip"
        )

    @property
    def captions(self) -> bool:
        """Whether the method writes captions, see :meth:`caption`."""
        return type(self).caption is not Method.caption

    def caption(self, batch: Batch, decoding: Decoding) -> list[Caption]:
        """A caption for each image of the batch.

        Raises:
            ConfigError: the method writes none.
        """
        raise ConfigError(f"method {self.name} writes no captions")

    def read_captions(self, batch: Batch) -> CaptionFit:
        """How well each caption of the batch is predicted, word after word, from its image.

        Raises:
            ConfigError: the method writes none.
        """
        raise ConfigError(f"method {self.name} writes no captions")

    @property
    def has_concepts(self) -> bool:
        """Whether inputs of all modalities are made of the same concepts, see :meth:`concepts`."""
        return type(self).concepts is not Method.concepts

    def concepts(self, batch: Batch) -> dict[str, Concepts]:
        """What the inputs of each modality in the batch are made of.

        Raises:
            ConfigError: the method has no concepts.
        """
        raise ConfigError(f"method {self.name} does not express its inputs in concepts that modalities share")

    @property
    def dense_features(self) -> bool:
        """Whether the image encoder gives a map, see :meth:`dense`."""
        return "image" in self.encoders and "tokens" in self.encoders["image"].gives  # type: ignore[operator]

    def dense(self, batch: Batch) -> Tensor:
        """Features ``(B, C, h, w)`` of the cells of each image: the encoder's map; heads only serve training.

        Raises:
            ConfigError: the image encoder gives no tokens.
        """
        if not self.dense_features:
            raise ConfigError(f"method {self.name}: the image encoder gives no map of its cells; choose another one")
        return self.encoders["image"](batch["image"]).grid().float()

    @property
    def segments(self) -> bool:
        """Whether the method divides images into parts by itself, see :meth:`segment`."""
        return type(self).segment is not Method.segment

    def segment(self, batch: Batch, size: tuple[int, int]) -> Tensor:
        """The part ``(B, H, W)``, a number, that each pixel of each image belongs to.

        Raises:
            ConfigError: the method does not segment.
        """
        raise ConfigError(f"method {self.name} does not segment images by itself; choose one that does: slotcon")

    def verdicts(self) -> Verdicts | None:
        """The method's judgement of the training rows, or None when it makes none."""
        return None

    @property
    def converged(self) -> bool:
        """Whether the stage may end before its epochs are over; asked after every epoch."""
        return False

    def before_stage(self, stage: Stage, loader: Loader) -> None:
        """Run once before a stage; ``loader`` gives every training row once, in order, without augmentation."""

    def before_epoch(self, step: Step, loader: Loader) -> None:
        """Run before each epoch with the same kind of loader."""

    def after_backward(self, step: Step) -> None:
        """Run between the backward pass and the optimiser's step (gradients that a part is not to have)."""

    def after_step(self, step: Step) -> None:
        """Run after each optimiser step (clamps, moving averages)."""

    def after_stage(self, stage: Stage, loader: Loader) -> None:
        """Run once after a stage."""

    @property
    def device(self) -> torch.device:
        """Where the method's parameters are."""
        return next(self.parameters()).device


class Objective(nn.Module):
    """A loss on the embeddings of any paired method, added to its own.

    A subclass sets ``name`` and ``Config`` and implements :meth:`forward`.

    Args:
        config: the objective's :class:`Config`.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Config]]

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = self.Config.parse(config)

    def forward(self, embeddings: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        """Named scalar terms of unit-norm embeddings ``{modality: (B, D)}``; ``total`` is added to the loss."""
        raise NotImplementedError


class Paired(Method):
    """A method whose loss is a function of what its towers make of a batch, embeddings of two modalities among it.

    ``loss(batch, step)`` is ``objective(towers(batch), batch, step)`` plus the added objectives, which act on
    :meth:`embeddings`.
    """

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.added = nn.ModuleDict()

    def add(self, objective: Objective) -> None:
        """Add an objective to the loss.

        Raises:
            ConfigError: one of that name is there already.
        """
        if objective.name in self.added or objective.name == self.name:
            raise ConfigError(f"objective {objective.name!r} is part of the loss already")
        self.added[objective.name] = objective

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        """Differentiable tensors, among them the unit-norm embedding ``(B, D)`` of each modality."""
        raise NotImplementedError

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """The loss terms from the towers' outputs."""
        raise NotImplementedError

    def embeddings(self, towers: dict[str, Tensor]) -> dict[str, Tensor]:
        """Unit-norm embeddings ``{modality: (B, D)}`` among the towers' outputs."""
        return {modality: towers[modality] for modality in self.needs}

    def score(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """:meth:`objective` and the added objectives; their terms are called ``NAME: TERM``."""
        terms = dict(self.objective(towers, batch, step))
        for name, objective in self.added.items():
            extra = objective(self.embeddings(towers), step)
            terms["total"] = terms["total"] + extra["total"]
            terms |= {f"{name}: {term}": value.detach() for term, value in extra.items() if term != "total"}
        return terms

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """``score(towers(batch))``."""
        return self.score(self.towers(batch), batch, step)


class TwoTower(Paired):
    """A paired method whose towers work row by row, so that gradient caching applies.

    Every output of :meth:`towers` has the batch first and no row depends on another.
    """


__all__ = [
    "Batch",
    "Concepts",
    "DataInfo",
    "Episode",
    "Freeze",
    "Group",
    "Loader",
    "Method",
    "Objective",
    "Paired",
    "Stage",
    "Step",
    "TwoTower",
    "Verdicts",
]
