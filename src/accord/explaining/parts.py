"""Which parts a method divides a picture into by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from accord.data.corpus import corpus_from_items
from accord.data.inputs import ImageInput
from accord.explaining.base import Explanation, Way
from accord.explaining.inputs import seen
from accord.methods.abilities import Segments
from accord.training.model import Model

SIDE = 192  # pixels of the map of parts


@dataclass(frozen=True)
class PartsExplanation(Explanation):
    """The parts of a picture.

    Args:
        picture: what the encoder sees.
        parts: ``(S, S)`` number of the part that each pixel belongs to.
        shares: number of a part -> its share of the picture, largest first.
    """

    picture: Image.Image
    parts: np.ndarray
    shares: dict[int, float]

    @property
    def columns(self) -> dict[str, str]:
        """Number of a part and its share."""
        return {"part": "right", "share": "right"}

    def rows(self) -> list[tuple[str, str]]:
        """One line a part, the largest first."""
        return [(str(number), f"{100 * share:.1f} %") for number, share in self.shares.items()]

    def draw(self, path: str | Path) -> Path:
        """See :func:`accord.explaining.figure.draw_parts`."""
        from accord.explaining.figure import draw_parts

        return draw_parts(self, path)


def explain_parts(model: Model, image: str | Path | Image.Image) -> PartsExplanation:
    """The parts of a picture, by a method that segments.

    Args:
        model: its method segments.
        image: path or picture.

    Raises:
        ConfigError: the method does not.
        DataError: the picture cannot be read.
    """
    spec = model.inputs.get("image")
    model.able(Segments)
    assert isinstance(spec, ImageInput)  # what segments reads pictures
    corpus = corpus_from_items("image", [image])
    picture = corpus.sample(0, inputs={"image": spec})["image"]
    parts = model.segment_corpus(corpus, (SIDE, SIDE))[0].numpy()
    numbers, counts = np.unique(parts, return_counts=True)
    order = counts.argsort()[::-1]
    shares = {int(numbers[place]): float(counts[place] / parts.size) for place in order}
    return PartsExplanation(seen(picture, spec, SIDE), parts, shares)


WAY = Way("parts", "Parts of the picture", Segments, lambda model, image, text, corpus, k: explain_parts(model, image))
