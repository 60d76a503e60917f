"""Supervised contrast in fine-tuning: Supervised Contrastive Learning for Pre-trained Language Model Fine-tuning.

Gunel et al., ICLR 2021. Beside the cross-entropy of a linear classifier, texts of one class are drawn together and
those of others pushed away, which helps most with few or noisy labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.encoders.base import Encoder
from accord.errors import ConfigError
from accord.functional import gather_features, supcon
from accord.methods.abilities import Classifies
from accord.methods.base import Batch, DataInfo, Step
from accord.methods.text.sentences import SentenceConfig, Sentences


class SupconTextConfig(SentenceConfig):
    """Settings of :class:`SupconText`."""

    pooling: Literal["encoder", "cls", "mean"] = Field(
        "cls", description="a text's vector: as its encoder pools, its first token, or the mean of its tokens"
    )
    share: float = Field(0.9, ge=0, le=1, description="of the contrast in the loss; 0 is cross-entropy alone")
    temperature: float = Field(0.3, gt=0, description="divides the cosines")


class SupconText(Sentences, Classifies):
    """A classifier of texts, trained by cross-entropy and supervised contrast.

    Batch keys: ``text (B, L)``, ``text_mask (B, L)``, ``label (B,)``; without contrast also ``(B, C)``.

    Example:
        >>> import torch
        >>> from accord.encoders import build_encoder
        >>> words = ["a red ball", "a blue cup"]
        >>> text = build_encoder("text", {"name": "tiny_text", "pool": "mean"}, texts=words)
        >>> method = SupconText({}, {"text": text}, DataInfo(classes=("toy", "dish")))
        >>> ids, mask = text.input.tokenizer(words)
        >>> method.classify({"text": ids, "text_mask": mask}).shape
        torch.Size([2, 2])
    """

    name: ClassVar[str] = "supcon_text"
    learns_labels: ClassVar[bool] = True
    Config: ClassVar[type[settings.Config]] = SupconTextConfig
    config: SupconTextConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        if len(data.classes) < 2:
            raise ConfigError(f"method {self.name} needs labels of at least 2 classes, got {len(data.classes)}")
        if data.multi_label and self.config.share:
            raise ConfigError(
                f"method {self.name} contrasts rows of one label each, and these have several: set method.share=0 for "
                "a plain classifier, or take label_matching"
            )
        self.classifier = nn.Linear(self.width, len(data.classes))

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """``(1 - share) CE + share SupCon``; the contrast sees the texts of all processes."""
        vectors, share = self.pooled(self.read(batch["text"], batch.get("text_mask"))), self.config.share
        logits = self.classifier(vectors).float()
        if self.data.multi_label:
            return {"total": F.binary_cross_entropy_with_logits(logits, batch["label"].float())}
        entropy = F.cross_entropy(logits, batch["label"])
        everywhere = gather_features(vectors, with_grad=True)
        labels = gather_features(batch["label"], with_grad=False)
        contrast = supcon(everywhere, labels, self.config.temperature)
        total = (1 - share) * entropy + share * contrast
        return {"total": total, "cross_entropy": entropy.detach(), "contrastive": contrast.detach()}

    def classify(self, batch: Batch) -> Tensor:
        """Class logits ``(B, C)``."""
        return self.classifier(self.pooled(self.text_encoder(batch["text"], batch.get("text_mask")))).float()
