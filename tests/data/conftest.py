"""Small corpora made on the spot; nothing is read from or left in the user's cache."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest

from accord.data.columns import Columns
from accord.data.corpus import Corpus
from data.samples import Letters, encoded


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: folder / name)
    return folder


@pytest.fixture(autouse=True)
def logs_reach_the_test(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="accord.data")


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
