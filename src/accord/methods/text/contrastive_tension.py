"""Contrastive Tension: Semantic Re-Tuning with Contrastive Tension (Carlsson et al., ICLR 2021).

Two copies of an encoder are trained against each other: of the same sentence their vectors should have a large inner
product, of two different sentences a small one. No augmentation and no dropout; what differs is the encoders.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from accord import config as settings
from accord.encoders.base import Encoder
from accord.errors import ConfigError
from accord.functional import contrastive_tension_loss, gather_features
from accord.methods.base import Batch, DataInfo, Group, Loader, Stage, Step
from accord.methods.text.sentences import SentenceConfig, Sentences, spread_of

FACTORS = (1.0, 0.8, 0.6, 0.4, 0.2)  # of the learning rate, one after the other


class ContrastiveTensionConfig(SentenceConfig):
    """Settings of :class:`ContrastiveTension`; defaults from the paper and its released code."""

    dropout: float | None = Field(0.0, ge=0, lt=1, description="dropout before each block; the paper has none")
    negatives: int = Field(7, ge=1, description="pairs of different texts for each pair of equal ones")
    falls_every: int = Field(
        500, ge=1, description="steps after which the learning rate falls, to 0.8, 0.6, 0.4 and 0.2 of what is set"
    )
    keep: Literal["first", "second"] = Field(
        "first", description="which encoder is kept; the paper keeps the one that is better on held-out pairs"
    )


class ContrastiveTension(Sentences):
    """Two encoders with the same start, trained apart on the texts of a batch.

    The wrong partner of a text is any other text of the batch. Inner products are of vectors that are not normalised,
    and the loss is the mean over pairs, as in the original; a popular re-implementation takes the sum.

    Batch keys: ``text (B, L)``, ``text_mask (B, L)``.

    Example:
        >>> from accord.encoders import build_encoder
        >>> words = ["a red ball", "a blue cup", "two trees"]
        >>> text = build_encoder("text", {"name": "tiny_text", "pool": "mean"}, texts=words)
        >>> ids, mask = text.input.tokenizer(words)
        >>> method = ContrastiveTension({}, {"text": text}, DataInfo())
        >>> method.loss({"text": ids, "text_mask": mask}, Step(watched=False)).keys()
        dict_keys(['tension', 'total'])
    """

    name: ClassVar[str] = "contrastive_tension"
    Config: ClassVar[type[settings.Config]] = ContrastiveTensionConfig
    training_only: ClassVar[tuple[str, ...]] = ("other.",)
    config: ContrastiveTensionConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        if encoders["text"].frozen:
            raise ConfigError(
                f"method {self.name} trains two copies of the text encoder: set encoders.text.freeze=none"
            )
        self.other = deepcopy(encoders["text"])

    def group(self, name: str) -> Group:
        """One for all, whose learning rate falls in steps."""
        return Group("tension")

    def lr_factor(self, group: str, step: Step, warmup: int) -> float:
        """A fifth less every so many steps, down to a fifth; after the warm-up, if there is one."""
        falls = FACTORS[min(step.index // self.config.falls_every, len(FACTORS) - 1)]
        return falls * min(1.0, (step.index + 1) / max(1, warmup))

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Each text with itself, and with some others."""
        first, second = (
            gather_features(self._at_rest(encoder, batch), with_grad=True)
            for encoder in (self.text_encoder, self.other)
        )
        rows, count = len(first), self.config.negatives
        own = torch.arange(rows, device=self.device)
        steps = torch.randint(1, max(2, rows), (rows, count), generator=step.generator(self.device), device=self.device)
        left = torch.cat([own, own.repeat_interleave(count)])
        right = torch.cat([own, ((own[:, None] + steps) % rows).flatten()])
        total = contrastive_tension_loss(first[left], second[right], (left == right).float())
        terms = {"tension": total.detach(), "total": total}
        return {**terms, **spread_of(first, second)} if step.watched else terms

    def _at_rest(self, encoder: Any, batch: Batch) -> Tensor:
        """Vectors without the dropout of the encoder itself."""
        if self.dropout:
            return self.pooled(self.read_by(encoder, batch["text"], batch.get("text_mask")))
        training = encoder.training
        encoder.eval()
        features = encoder(batch["text"], batch.get("text_mask"))
        encoder.train(training)
        return self.pooled(features)

    @torch.no_grad()
    def after_stage(self, stage: Stage, loader: Loader) -> None:
        """The second encoder takes the place of the first, where it is the one to keep."""
        if self.config.keep == "second":
            self.text_encoder.load_state_dict(self.other.state_dict())
