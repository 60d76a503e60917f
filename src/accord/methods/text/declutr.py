"""DeCLUTR: Deep Contrastive Learning for Unsupervised Textual Representations (Giorgi et al., ACL 2021).

Spans of a document are near its other spans: of each document some long anchors, and short positives that overlap
each, touch it or lie inside. The mean of an anchor's positives is its other side in NT-Xent; the other anchors of the
same document are hard negatives. Masked language modelling goes on, on the anchors.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from accord import config as settings
from accord.data.augmenting.spans import SpanView, Strategy
from accord.encoders.base import Encoder
from accord.functional import gather_features, nt_xent, rank
from accord.methods.base import Batch, DataInfo, Loader, Stage, Step
from accord.methods.text.masked import HiddenWords
from accord.methods.text.sentences import SentenceConfig, Sentences, spread_of, stacked

_log = logging.getLogger("accord.methods")


class DeclutrConfig(SentenceConfig):
    """Settings of :class:`Declutr`; defaults from the paper."""

    temperature: float = Field(0.05, gt=0, description="divides the cosines")
    anchors: int = Field(2, ge=1, description="anchor spans of each document")
    positives: int = Field(2, ge=1, description="positive spans of each anchor")
    max_len: int = Field(
        512, ge=1, description="longest span in tokens; a document should have 2 · anchors times as many"
    )
    min_len: int = Field(32, ge=1, description="shortest span in tokens")
    strategy: Strategy = Field(
        "default", description="where positives lie: default: overlapping or touching; subsuming: inside; adjacent"
    )
    mlm_weight: float = Field(1.0, ge=0, description="weight of masked language modelling on the anchors")


class Declutr(Sentences):
    """DeCLUTR over any text encoder that gives tokens; spans are no longer than it reads.

    Batch keys: ``text_views``, pairs of ids and mask of each anchor followed by its positives.

    Example:
        >>> from accord.encoders import build_encoder
        >>> text = build_encoder("text", {"name": "tiny_text", "pool": "mean"}, texts=["a red ball"])
        >>> method = Declutr({}, {"text": text}, DataInfo())
        >>> [view.place for view in method.text_views], method.text_views[0].max_len  # of 77, two are not the text's
        ([0, 1, 2, 3, 4, 5], 75)
    """

    name: ClassVar[str] = "declutr"
    Config: ClassVar[type[settings.Config]] = DeclutrConfig
    config: DeclutrConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.words = HiddenWords(encoders["text"]) if self.config.mlm_weight else None

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """A small network to train that reads the longest span."""
        return {"text": {"name": "tiny_text", "options": {"pool": "mean", "length": config.max_len + 2}}}

    @property
    def text_views(self) -> tuple[SpanView, ...]:
        """Each anchor and its positives, all of one draw."""
        cfg, length = self.config, getattr(getattr(self.text_encoder.input, "tokenizer", None), "length", None)
        longest = cfg.max_len if length is None else min(cfg.max_len, length - 2)
        how: dict[str, Any] = {"anchors": cfg.anchors, "positives": cfg.positives, "strategy": cfg.strategy}
        how |= {"max_len": longest, "min_len": min(cfg.min_len, longest)}
        return tuple(SpanView(place=place, **how) for place in range(cfg.anchors * (1 + cfg.positives)))

    def before_stage(self, stage: Stage, loader: Loader) -> None:
        """Say how many documents are too short for the spans that are asked for."""
        view = self.text_views[0]
        tokenizer: Any = getattr(self.text_encoder.input, "tokenizer", None)
        if rank() or not hasattr(tokenizer, "offsets"):
            return
        wanted = 2 * view.anchors * view.max_len
        lengths = [len(tokenizer.offsets(text)) for row in loader.texts() for text in row]
        short = sum(length < wanted for length in lengths)
        if short:
            _log.warning(
                "%d of %d documents have fewer than %d tokens, 2 · anchors · max_len: their spans are shorter; lower "
                "method.max_len, or give longer documents",
                short,
                len(lengths),
                wanted,
            )

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """NT-Xent of anchors and the means of their positives, and the words that are hidden in the anchors."""
        cfg, views = self.config, batch["text_views"]
        every = stacked([*views[:: 1 + cfg.positives], *_positives(views, cfg.anchors, cfg.positives)])
        ids, mask = (_by_document(side, cfg.anchors, 1 + cfg.positives) for side in every)
        rows = cfg.anchors * len(views[0][0])  # (B · A, ...) anchors come first
        labels = None
        if self.words is not None:
            hidden, labels = self.words.hide(ids[:rows], mask[:rows], step.generator(self.device))
            ids = torch.cat([hidden, ids[rows:]])
        features = self.read(ids, mask)
        vectors = self.pooled(features)
        positives = vectors[rows:].unflatten(0, (cfg.positives, rows)).mean(dim=0)  # before they are normalised
        first, second = (gather_features(side, with_grad=True) for side in (vectors[:rows], positives))
        total = nt_xent(first, second, cfg.temperature)
        terms = {"contrastive": total.detach(), "total": total}
        if self.words is not None and labels is not None:
            mlm = self.words.loss(features.select(slice(0, rows)), labels, self.text_encoder)
            terms |= {"mlm": mlm.detach(), "total": total + cfg.mlm_weight * mlm}
        return {**terms, **spread_of(first, second)} if step.watched else terms


def _by_document(spans: Tensor, anchors: int, kinds: int) -> Tensor:
    """Spans ``(kinds · A · B, L)`` with those of a document beside each other, as processes share documents out."""
    return spans.unflatten(0, (kinds, anchors, -1)).transpose(1, 2).flatten(0, 2)


def _positives(views: list[Any], anchors: int, positives: int) -> list[Any]:
    """The first positive of every anchor, then the second of every one, and so on."""
    return [views[anchor * (1 + positives) + 1 + place] for place in range(positives) for anchor in range(anchors)]
