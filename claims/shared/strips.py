"""Digit strips: clips of six real 8×8 digits, one after the other, with captions that name four of them in order."""

from __future__ import annotations

from dataclasses import dataclass

import datasets
import numpy as np
from numpy.typing import NDArray

from accord.data.columns import Columns
from accord.data.corpus import Corpus
from shared.digits import WORDS, Digits, split_digits
from shared.moving import _encoded as encoded

FRAMES, NAMED = 6, 4
FILLERS = ("then", "and", "a", "the", "later", "now", "here", "some")
LENGTHS = (5, 8)  # words of a caption


@dataclass(frozen=True)
class Strips:
    """Clips that were put together.

    Args:
        pixels: ``(N, T, 8, 8)`` uint8.
        digits: ``(N, T)`` what each frame shows.
        captions: one for each.
    """

    pixels: NDArray[np.uint8]
    digits: NDArray[np.int64]
    captions: list[str]


def digit_strips(seed: int, train: int = 800, test: int = 300) -> tuple[Corpus, Corpus]:
    """Strips for training and for testing, made of different pictures of digits; what frames show is in ``digits``."""
    corpora = []
    for place, (name, digits, count) in enumerate(
        zip(("train", "test"), split_digits(seed), (train, test), strict=True)
    ):
        strips = drawn_strips(digits, count, np.random.default_rng([seed, place]))
        cell = {"bytes": datasets.Value("large_binary"), "path": datasets.Value("string")}
        features = {
            "video": cell,
            "text": datasets.Value("string"),
            "digits": datasets.Sequence(datasets.Value("int64")),
        }
        table = {"video": [encoded(clip) for clip in strips.pixels], "text": strips.captions, "digits": strips.digits}
        rows = datasets.Dataset.from_dict(table, features=datasets.Features(features))
        columns = Columns(video="video", text=("text",))
        corpora.append(Corpus(f"digit strips, {name}", rows, columns, np.arange(count)))
    return corpora[0], corpora[1]


def drawn_strips(digits: Digits, count: int, random: np.random.Generator) -> Strips:
    """Strips of different pictures each, and captions in which fillers stand anywhere between the names."""
    chosen = np.stack([random.permutation(len(digits.labels))[:FRAMES] for _ in range(count)])  # (N, T)
    shown = digits.labels[chosen]
    return Strips(digits.pixels[chosen], shown, [_caption(row, random) for row in shown])


def named_in(words: list[str]) -> list[int]:
    """The digit that each word names, -1 for none.

    >>> named_in(["then", "three"])
    [-1, 3]
    """
    return [WORDS.index(word) if word in WORDS else -1 for word in words]


def links(words: list[str], digits: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which word names what which frame shows, ``(W, T)``."""
    return np.array(named_in(words))[:, None] == digits


def _caption(digits: NDArray[np.int64], random: np.random.Generator) -> str:
    names = [WORDS[digit] for digit in digits[np.sort(random.permutation(FRAMES)[:NAMED])]]
    length = random.integers(LENGTHS[0], LENGTHS[1] + 1)
    words = [str(word) for word in random.choice(FILLERS, length)]
    for place, name in zip(np.sort(random.permutation(length)[:NAMED]), names, strict=True):
        words[place] = name
    return " ".join(words)
