"""What CAPro is measured against: cross-entropy on the labels as they are, and prototypes without text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.views import View
from accord.encoders.base import Encoder
from accord.errors import ConfigError
from accord.methods.abilities import Classifies, Embeds
from accord.methods.base import Batch, DataInfo, Loader, Method, Stage, Step
from accord.methods.noisy.capro import Capro, CaproConfig
from accord.state import FeatureStandardiser


class CrossEntropyConfig(settings.Config):
    """Settings of :class:`CrossEntropy`."""

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="probability mass spread over the other classes")


class CrossEntropy(Method, Embeds, Classifies):
    """A linear classifier on the image encoder, trained on the labels as given; CAPro's, which has no bias.

    Batch keys: ``image``, ``label (B,)`` or ``(B, C)``.
    """

    name: ClassVar[str] = "cross_entropy"
    learns_labels: ClassVar[bool] = True
    Config: ClassVar[type[settings.Config]] = CrossEntropyConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"})}
    config: CrossEntropyConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        if len(data.classes) < 2:
            raise ConfigError(f"method {self.name} needs labels of at least 2 classes, got {len(data.classes)}")
        self.standardise = FeatureStandardiser(encoders["image"].dim)
        self.classifier = nn.Linear(encoders["image"].dim, len(data.classes))
        # Zero for good; models that were trained when it was learnt have one.
        nn.init.zeros_(self.classifier.bias).requires_grad_(False)

    @property
    def views(self) -> tuple[View, ...]:
        """The weak view of CAPro."""
        return (View(scale=(0.8, 1.0), lighting=0.1),)

    @torch.no_grad()
    def before_stage(self, stage: Stage, loader: Loader) -> None:
        """The feature statistics of a frozen encoder."""
        if self.encoders["image"].frozen:
            self.standardise.fit(torch.cat([self._features(batch["image"]) for batch in loader]))

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Cross-entropy; binary cross-entropy over classes when labels are multi-hot."""
        logits, label = self.classify(batch), batch["label"]
        if self.data.multi_label:
            loss = F.binary_cross_entropy_with_logits(logits, label.float())
        else:
            loss = F.cross_entropy(logits, label, label_smoothing=self.config.label_smoothing)
        return {"total": loss}

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Unit-norm encoder features, as the classifier sees them."""
        return {"image": F.normalize(self._features(batch["image"]).float(), dim=-1)}

    def classify(self, batch: Batch) -> Tensor:
        """Class logits ``(B, C)``."""
        return self.classifier(self._features(batch["image"])).float()

    def _features(self, image: Any) -> Tensor:
        return self.standardise(self.encoders["image"](image).pooled)


class PrototypicalConfig(CaproConfig):
    """Settings of :class:`Prototypical`: CAPro's, without bootstrapping and with nothing to protect."""

    beta: float = Field(0.0, ge=0, le=1, description="weight of collective bootstrapping in the low-dim loss")
    protect: bool = Field(False, description="trusted images are never dropped or relabelled")


class Prototypical(Capro):
    """Vanilla prototypical contrast without text: CAPro whose prototypes start from *all* images of a web label.

    This is momentum prototypes (MoPro, Li et al., ICLR 2021) inside CAPro's network, so that a comparison changes
    one thing only.

    Batch keys: those of :class:`accord.methods.noisy.capro.Capro`, no text.
    """

    name: ClassVar[str] = "prototypical"
    Config: ClassVar[type[settings.Config]] = PrototypicalConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"})}

    def select_trusted(self, loader: Loader) -> Tensor:
        """Every row: the web label is all there is to go by."""
        return torch.ones_like(self.trusted)
