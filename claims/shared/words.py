"""Digits and phrases about them: a frozen picture encoder, and a text encoder that learns words from nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accord.data.corpus import Corpus
from accord.data.inputs import ImageInput, TextInput
from accord.encoders.base import Encoder, Features
from shared.digits import WORDS, split_digits, with_texts

FILLERS = tuple(f"filler{letter}" for letter in "abcdefghijkl")
SYNONYMS = tuple(tuple(f"{word}{letter}" for letter in "abcdef") for word in WORDS)  # six for each digit
PLACE = 2  # of the synonym among the four words of a phrase


def phrase(random: np.random.Generator, digit: int, synonyms: int = 6) -> str:
    """``filler filler synonym filler``."""
    words = list(random.choice(FILLERS, 4))
    words[PLACE] = str(random.choice(SYNONYMS[digit][:synonyms]))
    return " ".join(words)


def described_digits(
    seed: int, pairs: int | None = None, captions: int = 1, synonyms: int = 6
) -> tuple[Corpus, Corpus]:
    """Digits with phrases that say which they are, for training and for testing.

    Args:
        seed: of split and phrases.
        pairs: training rows; None for all 1,257.
        captions: phrases of each training row.
        synonyms: words for each digit.
    """
    random = np.random.default_rng(seed)
    parts = []
    for name, digits, count, each in zip(
        ("train", "test"), split_digits(seed), (pairs, None), (captions, 1), strict=True
    ):
        rows = random.permutation(len(digits.labels))[:count]
        labels = digits.labels[rows]
        texts = [[phrase(random, digit, synonyms) for _ in range(each)] for digit in labels]
        corpus = with_texts(f"described digits, {name}", digits.pixels[rows], [text[0] for text in texts])
        corpus = replace(corpus.with_texts(texts), classes=WORDS)
        parts.append(corpus.with_labels(labels))
    return parts[0], parts[1]


def class_phrases(seed: int, synonyms: int = 6) -> list[str]:
    """One phrase for each class: the same random fillers for all, and one random synonym each."""
    random = np.random.default_rng(seed)
    fillers = list(random.choice(FILLERS, 4))
    chosen = [str(random.choice(SYNONYMS[digit][:synonyms])) for digit in range(10)]
    return [" ".join([*fillers[:PLACE], word, *fillers[PLACE + 1 :]]) for word in chosen]


def words_of_each(corpus: Corpus) -> int:
    """How many synonyms of a digit occur in its phrases, at most."""
    return len({text.split()[PLACE][-1] for texts in corpus.texts() for text in texts})


class PrincipalDigits(Encoder):
    """The projections of a digit on the first principal axes of the training pixels, which stay as they are.

    Their mean is not removed, so that all cosines are positive, as between the features of real encoders.

    Args:
        pixels: ``(N, 8, 8)`` uint8.
        dim: number of axes.
    """

    modality = "image"

    def __init__(self, pixels: NDArray[np.uint8], dim: int = 16) -> None:
        super().__init__()
        self.input = ImageInput(size=8, mean=(0.0,) * 3, std=(1.0,) * 3)
        self.dim = dim
        grey = torch.from_numpy(pixels.reshape(len(pixels), -1) / 255).float()
        axes = torch.linalg.svd(grey - grey.mean(dim=0), full_matrices=False).Vh[:dim]
        self.axes = nn.Linear(64, dim, bias=False)
        self.axes.weight.data.copy_(axes)
        self.freeze("all")

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of pictures ``(B, 3, 8, 8)`` in grey."""
        return Features(pooled=self.axes(x.mean(dim=1).flatten(1)))

    def blocks(self) -> list[nn.Module]:
        """The axes."""
        return [self.axes]

    def spec(self) -> dict[str, Any]:
        """The number of axes."""
        return {"name": "principal_digits", "dim": self.dim}


class PhraseEncoder(Encoder):
    """The vectors of four words, one after the other, through a hidden layer.

    Args:
        width: of a word's vector.
        hidden: of the layer.
    """

    modality = "text"

    def __init__(self, width: int = 32, hidden: int = 128) -> None:
        super().__init__()
        words = [*FILLERS, *(word for synonyms in SYNONYMS for word in synonyms)]
        self.input = TextInput(FourWords(words))
        self.dim = hidden
        self.table = nn.Embedding(len(words), width)
        self.layer = nn.Sequential(nn.Linear(4 * width, hidden), nn.ReLU())

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of word numbers ``(B, 4)``."""
        return Features(pooled=self.layer(self.table(x).flatten(1)))

    def blocks(self) -> list[nn.Module]:
        """The table and the layer."""
        return [self.table, self.layer]

    def spec(self) -> dict[str, Any]:
        """The width."""
        return {"name": "phrases", "width": self.dim}


class FourWords:
    """A tokenizer for phrases of four known words.

    Args:
        words: the vocabulary.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._number = {word: number for number, word in enumerate(words)}

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Numbers ``(B, 4)`` int64 and mask ``(B, 4)``, True throughout."""
        ids = torch.tensor([[self._number[word] for word in text.split()] for text in texts])
        return ids, torch.ones_like(ids, dtype=torch.bool)
