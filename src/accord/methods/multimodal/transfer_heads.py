"""Heads of CLOSE on vectors of a space: classes, a premise with a hypothesis, and texts that are written.

None knows where its vectors come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.encoders.base import Encoder
from accord.encoders.generation import (
    NO_TARGET,
    Caption,
    CaptionFit,
    Decoding,
    caption_fit,
    tokenizer_with_ends,
    write_scored,
)
from accord.encoders.prefix_lm import PrefixReader, PrefixWriter
from accord.encoders.tokenizer import JsonTokenizer
from accord.functional import caption_nll, token_mean
from accord.methods.programme import Batch

if TYPE_CHECKING:
    from accord.methods.multimodal.close import CloseConfig

_LENGTH = 128  # positions of texts whose tokenizer sets no limit


class ClassHead(nn.Sequential):
    """A multilayer perceptron over classes; binary decisions where rows may have several.

    Args:
        dim: width D of the vectors.
        classes: C.
        hidden: width of the hidden layer; 0 for a linear head.
        several: whether rows may have several classes.

    Example:
        >>> head = ClassHead(4, classes=3, hidden=8)
        >>> head.loss(torch.randn(2, 4), {"label": torch.tensor([0, 2])}).shape
        torch.Size([])
    """

    def __init__(self, dim: int, classes: int, hidden: int, several: bool = False) -> None:
        before = [nn.Linear(dim, hidden), nn.ReLU()] if hidden else []
        super().__init__(*before, nn.Linear(hidden or dim, classes))
        self.several = several

    def forward(self, z: Tensor, batch: Batch | None = None) -> Tensor:
        """Logits ``(B, C)``, float32, of ``z (B, D)``."""
        return super().forward(z).float()

    def loss(self, z: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy with the labels, binary where there may be several."""
        if self.several:
            return F.binary_cross_entropy_with_logits(self(z), batch["label"].float())
        return F.cross_entropy(self(z), batch["label"])


