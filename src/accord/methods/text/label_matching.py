"""Labels as texts: GILE (Pappas and Henderson 2019, TACL) and CLESS (Rethmeier and Augenstein 2020, arXiv).

A matcher scores a text with the words of a label, so that labels are no rows of a classifier: rare ones share their
words with others, and ones that nobody has annotated can be asked for. GILE's form multiplies the two sides in a joint
space, CLESS's reads them one after the other. CLESS besides lets words of the text itself stand for labels
(pseudo-labels), with the same loss, matcher and table of words, before there are labels, beside them, or without any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.text_views import STOP_WORDS
from accord.data.inputs import TextInput
from accord.encoders.base import Encoder
from accord.encoders.fusion import token_table
from accord.encoders.heads import LabelMatcher
from accord.errors import ConfigError
from accord.functional import binary_nce, gather_tokens, own_rows, pool, pseudo_labels, token_mean, world_size
from accord.methods.abilities import Ability, Classifies, MatchesLabels
from accord.methods.base import Batch, DataInfo, Stage, Step
from accord.methods.text.sentences import SentenceConfig, Sentences

WORDS, LABELS = "words", "labels"  # stages


class LabelMatchingConfig(SentenceConfig):
    """Settings of :class:`LabelMatching`."""

    form: Literal["gile", "concat"] = Field(
        "gile", description="gile: a product in a joint space; concat: a hidden layer on both (CLESS)"
    )
    joint: int = Field(128, ge=1, description="width of the joint space, or of the hidden layer")
    negatives: int | None = Field(
        None, ge=1, description="wrong labels that each text is scored with, drawn anew; none: all of them"
    )
    pseudo: int = Field(5, ge=0, description="words of each text that stand for its labels; 0 for labels alone (GILE)")
    pseudo_negatives: int = Field(20, ge=0, description="words of other texts that stand for wrong ones")
    pseudo_weight: float = Field(1.0, ge=0, description="weight of these beside labels")
    pretrain_epochs: int = Field(0, ge=0, description="epochs on words alone, before labels are looked at")

    @model_validator(mode="after")
    def _words_to_learn_from(self) -> Self:
        if self.pretrain_epochs and not self.pseudo:
            raise ValueError(
                f"pretrain_epochs = {self.pretrain_epochs} and pseudo = 0: epochs on words need some words"
            )
        return self


class LabelMatching(Sentences, Classifies, MatchesLabels):
    """A text encoder whose vector is scored with the mean of the vectors of a label's words.

    The table of words is the encoder's own; where it has none, the matcher learns one. Rows without a label train by
    their words alone.

    Batch keys: ``text (B, L)``, ``text_mask (B, L)``, ``label (B,)`` or ``(B, C)`` where there are labels.

    Example:
        >>> from accord.encoders import build_encoder
        >>> words = ["a red ball", "a blue cup"]
        >>> text = build_encoder("text", {"name": "tiny_text", "pool": "mean"}, texts=words)
        >>> facts = DataInfo(rows=2, classes=("toy", "dish"), definitions=("a toy", "a dish"))
        >>> method = LabelMatching({"pseudo": 1, "pseudo_negatives": 1}, {"text": text}, facts)
        >>> ids, mask = text.input.tokenizer(words)
        >>> batch = {"text": ids, "text_mask": mask, "label": torch.tensor([0, 1])}
        >>> sorted(method.loss(batch, Step(stage="labels")))
        ['labels', 'total', 'words']
        >>> method.match(batch, ["a ball", "something blue", "nothing"]).shape
        torch.Size([2, 3])
    """

    name: ClassVar[str] = "label_matching"
    Config: ClassVar[type[settings.Config]] = LabelMatchingConfig
    config: LabelMatchingConfig
    class_ids: Tensor
    class_mask: Tensor
    may_label: Tensor

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg, text = self.config, encoders["text"]
        if not data.classes and not cfg.pseudo:
            raise ConfigError(
                f"method {self.name} has neither labels nor words to match: name a --label COL, or set pseudo"
            )
        assert isinstance(text.input, TextInput)  # it is a text encoder
        tokenizer: Any = text.input.tokenizer
        ids, mask = tokenizer(list(data.definitions or [""]))
        self.register_buffer("class_ids", ids, persistent=False)
        self.register_buffer("class_mask", mask, persistent=False)
        self.register_buffer("may_label", _words_of(tokenizer), persistent=False)
        self.vocabulary = len(self.may_label)
        self.table = (
            None if token_table(text, self.vocabulary) is not None else nn.Embedding(self.vocabulary, self.width)
        )
        width = self.width if self.table is not None else text.token_dim
        self.matcher = LabelMatcher(self.width, width, cfg.joint, cfg.form)

    @property
    def lacks(self) -> frozenset[type[Ability]]:  # type: ignore[override]
        """A classifier, where there are no classes."""
        return frozenset() if self.data.classes else frozenset({Classifies})

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Words alone, then labels and words together; the former alone without labels."""
        if not self.data.classes:
            return (Stage(WORDS),)
        epochs = self.config.pretrain_epochs
        return (*((Stage(WORDS, epochs=epochs),) if epochs else ()), Stage(LABELS))

    # --- training ---

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Binary noise contrast with labels, and with words."""
        draws, terms = step.generator(self.device), {}
        vectors = self.pooled(self.read(batch["text"], batch.get("text_mask")))
        if step.stage != WORDS:
            terms[LABELS] = self._labels_loss(vectors, batch["label"], draws)
        if self.config.pseudo and (step.stage == WORDS or self.config.pseudo_weight):
            weight = 1.0 if step.stage == WORDS else self.config.pseudo_weight
            terms[WORDS] = weight * self._words_loss(vectors, batch["text"], batch["text_mask"], draws)
        total = torch.stack(list(terms.values())).sum()
        return {**{name: term.detach() for name, term in terms.items()}, "total": total}

    def _labels_loss(self, vectors: Tensor, label: Tensor, draws: torch.Generator) -> Tensor:
        scores = self.matcher(vectors, self._label_vectors(self.class_ids, self.class_mask))  # (B, C)
        count = scores.shape[1]
        if label.ndim == 1:
            known = (label >= 0)[:, None].expand_as(scores)
            target = label[:, None] == torch.arange(count, device=label.device)
        else:
            known, target = torch.ones_like(scores, dtype=torch.bool), label > 0
        wanted = self.config.negatives
        if wanted is not None and wanted < count:
            chance = torch.rand(world_size() * len(scores), count, generator=draws, device=scores.device)
            chance = chance[own_rows(len(scores))].masked_fill(target, 2.0)
            known = known & (target | (chance <= chance.kthvalue(wanted, dim=1, keepdim=True).values))
        return _mean_over_all(binary_nce(scores, target, mask=known), known)

    def _words_loss(self, vectors: Tensor, ids: Tensor, mask: Tensor, draws: torch.Generator) -> Tensor:
        every, free = gather_tokens(ids[..., None], mask & self.may_label[ids], with_grad=False)
        cfg = self.config
        found = pseudo_labels(every[..., 0], free, cfg.pseudo, cfg.pseudo_negatives, draws)
        words, target = (x[own_rows(len(ids))] for x in found)  # (B, K)
        scores = self.matcher(vectors, self._words()[words])
        return _mean_over_all(binary_nce(scores, target, mask=target >= 0), target >= 0)

    # --- use ---

    def match(self, batch: Batch, labels: Sequence[str]) -> Tensor:
        """Logits ``(B, C)`` that each text belongs to each label."""
        reader = self.text_encoder.input
        assert isinstance(reader, TextInput)  # it is a text encoder
        ids, mask = (x.to(self.device) for x in reader.tokenizer(list(labels)))
        return self._matched(batch, ids, mask)

    def classify(self, batch: Batch) -> Tensor:
        """Logits ``(B, C)`` of the classes of the training data."""
        return self._matched(batch, self.class_ids, self.class_mask)

    def _matched(self, batch: Batch, ids: Tensor, mask: Tensor) -> Tensor:
        vectors = self.pooled(self.text_encoder(batch["text"], batch.get("text_mask")))
        scores: Tensor = self.matcher(vectors, self._label_vectors(ids, mask))
        return scores.float()

    def _label_vectors(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The mean ``(C, D)`` of the vectors of each label's tokens."""
        return pool(self._words()[ids], mask & ~self.special.among(ids))

    def _words(self) -> Tensor:
        """The vectors ``(V, D)`` of all tokens."""
        table = self.table.weight if self.table is not None else token_table(self.text_encoder, self.vocabulary)
        assert table is not None
        return table


def _words_of(tokenizer: Any) -> Tensor:
    """Which tokens may stand for labels ``(V,)``: letters and figures that are no stop-words and no special tokens."""
    plain = [tokenizer.decode([number]).strip().lower() for number in range(tokenizer.vocabulary)]
    words = torch.tensor([len(word) > 1 and word.isalnum() and word not in STOP_WORDS for word in plain])
    return words & ~tokenizer.special.among(torch.arange(len(words)))


def _mean_over_all(mean: Tensor, counted: Tensor) -> Tensor:
    """The mean over the pairs of all processes, from that over the ``counted`` ones of this."""
    count = counted.sum()
    return token_mean(mean * count, count, across_processes=True)
