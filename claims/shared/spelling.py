"""Digits as signs: a sentence names some, a sequence shows them in reverse, each for one or two steps.

Between two signs may come a step that is the average of both, and sentences have words that nothing is shown for.
Signs of training, of testing, and those that a classifier learns from are different pictures. *Foreign* signs are
turned, paler and noisy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import rotate

from shared.digits import WORDS, Digits, split_digits

SMALL = ("the", "and", "then", "again", "a")  # words without a sign
SIGNS, STEPS, BETWEEN = (3, 5), (1, 2), (0, 1)  # fewest and most: signs of a sentence, steps of a sign and between two
LONGEST = SIGNS[1] * STEPS[1] + (SIGNS[1] - 1) * BETWEEN[1]
TURN, PALE, NOISE = 15.0, 0.6, 15.0  # degrees, share of the contrast, grey values


@dataclass(frozen=True)
class Spelled:
    """Sentences and their sequences.

    Args:
        sentences: N of them.
        steps: ``(N, T, 64)`` float32 in [0, 1], zero after the end.
        mask: ``(N, T)`` bool, whether a step is there.
        words: ``(N, T)`` number of the word of the sentence that a step shows, -1 between signs and after the end.
        labels: ``(N, T)`` digit that it shows, likewise.
    """

    sentences: list[str]
    steps: NDArray[np.float32]
    mask: NDArray[np.bool_]
    words: NDArray[np.int64]
    labels: NDArray[np.int64]


def spelled_digits(seed: int, train: int = 400, test: int = 200, *, foreign: bool = False) -> tuple[Spelled, Spelled]:
    """Sentences with their sequences, for training and for testing.

    Args:
        seed: of everything random.
        train: rows.
        test: likewise.
        foreign: whether signs look otherwise than those of :func:`single_signs`.
    """
    known, asked = split_digits(seed)
    half = len(known.labels) // 2
    signs = Digits(known.pixels[half:], known.labels[half:])
    first, second = (
        _spelled(digits, rows, np.random.default_rng([seed, place]), foreign)
        for place, (digits, rows) in enumerate(((signs, train), (asked, test)))
    )
    return first, second


def single_signs(seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Signs as they usually look ``(N, 1, 64)`` and which digit each is, for a classifier."""
    known, _ = split_digits(seed)
    half = len(known.labels) // 2
    return (known.pixels[:half].reshape(half, 1, 64) / 255).astype(np.float32), known.labels[:half]


def _spelled(signs: Digits, rows: int, random: np.random.Generator, foreign: bool) -> Spelled:
    pixels = _otherwise(signs.pixels, random) if foreign else signs.pixels
    looks = (pixels.reshape(len(pixels), 64) / 255).astype(np.float32)
    made = Spelled(
        [],
        np.zeros((rows, LONGEST, 64), dtype=np.float32),
        np.zeros((rows, LONGEST), dtype=bool),
        np.full((rows, LONGEST), -1),
        np.full((rows, LONGEST), -1),
    )
    for row in range(rows):
        digits = random.integers(0, 10, random.integers(SIGNS[0], SIGNS[1] + 1))
        sentence, places = _sentence(digits, random)
        made.sentences.append(sentence)
        steps, numbers = _sequence(digits[::-1], signs.labels, looks, random)
        order = np.array([*places[::-1], -1])  # of the signs as they are shown; -1 stands for none
        made.steps[row, : len(steps)], made.mask[row, : len(steps)] = steps, True
        made.words[row, : len(steps)] = order[numbers]
        made.labels[row, : len(steps)] = np.array([*digits[::-1], -1])[numbers]
    return made


def _sentence(digits: NDArray[np.int64], random: np.random.Generator) -> tuple[str, list[int]]:
    """The words, and which of them are the digits."""
    words: list[str] = []
    places = []
    for digit in digits:
        if random.random() < 0.4:
            words.append(str(random.choice(SMALL)))
        places.append(len(words))
        words.append(WORDS[digit])
    return " ".join(words), places


def _sequence(
    digits: NDArray[np.int64], labels: NDArray[np.int64], looks: NDArray[np.float32], random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Steps ``(n, 64)``, and the number of the sign that each shows, -1 between two."""
    steps: list[NDArray[np.float32]] = []
    numbers: list[int] = []
    for number, digit in enumerate(digits):
        shown = looks[random.choice(np.flatnonzero(labels == digit), random.integers(STEPS[0], STEPS[1] + 1))]
        if steps:
            between = np.linspace(0, 1, random.integers(BETWEEN[0], BETWEEN[1] + 1) + 2)[1:-1]
            steps += [(1 - share) * steps[-1] + share * shown[0] for share in between]
            numbers += [-1] * len(between)
        steps += list(shown)
        numbers += [number] * len(shown)
    return np.stack(steps), np.array(numbers)


def _otherwise(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.float64]:
    turned = rotate(pixels.astype(np.float64), TURN, axes=(1, 2), reshape=False, order=1)
    return np.clip(PALE * turned + random.normal(0, NOISE, turned.shape), 0, 255)
