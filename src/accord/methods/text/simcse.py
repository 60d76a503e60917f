"""SimCSE: Simple Contrastive Learning of Sentence Embeddings (Gao et al., EMNLP 2021).

Two readings of a sentence, each with a dropout of its own, are positives; the other sentences of the batch are
negatives (section 3). Where a row has several texts, such as a sentence and what follows from it, two of them are the
positives (section 4); :class:`SimcseSupervised` has hard negatives as well, such as a contradiction of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.text_views import TextView
from accord.data.inputs import TextInput
from accord.encoders.base import Encoder
from accord.functional import gather_features, simcse_loss
from accord.methods.base import Batch, DataInfo, Step
from accord.methods.text.masked import HiddenWords
from accord.methods.text.sentences import Pair, SentenceConfig, Sentences, spread_of


class SimcseConfig(SentenceConfig):
    """Settings of :class:`Simcse`; defaults from the paper's unsupervised runs on BERT."""

    pooling: Literal["encoder", "cls", "mean"] = Field(
        "cls", description="a text's vector: as its encoder pools, its first token, or the mean of its tokens"
    )
    head: Literal["training", "always", "none"] = Field(
        "training",
        description="a layer and tanh on the first token: in training alone, also in use (as the paper does with "
        "supervision), or not at all; there is none on a mean",
    )
    temperature: float = Field(0.05, gt=0, description="divides the cosines")
    symmetric: bool = Field(False, description="take the mean with the other direction, too")
    mlm_weight: float = Field(
        0.0, ge=0, description="weight of masked language modelling (0.1 in the paper's ablation)"
    )
    delete: float = Field(0.0, ge=0, lt=1, description="probability of each word to be left out of the second reading")


class Simcse(Sentences):
    """SimCSE over any text encoder.

    Batch keys: ``text (B, L)``, ``text_mask (B, L)``, ``text_views`` a pair of the same: another text of the row, or
    the same one where there is none.

    Example:
        >>> from accord.encoders import build_encoder
        >>> words = ["a red ball", "a blue cup", "two trees"]
        >>> text = build_encoder("text", {"name": "tiny_text", "pool": "mean"}, texts=words)
        >>> method = Simcse({}, {"text": text}, DataInfo())
        >>> ids, mask = text.input.tokenizer(words)
        >>> batch = {"text": ids, "text_mask": mask, "text_views": [(ids, mask)]}
        >>> sorted(method.loss(batch, Step()))
        ['alignment', 'contrastive', 'effective_rank', 'total', 'uniformity']
        >>> method.eval().embed(batch)["text"].shape
        torch.Size([3, 128])
    """

    name: ClassVar[str] = "simcse"
    Config: ClassVar[type[settings.Config]] = SimcseConfig
    config: SimcseConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.head: nn.Module | None = None
        if self.config.head != "none" and self.config.pooling == "cls":
            self.head = nn.Sequential(nn.Linear(self.width, self.width), nn.Tanh())
        self.words = HiddenWords(encoders["text"]) if self.config.mlm_weight else None

    @property
    def text_views(self) -> tuple[TextView, ...]:
        """Another text of the row, or the same one once more."""
        share = self.config.delete
        return (TextView(caption="other", delete=float(share > 0), strength=share),)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Each text must find its other reading among all."""
        first, second, *hard = self._seen_everywhere([(batch["text"], batch.get("text_mask")), *self.others(batch)])
        total = simcse_loss(
            first,
            second,
            hard[0] if hard else None,
            self.config.temperature,
            self.hard_log_weight,
            symmetric=self.config.symmetric,
        )
        terms = {"contrastive": total.detach(), "total": total}
        if self.words is not None:
            hidden, labels = self.words.hide(batch["text"], batch["text_mask"], step.generator(self.device))
            mlm = self.words.loss(self.read(hidden, batch["text_mask"]), labels, self.text_encoder)
            terms |= {"mlm": mlm.detach(), "total": total + self.config.mlm_weight * mlm}
        return {**terms, **spread_of(first, second)} if step.watched else terms

    @property
    def hard_log_weight(self) -> float:
        """What is added to the logit of a text's own hard negative."""
        return 0.0

    def others(self, batch: Batch) -> list[Pair]:
        """What each text is compared with beside itself: its positive, and its hard negative where there is one."""
        return [batch["text_views"][0]]

    def _seen_everywhere(self, views: list[Pair]) -> list[Tensor]:
        """The vectors of all processes, through the head."""
        vectors = [vector if self.head is None else self.head(vector) for vector in self.of_views(views)]
        return [gather_features(vector.float(), with_grad=True) for vector in vectors]

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The text's vector, unit norm; through the head where settings say so."""
        vectors = self.pooled(self.text_encoder(batch["text"], batch.get("text_mask")))
        if self.head is not None and self.config.head == "always":
            vectors = self.head(vectors).float()
        return {"text": F.normalize(vectors, dim=1)}


class SimcseSupervisedConfig(SimcseConfig):
    """Settings of :class:`SimcseSupervised`; defaults from the paper's runs on entailments and contradictions."""

    head: Literal["training", "always", "none"] = Field(
        "always", description="a layer and tanh on the first token: in training alone, also in use, or not at all"
    )
    hard_log_weight: float = Field(
        0.0, description="added to the logit of a text's own hard negative; it is the logarithm of a weight"
    )


class SimcseSupervised(Simcse):
    """SimCSE with a hard negative of each text; its positive is another text of the row.

    Batch keys: those of :class:`Simcse`, and ``hard_text``, B strings.
    """

    name: ClassVar[str] = "simcse_supervised"
    Config: ClassVar[type[settings.Config]] = SimcseSupervisedConfig
    targets: ClassVar[tuple[str, ...]] = ("hard_text",)
    config: SimcseSupervisedConfig

    @property
    def hard_log_weight(self) -> float:
        """As set."""
        return self.config.hard_log_weight

    def others(self, batch: Batch) -> list[Pair]:
        """The positive and the hard negative."""
        reader = self.text_encoder.input
        assert isinstance(reader, TextInput)  # it is a text encoder
        ids, mask = reader.tokenizer(list(batch["hard_text"]))
        return [*super().others(batch), (ids.to(self.device), mask.to(self.device))]
