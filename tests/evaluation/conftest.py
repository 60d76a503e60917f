"""A corpus of plain colours and a model that knows colours by eye and by name."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from accord.data.corpus import Corpus, open_corpus

sys.path.insert(0, str(Path(__file__).parent))

COLOURS = {
    "red": (220, 20, 20),
    "green": (20, 220, 20),
    "blue": (20, 20, 220),
    "yellow": (220, 220, 20),
    "violet": (220, 20, 220),
    "cyan": (20, 220, 220),
}


def _unit(values) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(np.array(values), dtype=torch.float32), dim=1)


class ColourModel:
    """Embeds a picture as its mean colour and a text as the colours it names; counts what it embeds."""

    modalities = ("image", "text")

    def __init__(self) -> None:
        self.embedded = 0

    def embed(self, *, images=None, texts=None, audio=None, video=None) -> torch.Tensor:
        if texts is not None:
            return _unit([self._of_text(text) for text in texts])
        opened = [Image.open(image) if not isinstance(image, Image.Image) else image for image in images]
        return _unit([self._of_image(image) for image in opened])

    def embed_corpus(self, corpus: Corpus, modality: str) -> torch.Tensor:
        self.embedded += len(corpus)
        if modality == "text":
            return _unit([self._of_text(texts[0]) for texts in corpus.texts()])
        return _unit([self._of_image(corpus.sample(i)["image"]) for i in range(len(corpus))])

    @staticmethod
    def _of_image(image: Image.Image) -> np.ndarray:
        return np.asarray(image.convert("RGB"), dtype=np.float32).mean(axis=(0, 1)) / 255 - 0.5

    @staticmethod
    def _of_text(text: str) -> np.ndarray:
        named = [np.array(COLOURS[word]) / 255 - 0.5 for word in re.findall(r"\w+", text) if word in COLOURS]
        return np.mean(named, axis=0) if named else np.full(3, 0.01)


@pytest.fixture
def colour_model() -> ColourModel:
    return ColourModel()


@pytest.fixture(scope="session")
def painted(tmp_path_factory) -> Corpus:
    """Six colours, four shades each, with caption, colour class and shade group."""
    folder = tmp_path_factory.mktemp("painted")
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "caption", "class", "group"])
        for name, colour in COLOURS.items():
            for shade in range(4):
                image = Image.new("RGB", (12, 12), tuple(max(0, value - 3 * shade) for value in colour))
                image.save(folder / f"{name}{shade}.png")
                writer.writerow([f"{name}{shade}.png", f"a {name} square", name, f"{name}{shade // 2}"])
    return open_corpus(folder, quiet=True)
