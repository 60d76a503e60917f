"""Digits with captions that say how each one is written: the word for it, and how dark each cell of a 4×4 grid is.

Two pictures of a digit have different captions, so that a caption is one picture's own; but words are left out, and
what is left fits several. The text encoder takes a caption as a bag of words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accord.data.inputs import TextInput
from accord.data.making.corruption import shuffle_captions
from accord.encoders.base import Encoder, Features
from accord.methods.base import Batch
from shared.digits import WORDS, Digits, split_digits
from shared.views import as_pictures

LEVELS = ".-+#"  # of darkness
CELLS = [f"{row}{column}" for row in "abcd" for column in "1234"]
VOCABULARY = [*WORDS, *(cell + level for cell in CELLS for level in LEVELS)]
DROPPED, NAMED = 0.15, 0.7  # share of the cells that go unsaid, and of the captions that name the digit


@dataclass(frozen=True)
class Pairs:
    """Pictures with a caption each, as tensors; a loader that a method's hooks may go through.

    Args:
        pictures: ``(N, 3, 8, 8)``.
        words: ``(N, L)`` numbers of words, 0 behind the last one.
        right: ``(N,)`` bool, whether picture and caption belong together.
    """

    pictures: Tensor
    words: Tensor
    right: NDArray[np.bool_]

    @classmethod
    def of(cls, digits: Digits, captions: Sequence[str], moved: NDArray[np.bool_]) -> Pairs:
        """Digits with their captions."""
        return cls(as_pictures(digits), Words(VOCABULARY)(list(captions))[0], ~moved)

    def rows(self, index: Tensor) -> Batch:
        """The batch of these rows."""
        words = self.words[index]
        return {"image": self.pictures[index], "text": words, "text_mask": words > 0, "index": index}

    def first(self, count: int) -> Pairs:
        """The first rows."""
        return Pairs(self.pictures[:count], self.words[:count], self.right[:count])

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[Batch]:
        yield from map(self.rows, torch.arange(len(self)).split(256))

    def episode(self) -> Iterator[Batch]:
        """The rows, which no epoch changes."""
        return iter(self)

    def texts(self) -> list[list[str]]:
        """None, since no hook asks for them."""
        return []


def layout_digits(seed: int, wrong: float = 0.0) -> tuple[Pairs, Pairs]:
    """Pairs for training, of which a share has the captions of others, and for testing, which are all right.

    The captions that move are permuted at random, so that one or two may come back to their own pictures.
    """
    random = np.random.default_rng(seed)
    train, test = split_digits(seed)
    captions, moved = shuffle_captions(_captions(random, train), wrong, seed, order="any")
    return Pairs.of(train, captions, moved), Pairs.of(test, _captions(random, test), np.zeros(len(test.labels), bool))


def _captions(random: np.random.Generator, digits: Digits) -> list[str]:
    grid = digits.pixels.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)  # (N, 16)
    levels = (len(LEVELS) * grid / 256).astype(int)
    return [_caption(random, digit, cells) for digit, cells in zip(digits.labels, levels, strict=True)]


def _caption(random: np.random.Generator, digit: int, levels: NDArray[np.int64]) -> str:
    word = [WORDS[digit]] if random.random() < NAMED else []
    said = np.flatnonzero(random.random(len(levels)) >= DROPPED)
    return " ".join([*word, *(CELLS[cell] + LEVELS[levels[cell]] for cell in said)])


class WordBag(Encoder):
    """The mean of the vectors of a caption's words through a hidden layer.

    Args:
        width: of both.
    """

    modality = "text"

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.input = TextInput(Words(VOCABULARY))
        self.dim = width
        self.table = nn.Embedding(1 + len(VOCABULARY), width, padding_idx=0)
        self.layers = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU())

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of word numbers ``(B, L)``; 0 is no word."""
        count = (x > 0).sum(dim=1, keepdim=True).clamp(min=1)
        return Features(pooled=self.layers(self.table(x).sum(dim=1) / count))

    def blocks(self) -> list[nn.Module]:
        """The table and the layer."""
        return [self.table, self.layers]

    def spec(self) -> dict[str, Any]:
        """The width."""
        return {"name": "word_bag", "width": self.dim}


class Words:
    """A tokenizer for texts of known words.

    Args:
        words: the vocabulary; its words are counted from 1.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._number = {word: number for number, word in enumerate(words, 1)}

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Numbers ``(B, L)`` int64, 0 behind the last word, and mask ``(B, L)``."""
        rows = [torch.tensor([self._number[word] for word in text.split()], dtype=torch.long) for text in texts]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return ids, ids > 0
