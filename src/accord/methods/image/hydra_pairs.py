"""Hydra, later SimLAP: Rethinking Positive Pairs in Contrastive Learning (2024, arXiv 2410.18200).

Any two classes may be a positive pair. For every pair of classes a feature filter, a small network on their labels,
opens some dimensions of the projections and closes others; inside what is open, anchors of the one class are drawn to
rows of the other and pushed from all other classes. With every dimension open and the own class as partner this is
supervised contrast (Khosla et al. 2020, NeurIPS).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.views import View
from accord.encoders.base import Encoder
from accord.encoders.heads import Fuse, MLPHead, OpenGate, PairGate
from accord.encoders.multires import pooled_views
from accord.errors import ConfigError
from accord.functional import (
    contrastive_loss,
    effective_rank,
    gate_entropy,
    gated_similarity,
    gather_features,
    own_rows,
    pair_masks,
    sample_partners,
    world_size,
)
from accord.methods.abilities import Classifies, Embeds, RelatesClasses
from accord.methods.base import Batch, DataInfo, Method, Step
from accord.methods.programme import ClassBalanced
from accord.state import LogitScale


class HydraPairsConfig(settings.Config):
    """Settings of :class:`HydraPairs`; defaults of the supervised trainer, whose keys are the batch itself.

    The two-view trainer is ``views=2``, ``average="anchor"`` and ``learn_temperature=true``.
    """

    partner: Literal["arbitrary", "identical", "distinct"] = Field(
        "arbitrary", description="class that an anchor is drawn to: one of the batch, its own, or any other one"
    )
    gate: Literal["sigmoid", "gumbel", "stochastic", "open"] = Field(
        "sigmoid", description="the feature filter; open: none, every dimension counts for every pair"
    )
    fuse: Fuse = Field("mean", description="a gate of the mean of both label vectors, or the product of two gates")
    similarity: Literal["squared", "subspace"] = Field(
        "squared",
        description="squared: closed dimensions lower every similarity (second version); subspace: the cosine of what "
        "is open (first version)",
    )
    views: Literal[1, 2] = Field(1, description="1: the keys are the batch itself; 2: they are other views of it")
    average: Literal["pair", "anchor"] = Field(
        "pair", description="mean over all positive pairs, or over those of an anchor and then over anchors"
    )
    dim: int = Field(256, ge=1, description="size of the projections, and of a gate")
    hidden: int = Field(2048, ge=1, description="width of the projector's hidden layer")
    label_dim: int = Field(512, ge=1, description="size of a label vector")
    gate_hidden: int = Field(1024, ge=1, description="width of the filter's hidden layer")
    temperature: float = Field(0.1, gt=0.01, lt=1, description="divides the similarities; where learnt, the first one")
    learn_temperature: bool = Field(False, description="train the temperature")
    gate_entropy: float = Field(0.0, ge=0, description="weight of the gates' entropy, which makes them open or closed")
    gate_sparsity: float | None = Field(
        None,
        ge=0,
        description="weight of the expected number of open dimensions; None for 1e-6 of a stochastic gate, else 0",
    )
    supervise: bool = Field(False, description="let the linear classifier's gradient into the encoder")
    samples: int = Field(0, ge=0, description="rows of each class in a batch (P classes of K rows); 0 draws any rows")
    crop_scale: tuple[float, float] = Field((0.7, 1.0), description="area range of the training crop")
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring a crop")


class HydraPairs(Method, Embeds, Classifies, RelatesClasses):
    """Arbitrary pairs of classes as positives, each in the dimensions that the filter leaves them.

    Its vectors are the encoder's own; projector and filter serve training, and tell how classes are related. The
    released code lets an anchor of a single view be its own positive where its partner has its class; here it is not.

    Batch keys: ``image``, or ``image_views`` with two views; ``label (B,)``.

    Example:
        >>> import torch
        >>> from accord.encoders import build_encoder
        >>> towers = {"image": build_encoder("image", {"name": "tiny_resnet", "width": 32})}
        >>> config = {"dim": 16, "hidden": 32, "label_dim": 8, "gate_hidden": 16}
        >>> method = HydraPairs(config, towers, DataInfo(classes=("cat", "dog", "fox")))
        >>> batch = {"image": torch.randn(6, 3, 32, 32), "label": torch.tensor([0, 1, 2, 0, 1, 2])}
        >>> sorted(method.loss(batch, Step()))[:4]
        ['classifier', 'effective_rank', 'gate_entropy', 'open_dimensions']
        >>> method.eval().gates(torch.tensor([0]), torch.tensor([2])).shape
        torch.Size([1, 16])
    """

    name: ClassVar[str] = "hydra_pairs"
    learns_labels: ClassVar[bool] = True
    Config: ClassVar[type[settings.Config]] = HydraPairsConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"})}
    config: HydraPairsConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg, classes, width = self.config, len(data.classes), encoders["image"].dim
        _check_classes(cfg, data)
        self.projector = MLPHead(width, cfg.dim, cfg.hidden, last_bias=False, norm_last="layer")
        self.gate = (
            OpenGate(cfg.dim)
            if cfg.gate == "open"
            else PairGate(classes, cfg.dim, cfg.label_dim, cfg.gate_hidden, cfg.fuse, cfg.gate)
        )
        self.classifier = nn.Linear(width, classes)
        self.logit_scale = LogitScale(1 / cfg.temperature)
        self.logit_scale.requires_grad_(cfg.learn_temperature)

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """A small network to train: a frozen one would learn nothing."""
        return {"image": {"name": "tiny_resnet"}}

    @property
    def views(self) -> tuple[View, ...]:
        """One mild crop or two."""
        return (View(scale=self.config.crop_scale, flip=self.config.flip, count=self.config.views),)

    @property
    def sampling(self) -> ClassBalanced | None:
        """P classes of K rows where ``samples`` asks for them, so that every partner has keys."""
        return ClassBalanced(self.config.samples) if self.config.samples else None

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Each anchor against the keys of all processes, inside the gate of its class and its partner's."""
        cfg, label = self.config, batch["label"]
        views = batch["image_views"] if cfg.views > 1 else [batch["image"]]
        h = pooled_views(self.encoders["image"], views)  # (V·B, D): batch norm sees every view
        z = self.projector(h)
        anchors, keys = z[: len(label)], gather_features(z[-len(label) :], with_grad=True)  # (B, d), (N, d)
        labels = gather_features(label, with_grad=False)  # (N,)
        draws, own = step.generator(label.device), own_rows(len(label))
        partners = sample_partners(labels, cfg.partner, len(self.data.classes), draws)
        gate, chance = self.gate.drawn(label, partners[own], draws)  # (B, d)
        scale = self.logit_scale()
        logits = gated_similarity(anchors, keys, gate, cfg.similarity) * scale  # (B, N)
        pairs, positives = self._pairs(logits, labels, partners)
        logits_of_classes = self.classifier(h[: len(label)] if cfg.supervise else h[: len(label)].detach())
        classifier = F.cross_entropy(logits_of_classes.float(), label)
        undecided, open_dimensions = gate_entropy(gate), chance.sum(dim=1).mean()
        total = pairs + classifier + cfg.gate_entropy * undecided + self._sparsity * open_dimensions
        terms = {"total": total, "pairs": pairs, "classifier": classifier}
        terms |= {"gate_entropy": undecided, "open_dimensions": open_dimensions, "temperature": 1 / scale}
        if step.watched:
            terms["without_positive"] = (positives == 0).float().mean()
            terms["effective_rank"] = effective_rank(keys.float(), center=True)
        return {name: term if name == "total" else term.detach() for name, term in terms.items()}

    def _pairs(self, logits: Tensor, labels: Tensor, partners: Tensor) -> tuple[Tensor, Tensor]:
        """The contrast of these anchors, such that the mean over processes is that of all; positives ``(N,)`` of each.

        An anchor without a positive, whose partner the batch lacks, counts in neither average.
        """
        positive, negative = pair_masks(labels, partners, labels, exclude_self=self.config.views == 1)  # (N, N)
        own, count = own_rows(len(logits)), positive.sum(dim=1).float()
        weight = count if self.config.average == "pair" else (count > 0).float()
        each = contrastive_loss(logits, positive[own], negative[own], denominator="own", reduction="none")
        return world_size() * (each * weight[own]).sum() / weight.sum().clamp(min=1), count

    @property
    def _sparsity(self) -> float:
        given = self.config.gate_sparsity
        return (1e-6 if self.config.gate == "stochastic" else 0.0) if given is None else given

    def after_step(self, step: Step) -> None:
        """Clamp the temperature."""
        self.logit_scale.clamp_()

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The encoder's own vector, unit norm: projector and filter only serve training."""
        return {"image": F.normalize(self._features(batch).float(), dim=1)}

    def classify(self, batch: Batch) -> Tensor:
        """Logits ``(B, C)`` of the linear classifier that was trained beside."""
        return self.classifier(self._features(batch)).float()

    def project(self, batch: Batch) -> Tensor:
        """Projections ``(B, d)``, in whose dimensions pairs of classes are compared."""
        return self.projector(self._features(batch)).float()

    def gates(self, first: Tensor, second: Tensor) -> Tensor:
        """What the filter leaves open to pairs of classes, ``(P, d)``; read it in eval mode."""
        return self.gate(first.to(self.device), second.to(self.device)).float()

    def _features(self, batch: Batch) -> Tensor:
        return self.encoders["image"](batch["image"]).pooled


def _check_classes(cfg: HydraPairsConfig, data: DataInfo) -> None:
    """Refuse labels that leave an anchor nothing to be pushed from.

    Raises:
        ConfigError: rows have several labels, or there are too few classes.
    """
    if data.multi_label:
        raise ConfigError(
            "method hydra_pairs pairs classes, of which a row has one: these rows may have several labels"
        )
    least = 2 if cfg.partner == "identical" else 3
    if len(data.classes) < least:
        raise ConfigError(
            f"method hydra_pairs needs labels of at least {least} classes with partner = {cfg.partner}, got "
            f"{len(data.classes)}: an anchor is pushed from all classes but its own and its partner's"
        )
