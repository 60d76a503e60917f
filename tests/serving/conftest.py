"""An application over a folder of its own, and a visitor of it."""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient
from PIL import Image

from accord import pipeline
from accord.serving import ServeConfig, build_app

LOCAL = "http://127.0.0.1:8000"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where its runs would be."""
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture
def visitor(root: Path) -> Iterator[TestClient]:
    """A visitor who is no browser."""
    with TestClient(build_app(ServeConfig(runs=(root,))), base_url=LOCAL) as client:
        yield client


# ---- two small runs to search and to explain: words and pictures in two stages, and three modalities together --------

COLOURS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (30, 60, 220)}


def coloured(number: int) -> Image.Image:
    """A square of one of three colours, each a little different."""
    picture = Image.new("RGB", (32, 32), "white")
    picture.paste(list(COLOURS.values())[number % 3], (2 + number % 5, 2, 20 + number % 7, 24))
    return picture


@pytest.fixture(scope="session")
def shop_floor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data``, ``sounds`` and ``runs``, in which ``words`` and ``three`` are finished."""
    folder = tmp_path_factory.mktemp("serving")
    data, sounds = folder / "data", folder / "sounds"
    data.mkdir()
    sounds.mkdir()
    rows = [["file_name", "caption", "label"]]
    for number in range(24):
        coloured(number).save(data / f"{number:02}.png")
        colour = list(COLOURS)[number % 3]
        rows.append([f"{number:02}.png", f"a {colour} square, number {number}", colour])
        wave = np.sin(np.arange(6000) * (0.04, 0.4)[number % 2]).astype(np.float32)
        soundfile.write(sounds / f"{number}.wav", wave, 16000)
        coloured(number).save(sounds / f"{number}.png")
    with (data / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    lines = [
        {"image": f"{number}.png", "audio": f"{number}.wav", "text": f"a {list(COLOURS)[number % 3]} square"}
        for number in range(24)
    ]
    (sounds / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    small = {"width": 16, "depth": 1, "heads": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_path", lambda *_: folder / "cache")
        _train(
            folder,
            "words",
            data,
            {"name": "filip", "dim": 8},
            {"image": {"name": "tiny_vit", "options": {**small, "size": 32, "patch": 8}}},
        )
        method = {"name": "gram", "dim": 8, "matching_weight": 0.0, "cosine_weight": 1.0}
        others = {
            "image": {"name": "tiny_convnet", "options": {"size": 32, "width": 16}},
            "audio": {"name": "tiny_audio", "options": small},
        }
        _train(folder, "three", sounds, method, others)
    return folder


def _train(folder: Path, name: str, data: Path, method: dict[str, Any], towers: dict[str, Any]) -> None:
    words = {"name": "tiny_text", "options": {"width": 16, "depth": 1, "heads": 2}}
    settings = {
        "data": {"source": str(data), "split": {"test": 0.3}},
        "method": method,
        "encoders": {**towers, "text": words},
        "training": {"epochs": 2, "batch_size": 8, "lr": 3e-3, "accelerator": "cpu"},
    }
    pipeline.train(config=settings, out=folder / "runs" / name, progress=False)


@pytest.fixture
def floor(shop_floor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with data that a test may change, and a cache of its own."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: tmp_path / "cache")
    shutil.copytree(shop_floor / "data", tmp_path / "data")
    shutil.copytree(shop_floor / "runs", tmp_path / "runs")
    return tmp_path


@pytest.fixture
def customer(floor: Path) -> Iterator[TestClient]:
    """A visitor of an application over the runs, and over the data that a test may change."""
    config = ServeConfig(runs=(floor / "runs",), data=(str(floor / "data"),), models=(), decode_seconds=60)
    with TestClient(build_app(config), base_url=LOCAL) as client:
        yield client


@pytest.fixture
def ask(customer: TestClient) -> Any:
    """Asks the application, and waits for its index."""
    return lambda **asked: answered(customer, **asked)


def answered(client: TestClient, **asked: Any) -> Any:
    """What the application answers to a question, when its index is there."""
    for _ in range(600):
        answer = client.get("/api/search", params=asked)
        if answer.status_code != 202:
            return answer
        time.sleep(0.1)
    raise AssertionError("the index does not come")
