"""CERT: Contrastive Self-supervised Learning for Language Understanding (Fang et al., 2020, arXiv).

MoCo for texts: two rewritings of a sentence are query and key, the key comes from a slow copy of the encoder, and the
negatives from a queue of earlier keys. The paper rewrites by translation through two other languages and back. Here
these are further texts of the row (a column each), or what :attr:`Cert.rewrites` makes; without either, words are
exchanged for synonyms, which is nearer to the sentence than a translation is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.text_views import Rewrite, TextView
from accord.encoders.base import Encoder
from accord.functional import gather_features, queue_info_nce, queue_logits
from accord.methods.base import Batch, DataInfo, Step
from accord.methods.text.sentences import Pair, SentenceConfig, Sentences, spread_of
from accord.state import FeatureQueue, MomentumParts


class CertConfig(SentenceConfig):
    """Settings of :class:`Cert`; defaults from the paper's released code."""

    pooling: Literal["encoder", "cls", "mean"] = Field(
        "cls", description="a text's vector: as its encoder pools, its first token, or the mean of its tokens"
    )
    dim: int = Field(128, ge=1, description="size of the vectors that are compared")
    mlp: bool = Field(False, description="a hidden layer before them")
    temperature: float = Field(0.07, gt=0, description="divides the cosines")
    queue_size: int = Field(
        6720,
        ge=0,
        description="earlier keys that are negatives, at most half the rows; 0: the batch's other keys instead",
    )
    momentum: float = Field(0.999, ge=0, le=1, description="share of the slow copy that stays at each step")
    synonym: float = Field(0.5, ge=0, le=1, description="probability that a rewriting exchanges words for synonyms")
    swap: float = Field(0.1, ge=0, le=1, description="probability that it exchanges the places of words instead")
    delete: float = Field(0.2, ge=0, le=1, description="probability that it leaves words out instead")
    strength: float = Field(0.2, gt=0, le=1, description="share of the words that are changed")


class Cert(Sentences):
    """CERT over any text encoder. A row's own older keys in the queue are no negatives of it.

    Batch keys: ``text_views``, two pairs of ids and mask: query and key; ``index (B,)``.

    Example:
        >>> from accord.encoders import build_encoder
        >>> words = ["a red ball", "a blue cup"]
        >>> text = build_encoder("text", {"name": "tiny_text", "pool": "mean"}, texts=words)
        >>> method = Cert({}, {"text": text}, DataInfo(rows=64))
        >>> view = text.input.tokenizer(words)
        >>> sorted(method.loss({"text_views": [view, view], "index": torch.arange(2)}, Step(watched=False)))
        ['contrastive', 'total']
    """

    name: ClassVar[str] = "cert"
    Config: ClassVar[type[settings.Config]] = CertConfig
    training_only: ClassVar[tuple[str, ...]] = ("momentum.", "queue.")
    rewrites: ClassVar[tuple[Rewrite | None, Rewrite | None]] = (None, None)  # of query and key, such as translators
    config: CertConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg, width = self.config, self.width
        hidden = (nn.Linear(width, width), nn.ReLU()) if cfg.mlp else ()
        self.head = nn.Sequential(*hidden, nn.Linear(width, cfg.dim))
        self.momentum = MomentumParts(self._online(), cfg.momentum)
        # A queue as long as the data holds each row's own older key, and keys of other steps than the slow copy's.
        self.queue = FeatureQueue(max(1, min(cfg.queue_size, data.rows // 2)), cfg.dim) if cfg.queue_size else None

    @property
    def text_views(self) -> tuple[TextView, ...]:
        """Query and key: of different texts where the row has several, rewritten where there is one."""
        cfg, (query, key) = self.config, self.rewrites
        edits: dict[str, Any] = {"synonym": cfg.synonym, "swap": cfg.swap, "delete": cfg.delete}
        plain = TextView(caption="same", strength=cfg.strength, rewrite=query, **({} if query else edits))
        return (plain, TextView(caption="other", strength=cfg.strength, rewrite=key, **({} if key else edits)))

    def _online(self) -> dict[str, nn.Module]:
        """The parts that have a slow copy."""
        return {"encoder": self.text_encoder, "head": self.head}

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """The query must find its key among those of the queue."""
        query = self._projected(self._online(), batch["text_views"][0])
        with torch.no_grad():
            key = self._projected(self.momentum.among(self._online()), batch["text_views"][1])
        if self.queue is None:
            query, key = gather_features(query, with_grad=True), gather_features(key, with_grad=False)
            total = queue_info_nce(query, key, key[:0], self.config.temperature)
        else:
            logits = queue_logits(query, key, self.queue.features, self.config.temperature)  # (B, 1 + K)
            own = F.pad(batch["index"][:, None] == self.queue.ids, (1, 0))
            total = F.cross_entropy(
                logits.masked_fill(own, -torch.inf), torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
            )
            if self.training:
                self.queue.enqueue(key, batch["index"])
        terms = {"contrastive": total.detach(), "total": total}
        return {**terms, **spread_of(query, key)} if step.watched else terms

    def _projected(self, parts: Mapping[str, Any], view: Pair) -> Tensor:
        """Unit vectors ``(B, dim)`` of the model or its slow copy."""
        vectors = self.pooled(self.read_by(parts["encoder"], *view))
        return F.normalize(parts["head"](vectors).float(), dim=1)

    def after_step(self, step: Step) -> None:
        """The slow copy follows."""
        self.momentum.follow(self._online())