class EntailmentHead(nn.Module):
    """A reader of the vector, as premise, and of the words of ``input_text``, as hypothesis; then classes.

    Args:
        config: sizes.
        dim: width D of the vectors.
        text: whose tokenizer it reads with.
        classes: C.
    """

    def __init__(self, config: CloseConfig, dim: int, text: Encoder, classes: int) -> None:
        super().__init__()
        tokenizer: JsonTokenizer = text.input.tokenizer  # type: ignore[union-attr,assignment]
        self.reader = PrefixReader(*_sizes(config, dim, tokenizer))
        self.classifier = nn.Linear(config.width, classes)

    def forward(self, z: Tensor, batch: Batch) -> Tensor:
        """Logits ``(B, C)``, float32, of ``z (B, D)`` with the words of the batch."""
        memory, mask = self.reader(z, batch["input_text"], batch["input_text_mask"])
        return self.classifier(self.reader.summary(memory, mask)).float()

    def loss(self, z: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy with the labels."""
        return F.cross_entropy(self(z, batch), batch["label"])


class Targets(NamedTuple):
    """Texts to be written: ``ids (M, L)``, ``mask (M, L)`` and ``row (M,)``, the row that each belongs to."""

    ids: Tensor
    mask: Tensor
    row: Tensor


def targets_of(batch: Batch, field: str, others: bool) -> Targets:
    """The texts of a field that are to be written.

    Args:
        batch: with ``FIELD (M, L)``, ``FIELD_mask``, ``FIELD_row (M,)`` and ``FIELD_drawn (B,)``.
        field: ``answers``, which are all written; or ``text_raw``, of which that one is which stands in the picture's
            place.
        others: of ``text_raw``, all but that one; a row's only text is written nevertheless.

    Example:
        >>> batch = {"text_raw": torch.tensor([[5], [6], [7]]), "text_raw_mask": torch.ones(3, 1, dtype=torch.bool),
        ...          "text_raw_row": torch.tensor([0, 0, 1]), "text_raw_drawn": torch.tensor([1, 2])}
        >>> targets_of(batch, "text_raw", others=False).ids.tolist()
        [[6], [7]]
        >>> targets_of(batch, "text_raw", others=True).mask.tolist()
        [[True], [False], [True]]
    """
    ids, mask, row, drawn = (batch[f"{field}{part}"] for part in ("", "_mask", "_row", "_drawn"))
    if field != "text_raw":
        return Targets(ids, mask, row)
    if not others:
        return Targets(ids[drawn], mask[drawn], torch.arange(len(drawn), device=ids.device))
    read = torch.zeros_like(row).index_fill(0, drawn, 1).bool()
    count = torch.zeros_like(drawn).index_add(0, row, torch.ones_like(row))
    return Targets(ids, mask & ~(read & (count[row] > 1))[:, None], row)


@dataclass(frozen=True)
class LowerCased:
    """A tokenizer of texts in lower case, as they are to be written.

    Args:
        tokenizer: the tokenizer itself.
    """

    tokenizer: JsonTokenizer

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Token ids ``(B, L)`` and mask."""
        return self.tokenizer([text.lower() for text in texts])


class WritingHead(nn.Module):
    """A small language model that reads the vector, and words beside it, and writes.

    Args:
        config: sizes.
        dim: width D of the vectors.
        text: whose tokenizer it reads and writes with.
        classes: not asked.

    Raises:
        ConfigError: texts have no start or end.
    """

    def __init__(self, config: CloseConfig, dim: int, text: Encoder, classes: int = 0) -> None:
        super().__init__()
        remedy = "take another space, or head = classification"
        self.words = tokenizer_with_ends(text, "close", remedy)
        self.tokenizer = LowerCased(self.words)
        self.reads_words = config.reads_words
        self.model = PrefixWriter(*_sizes(config, dim, self.words))

    def loss(self, z: Tensor, batch: Batch, targets: Targets) -> Tensor:
        """Mean cross-entropy over the tokens of all texts; what was read is encoded once for all texts of a row."""
        logits = self._logits(z, batch, targets)
        nll = caption_nll(logits, targets.ids.masked_fill(~targets.mask, NO_TARGET), NO_TARGET)
        return token_mean(nll.sum(), targets.mask[:, 1:].sum(), across_processes=True)

    def fit(self, z: Tensor, batch: Batch, targets: Targets) -> CaptionFit:
        """How well texts are predicted, one a row."""
        return caption_fit(self._logits(z, batch, targets), targets.ids, targets.mask)

    def write(self, z: Tensor, batch: Batch, decoding: Decoding, longest: int) -> list[Caption]:
        """One text for each vector, of at most so many tokens where the decoding does not say."""
        memory, seen = self._read(z, batch)
        if decoding.max_tokens is None:
            limit = len(self.model.positions) - 1  # the start takes one place
            decoding = decoding.model_copy(update={"max_tokens": min(longest, limit)})

        def step(ids: Tensor, row: Tensor) -> Tensor:
            return self.model.logits(ids, memory[row], memory_mask=seen[row])[:, -1]

        def logits(ids: Tensor, mask: Tensor) -> Tensor:
            return self.model.logits(ids, memory, mask, seen)

        return write_scored(step, len(z), self.words, decoding, z.device, logits)

    def _read(self, z: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        words = (batch["input_text"], batch["input_text_mask"]) if self.reads_words else ()
        memory, seen = self.model(z, *words)
        return memory, seen

    def _logits(self, z: Tensor, batch: Batch, targets: Targets) -> Tensor:
        memory, seen = self._read(z, batch)
        return self.model.logits(targets.ids, memory[targets.row], targets.mask, seen[targets.row])


def _sizes(config: CloseConfig, dim: int, tokenizer: JsonTokenizer) -> tuple[int, ...]:
    """The arguments of a reader."""
    vocabulary, length = len(tokenizer.tokens), tokenizer.length or _LENGTH
    return dim, vocabulary, length, config.width, config.depth, config.heads, config.prefix, config.constant
