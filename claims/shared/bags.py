"""A text as a bag of its words: an encoder without order, small enough to train on two cores in seconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from accord.data.inputs import TextInput
from accord.encoders.base import Encoder, Features, Stream
from accord.encoders.pooling import masked_mean
from accord.encoders.tokenizer import SpecialTokens

_WORD = re.compile(r"[a-z0-9]+")


class Words:
    """A tokenizer of whole words; what it does not know is left out, and a text without any has one padding.

    Args:
        texts: where the words come from.
    """

    special = SpecialTokens(pad=0)

    def __init__(self, texts: Sequence[str]) -> None:
        self.tokens = ["", *sorted({word for text in texts for word in _WORD.findall(text.lower())})]
        self.vocabulary = len(self.tokens)
        self._number = {word: number for number, word in enumerate(self.tokens)}

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Numbers ``(B, L)`` int64 and mask ``(B, L)``."""
        found = [[self._number[word] for word in _WORD.findall(text.lower()) if word in self._number] for text in texts]
        ids = torch.zeros(len(texts), max(1, *map(len, found)), dtype=torch.int64)
        for row, numbers in zip(ids, found, strict=True):
            row[: len(numbers)] = torch.tensor(numbers, dtype=torch.int64)
        return ids, ids > 0

    def decode(self, ids: Sequence[int]) -> str:
        """The words."""
        return " ".join(self.tokens[number] for number in ids)


class BagOfWords(Encoder):
    """The vectors of a text's words; that of a text is their mean.

    Args:
        texts: where the words come from.
        width: of a vector.
    """

    modality = "text"
    gives = frozenset({"pooled", "tokens", "words"})

    def __init__(self, texts: Sequence[str], width: int = 64) -> None:
        super().__init__()
        words = Words(texts)
        self.input, self.dim = TextInput(words), width
        self.table = nn.Embedding(words.vocabulary, width)
        nn.init.normal_(self.table.weight, std=width**-0.5)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of word numbers ``(B, L)``."""
        tokens = self.table(x)
        return Features(masked_mean(tokens, mask), streams={"words": Stream(tokens, mask)}, main="words")

    def blocks(self) -> list[nn.Module]:
        """The table."""
        return [self.table]

    def spec(self) -> dict[str, Any]:
        """The width."""
        return {"name": "bag_of_words", "width": self.dim}
