"""Bags of digits: recordings of two streams of real digits, in some of which something happens, known step by step.

A step of the first stream is a whole 8×8 digit, one of the second the lower half of another, both with noise. In a bag
with the event a run of one class stands in the first stream, and a run of another class in the second, which may begin
later. All other digits are of the same mixture in all bags. Every bag has confusers: single digits of one of the two
classes, so that neither says by itself that something happens, and in bags without the event never of both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import datasets
import numpy as np
from numpy.typing import NDArray

from accord.data.columns import Columns
from accord.data.corpus import Corpus, corpus_from_fields
from shared.digits import Digits, split_digits

SEEN, HEARD = 3, 8  # the classes of the event in the first and the second stream
STREAMS = ("sequence", "second_sequence")
CLASSES = ("normal", "event")
WHITE = 255.0


class Bag(NamedTuple):
    """The steps of two streams, and the event as first and last step and one, or nothing."""

    seen: NDArray[np.float32]
    heard: NDArray[np.float32]
    event: tuple[int, int] | None


@dataclass(frozen=True)
class Making:
    """How bags are made.

    Args:
        steps: fewest and most steps of a bag.
        run: fewest and most steps of the event in a stream.
        lag: how much later the second run may begin, over its length.
        confusers: digits of one of the two classes in each bag.
        noise: standard deviation over white, in the first and the second stream.
    """

    steps: tuple[int, int] = (60, 100)
    run: tuple[int, int] = (4, 10)
    lag: float = 2.0
    confusers: int = 3
    noise: tuple[float, float] = (0.15, 0.15)

    def corpora(self, seed: int, train: int = 300, test: int = 150) -> tuple[Corpus, Corpus]:
        """Bags for training and for testing, made of different pictures; half of each have the event."""
        parts = zip(("train", "test"), split_digits(seed), (train, test), strict=True)
        first, second = (
            self._corpus(name, digits, count, np.random.default_rng([seed, place]))
            for place, (name, digits, count) in enumerate(parts)
        )
        return first, second

    def _corpus(self, name: str, digits: Digits, count: int, random: np.random.Generator) -> Corpus:
        labels = random.permutation(np.arange(count) % 2)
        bags = [self.bag(digits, bool(label), random) for label in labels]
        corpus = corpus_from_fields({STREAMS[0]: [bag.seen for bag in bags], STREAMS[1]: [bag.heard for bag in bags]})
        said = {
            "moments": [[] if bag.event is None else [[float(second) for second in bag.event]] for bag in bags],
            "duration": [float(len(bag.seen)) for bag in bags],
        }
        told = datasets.Dataset.from_dict(said)
        columns = Columns.parse({**{field: field for field in STREAMS}, **{field: field for field in said}})
        rows = datasets.concatenate_datasets([corpus.rows, told], axis=1)
        return replace(
            corpus, name=f"bags of digits, {name}", rows=rows, columns=columns, labels=labels, classes=CLASSES
        )

    def bag(self, digits: Digits, event: bool, random: np.random.Generator) -> Bag:
        """One bag."""
        steps = int(random.integers(self.steps[0], self.steps[1] + 1))
        others = [label for label in range(10) if label not in (SEEN, HEARD)]
        seen, heard = random.choice(others, steps), random.choice(others, steps)
        confused = seen if random.random() < 0.5 else heard
        confused[random.permutation(steps)[: self.confusers]] = SEEN if confused is seen else HEARD
        span = None
        if event:
            length = int(random.integers(self.run[0], self.run[1] + 1))
            lag = int(random.integers(0, round(self.lag * length) + 1))
            start = int(random.integers(0, steps - length - lag + 1))
            seen[start : start + length] = SEEN
            heard[start + lag : start + lag + length] = HEARD
            span = (start, start + lag + length)
        return Bag(
            self._shown(digits, seen, self.noise[0], random),
            self._shown(digits, heard, self.noise[1], random)[:, 32:],
            span,
        )

    def _shown(
        self, digits: Digits, labels: NDArray[np.int64], noise: float, random: np.random.Generator
    ) -> NDArray[np.float32]:
        """A picture of each label ``(T, 64)``, in [0, 1] and with noise."""
        order, counts = np.argsort(digits.labels, kind="stable"), np.bincount(digits.labels, minlength=10)
        starts = np.cumsum(counts) - counts
        chosen = order[starts[labels] + (random.random(len(labels)) * counts[labels]).astype(np.int64)]
        pixels = digits.pixels[chosen].reshape(len(labels), -1) / WHITE
        return (pixels + noise * random.standard_normal(pixels.shape)).astype(np.float32)
