"""What a row costs does not grow with the number of rows."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from accord.data import open_corpus
from accord.data.corpus import corpus_from_items
from accord.searching.index import build_index

FEW, MANY = 2_000, 16_000  # eight times as many; what grew with their square would take 64 times as long
WORDS = np.array(["red", "green", "blue", "small", "large", "old", "new", "cat", "dog", "bird", "house", "tree"])


class Known:
    """A model whose embeddings are there already."""

    modalities = ("text",)

    def embed_corpus(self, corpus, modality):
        return self.vectors[: len(corpus)]

    vectors = torch.nn.functional.normalize(torch.randn(MANY, 32, generator=torch.Generator().manual_seed(0)), dim=1)


def table(rows: int, folder: Path) -> Callable[[int], object]:
    captions = WORDS[np.random.default_rng(0).integers(len(WORDS), size=(rows, 5))]
    (folder / "captions.csv").write_text("caption,label\n" + "".join(f"{' '.join(row)},{row[0]}\n" for row in captions))
    return lambda turn: open_corpus(folder / "captions.csv", quiet=True)


def shards(rows: int, folder: Path) -> Callable[[int], object]:
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "png")
    with tarfile.open(folder / "0.tar", "w") as archive:
        for row in range(rows):
            for name, content in ((f"{row:06}.png", picture.getvalue()), (f"{row:06}.txt", b"a small picture")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return lambda turn: open_corpus(folder, check=False, quiet=True)


def index(rows: int, folder: Path) -> Callable[[int], object]:
    corpus = corpus_from_items("text", [str(row) for row in range(rows)])

    def build(turn: int) -> object:
        run = folder / str(turn)
        run.mkdir()
        (run / "model.safetensors").write_bytes(b"")
        return build_index(run, Known(), corpus, progress=False)

    return build


@pytest.mark.parametrize("part", [table, shards, index])
def test_eight_times_the_rows_cost_about_eight_times_as_much(part, tmp_path, monkeypatch):
    spent = {}
    for rows in (FEW, MANY):
        (tmp_path / str(rows)).mkdir()
        run = part(rows, tmp_path / str(rows))
        spent[rows] = min(seconds(run, turn, tmp_path / f"{rows} {turn}", monkeypatch) for turn in range(3))
    assert spent[MANY] < 16 * spent[FEW], spent


def seconds(run: Callable[[int], object], turn: int, cache: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """Processor time, where nothing is remembered."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: cache)
    start = time.process_time()
    run(turn)
    return time.process_time() - start
