"""A folder of coloured pictures that tests can change, and a model that counts what it embeds."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from accord.data.corpus import Corpus, open_corpus

COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220), "yellow": (220, 220, 20)}
Row = tuple[str, str, tuple[int, int, int]]  # name, caption, colour


def vector(colour) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(np.asarray(colour), dtype=torch.float32) / 255 - 0.5, dim=0)


class CountingModel:
    """A picture is its mean colour, a text the mean of the colours that it names."""

    modalities: tuple[str, ...] = ("image", "text")

    def __init__(self) -> None:
        self.embedded: list[int] = []

    def embed(self, *, images=None, texts=None, audio=None, video=None) -> torch.Tensor:
        if texts is not None:
            named = [[COLOURS[word] for word in re.findall(r"\w+", text) if word in COLOURS] for text in texts]
            return torch.stack([vector(np.mean(colours or [(130, 128, 128)], axis=0)) for colours in named])
        opened = [image if isinstance(image, Image.Image) else Image.open(image) for image in images]
        return torch.stack([vector(np.asarray(image.convert("RGB")).mean(axis=(0, 1))) for image in opened])

    def embed_corpus(self, corpus: Corpus, modality: str) -> torch.Tensor:
        if modality == "text":
            return self.embed(texts=[texts[0] for texts in corpus.texts()])
        self.embedded += corpus.ids.tolist()
        return self.embed(images=[corpus.sample(i)["image"] for i in range(len(corpus))])


@pytest.fixture
def model() -> CountingModel:
    return CountingModel()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pictures"


@pytest.fixture
def write(folder: Path) -> Callable[[list[Row]], Corpus]:
    """Make the folder hold exactly these rows and open it; pictures that did not change are left alone."""

    def write_rows(rows: list[Row]) -> Corpus:
        folder.mkdir(exist_ok=True)
        with (folder / "metadata.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["file_name", "caption"])
            writer.writerows([name, caption] for name, caption, _ in rows)
        for name, _, colour in rows:
            path = folder / name
            if not path.exists() or Image.open(path).getpixel((0, 0)) != colour:
                Image.new("RGB", (30, 20), colour).save(path)
        return open_corpus(folder, quiet=True)

    return write_rows


@pytest.fixture
def rows() -> list[Row]:
    """Four colours, three shades of each."""
    return [
        (f"{name}{shade}.png", f"a {name} card, shade {shade}", tuple(max(0, value - 10 * shade) for value in colour))
        for name, colour in COLOURS.items()
        for shade in range(3)
    ]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder
