"""A folder of coloured shapes with captions, and a run small enough for a test."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from accord import pipeline

sys.path.insert(0, str(Path(__file__).parent))

from small import small_run

COLOURS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (30, 60, 220)}
SHAPES = ("square", "circle")


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 pictures, 6 kinds, 8 of each; the label is the colour, the group is colour, shape and half."""
    folder = tmp_path_factory.mktemp("shapes")
    rows = []
    for number in range(48):
        colour, shape = list(COLOURS)[number % 3], SHAPES[number // 3 % 2]
        picture = Image.new("RGB", (32, 32), "white")
        draw = ImageDraw.Draw(picture)
        corner = 4 + number % 5
        box = (corner, corner, corner + 18, corner + 18)
        (draw.rectangle if shape == "square" else draw.ellipse)(box, fill=COLOURS[colour])
        picture.save(folder / f"{number:02}.png")
        rows.append([f"{number:02}.png", f"a {colour} {shape}", colour, f"{colour} {shape} {number // 12}"])
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "caption", "label", "group"], *rows])
    return folder


@pytest.fixture(scope="session")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> pipeline.Run:
    """A trained run on the shapes."""
    folder = tmp_path_factory.mktemp("runs") / "shapes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_path", lambda *_: folder.parent / "cache")
        return pipeline.train(config=small_run(shapes), out=folder, progress=False)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: folder)
