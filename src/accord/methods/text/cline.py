"""CLINE: contrastive learning with semantic negative examples (Wang et al., ACL 2021).

One word can turn a sentence round. So each sentence has a version with synonyms, which should be near it, and one with
words of another meaning, which should not; the encoder has to name hidden words of the sentence, to tell for each
token of the versions whether and how it was replaced, and to tell the two versions apart as wholes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.text_views import TextView
from accord.data.inputs import TextInput
from accord.data.loading.features import Features
from accord.encoders.base import Encoder
from accord.encoders.tokenizer import word_starts
from accord.functional import cline_sentence_loss, replaced_words, token_mean, uncertainty_weighted
from accord.methods.base import Batch, DataInfo, Group, Step
from accord.methods.text.masked import HiddenWords
from accord.methods.text.sentences import SentenceConfig, Sentences, stacked

KEPT, SYNONYM, ANTONYM = 0, 1, 2


class ClineConfig(SentenceConfig):
    """Settings of :class:`Cline`."""

    pooling: Literal["encoder", "cls", "mean"] = Field(
        "cls", description="a text's vector: as its encoder pools, its first token, or the mean of its tokens"
    )
    strength: float = Field(0.3, gt=0, le=1, description="share of the words that a version replaces, one at least")
    synonyms: str | None = Field(
        None, description="JSON file of words and their synonyms; none: the English table that ships with Accord"
    )
    antonyms: str | None = Field(
        None, description="JSON file of words and those that turn their meaning; none: any words of that table"
    )
    uncertainty: bool = Field(True, description="learn the weights of the three losses; false adds them up")


class Cline(Sentences):
    """CLINE over any text encoder that gives tokens.

    Batch keys: ``text (B, L)``, ``text_mask (B, L)``, ``text_views`` two pairs of the same: with synonyms, and with
    words of another meaning.

    Example:
        >>> from accord.encoders import build_encoder
        >>> words = ["a big red car", "a small blue cup"]
        >>> text = build_encoder("text", {"name": "tiny_text", "pool": "mean"}, texts=words)
        >>> read = text.input.tokenizer
        >>> (ids, mask), same = read(words), read(["a large red auto", "a little blue cup"])
        >>> batch = {"text": ids, "text_mask": mask, "text_views": [same, read(["a big red fish", "a small odd cup"])]}
        >>> sorted(Cline({}, {"text": text}, DataInfo()).loss(batch, Step()))
        ['mlm', 'sentence', 'tokens', 'total']
    """

    name: ClassVar[str] = "cline"
    Config: ClassVar[type[settings.Config]] = ClineConfig
    config: ClineConfig
    starts: Tensor

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        text = encoders["text"]
        assert isinstance(text.input, TextInput)  # it is a text encoder
        self.words = HiddenWords(text)
        self.replaced = nn.Linear(text.token_dim, 3)
        self.pooler = nn.Sequential(nn.Linear(self.width, self.width), nn.Tanh())
        self.log_vars = nn.Parameter(torch.zeros(3), requires_grad=self.config.uncertainty)
        self.register_buffer("starts", word_starts(text.input.tokenizer), persistent=False)

    @property
    def text_views(self) -> tuple[TextView, ...]:
        """The version that keeps the meaning and the one that does not, both of the text of the batch."""
        cfg = self.config
        kept = TextView(caption="same", synonym=1.0, strength=cfg.strength, synonyms=cfg.synonyms)
        return (kept, TextView(caption="same", antonym=1.0, strength=cfg.strength, antonyms=cfg.antonyms))

    def group(self, name: str) -> Group:
        """The learned weights of the losses do not decay."""
        return Group(decay=name != "log_vars")

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Hidden words of the originals, replaced words of the versions, and the versions as wholes."""
        original, rows = (batch["text"], batch["text_mask"]), len(batch["text"])
        hidden, labels = self.words.hide(*original, step.generator(self.device))
        features = self.read(*stacked([(hidden, original[1]), *batch["text_views"]]))  # (3 B, L, D)
        width = hidden.shape[1]
        mlm = self.words.loss(_first(features, rows, width), labels, self.text_encoder)
        edited = stacked(batch["text_views"])
        tokens = self._edits_loss(features.sequence()[0][rows:, : edited[0].shape[1]], original, edited)
        wholes = self.pooler(self.pooled(features)).float().split(rows)
        sentence = cline_sentence_loss(*wholes)
        total = uncertainty_weighted([mlm, tokens, sentence], self.log_vars)
        return {"mlm": mlm.detach(), "tokens": tokens.detach(), "sentence": sentence.detach(), "total": total}

    def _edits_loss(self, tokens: Tensor, original: tuple[Tensor, Tensor], edited: tuple[Tensor, Tensor]) -> Tensor:
        """Which tokens of the versions were replaced, and how: the mean over those of all processes."""
        ids, mask = edited
        twice = [torch.cat([side, side]) for side in original]
        changed, comparable = replaced_words(twice[0], twice[1], ids, mask, self.starts)
        kind = torch.tensor([SYNONYM, ANTONYM], device=ids.device).repeat_interleave(len(ids) // 2)[:, None]
        counts = comparable & mask & ~self.special.among(ids)
        target = torch.where(counts, changed * kind, torch.full_like(ids, -100))
        logits = self.replaced(tokens).float().flatten(0, 1)
        each = F.cross_entropy(logits, target.flatten(), reduction="sum")
        return token_mean(each, counts.sum(), across_processes=True)


def _first(features: Features, rows: int, width: int) -> Features:
    """The features of the originals, without the padding that the versions brought."""
    tokens, mask = features.sequence()
    return Features(features.pooled[:rows], tokens[:rows, :width], mask[:rows, :width])
