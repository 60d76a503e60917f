"""Small corpora made on the spot; nothing is read from or left in the user's cache."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from accord.data.columns import Columns
from accord.data.corpus import Corpus
from PIL import Image


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: folder / name)
    return folder


@pytest.fixture(autouse=True)
def logs_reach_the_test(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="accord.data")


def picture(colour: int = 0, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Image.Image:
    """A noise picture that is a function of ``colour``."""
    noise = np.random.default_rng(colour).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def encoded(colour: int = 0, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture(colour, **{key: value for key, value in options.items() if key in ("size", "mode")}).save(stream, kind)
    return stream.getvalue()


class Letters:
    """A tokenizer: one id per letter."""

    def __call__(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor([ord(letter) for letter in text])
        return ids, ids > 0


@pytest.fixture
def tokenizer() -> Letters:
    return Letters()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten readable pictures, ``0.png`` to ``9.png``."""
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(encoded(number))
    return tmp_path


@pytest.fixture
def make_corpus() -> Callable[..., Corpus]:
    def make(rows: int = 20, captions: int = 3) -> Corpus:
        table = {
            "image": [{"bytes": encoded(number), "path": None} for number in range(rows)],
            "text": [[f"{number} says {i}" for i in range(captions)] for number in range(rows)],
        }
        return Corpus(
            name="made",
            rows=datasets.Dataset.from_dict(table),
            columns=Columns(image="image", text=("text",)),
            ids=np.arange(rows),
            classes=("even", "odd"),
            labels=np.arange(rows) % 2,
            where="memory",
        )

    return make
