"""Films of real 8×8 digits: scenes of a digit one after the other, some of which show the digit of an earlier one.

A film is 16 clips, each the grey values of another picture of its scene's digit with noise. At most two sentences stand
beside a film, of digits that repeat where there are such; each is annotated at one of the scenes that show its digit. A
sentence is a vector: a code of the digit with noise of its own.
"""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accord.data.columns import Columns
from accord.data.corpus import Corpus
from accord.data.inputs import TextInput
from accord.encoders.base import Encoder, Features, Stream
from shared.digits import WORDS, Digits, split_digits

CLIPS, PIXELS, NOISE = 16, 64, 0.25
LENGTHS = (2, 5)  # clips of a scene
SENTENCES = 2
CODE, SENTENCE_NOISE, VOICES = 32, 0.3, 997  # width and noise of a sentence's vector, and how many noises there are
OCCURRENCES = "occurrences"  # the column of all spans at which a sentence is true


def digit_films(seed: int, repeats: float, train: int = 300, test: int = 300) -> tuple[Corpus, Corpus]:
    """Films for training and for testing, made of different pictures of digits.

    Args:
        seed: decides all that is random.
        repeats: how often a scene shows the digit of an earlier one that is not beside it.
        train: how many films there are for training.
        test: and for testing.
    """
    random = np.random.default_rng([seed, 7])
    found = zip(("train", "test"), split_digits(seed), (train, test), strict=True)
    corpora = [
        _corpus(name, [film(digits, repeats, random) for _ in range(count)], random) for name, digits, count in found
    ]
    return corpora[0], corpora[1]


def film(digits: Digits, repeats: float, random: np.random.Generator) -> dict[str, Any]:
    """A film with its sentences: what it shows, and which digit is said of which span."""
    scenes = _scenes(repeats, random)
    steps = np.concatenate([_shown(digits, digit, end - start, random) for digit, start, end in scenes])
    places = {digit: [[float(a), float(b)] for other, a, b in scenes if other == digit] for digit, _, _ in scenes}
    said = sorted(places, key=lambda digit: (-len(places[digit]), random.random()))[:SENTENCES]
    return {
        "sequence": steps.tolist(),
        "digits": said,
        "moments": [places[digit][int(random.integers(len(places[digit])))] for digit in said],
        OCCURRENCES: [places[digit] for digit in said],
    }


def _scenes(repeats: float, random: np.random.Generator) -> list[tuple[int, int, int]]:
    """Digit, first clip and the clip after the last of each scene; a digit comes twice only where it repeats."""
    scenes: list[tuple[int, int, int]] = []
    start = 0
    while start < CLIPS:
        length = int(random.integers(LENGTHS[0], LENGTHS[1] + 1))
        end = CLIPS if CLIPS - start - length < LENGTHS[0] else start + length
        seen = {digit for digit, _, _ in scenes}
        earlier = sorted(seen - {scenes[-1][0]}) if scenes else []
        again = bool(earlier) and random.random() < repeats
        digit = int(random.choice(earlier if again else sorted(set(range(10)) - seen)))
        scenes.append((digit, start, end))
        start = end
    return scenes


def _shown(digits: Digits, digit: int, count: int, random: np.random.Generator) -> NDArray[np.float64]:
    chosen = random.choice(np.flatnonzero(digits.labels == digit), count)
    grey = digits.pixels[chosen].reshape(count, PIXELS) / 255
    return grey + NOISE * random.standard_normal(grey.shape)


def _corpus(name: str, films: list[dict[str, Any]], random: np.random.Generator) -> Corpus:
    for one in films:
        one["moment_text"] = [f"{WORDS[digit]} {random.integers(VOICES)}" for digit in one.pop("digits")]
        one["duration"] = float(CLIPS)
    rows = datasets.Dataset.from_list(films)
    columns = Columns(sequence="sequence", moments="moments", moment_text="moment_text", duration="duration")
    return Corpus(f"films of digits, {name}", rows, columns, np.arange(len(films)))


class SpokenDigits(Encoder):
    """A frozen encoder of sentences such as "three 17": the code of the digit, with the noise of a voice."""

    modality = "text"
    gives = frozenset({"pooled", "tokens", "words"})
    codes: Tensor
    voices: Tensor

    def __init__(self) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(0)
        self.dim, self.input = CODE, TextInput(_spoken)
        self.register_buffer("codes", torch.randn(len(WORDS), CODE, generator=draws))
        self.register_buffer("voices", SENTENCE_NOISE * torch.randn(VOICES, CODE, generator=draws))

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of digit and voice ``(B, 2)``."""
        said = self.codes[x[:, 0]] + self.voices[x[:, 1]]
        return Features(said, streams={"words": Stream(said[:, None])}, main="words")

    def blocks(self) -> list[nn.Module]:
        """None that could be trained."""
        return []

    def spec(self) -> dict[str, Any]:
        """Nothing but the name."""
        return {"name": "spoken_digits"}


def _spoken(texts: list[str]) -> tuple[Tensor, Tensor]:
    said = [text.split() for text in texts]
    ids = torch.tensor([[WORDS.index(word), int(voice)] for word, voice in said])
    return ids, torch.ones_like(ids, dtype=torch.bool)
