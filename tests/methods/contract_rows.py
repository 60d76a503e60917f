"""Rows that hold whatever a method may read, few and small, and a graph whose nodes are rows."""

from __future__ import annotations

import csv
import wave
from pathlib import Path

import numpy as np
from PIL import Image

ROWS, SIDE, FRAMES = 32, 32, 4
KINDS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 220)}
THINGS = ("ball", "cup", "tree", "star")


def write_rows(folder: Path) -> Path:
    """A folder with ``metadata.csv``: a column for every field, called as the field is."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    columns = {"image": picture, "video": clip, "audio": sound}
    table = []
    for row in range(ROWS):
        kind = list(KINDS)[row % len(KINDS)]
        cells = {name: make(folder, row, KINDS[kind], random) for name, make in columns.items()}
        table.append({**cells, "text": f"a {kind} {THINGS[row // 3 % 4]}", "label": kind, "group": f"row {row}"})
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return folder


def picture(folder: Path, row: int, colour: tuple[int, int, int], random: np.random.Generator) -> str:
    """A noisy picture of one colour."""
    _image(colour, random).save(folder / f"{row}.png")
    return f"{row}.png"


def clip(folder: Path, row: int, colour: tuple[int, int, int], random: np.random.Generator) -> str:
    """A folder of frames."""
    frames = folder / f"clip {row}"
    frames.mkdir()
    for number in range(FRAMES):
        _image(colour, random).save(frames / f"{number}.png")
    return frames.name


def sound(folder: Path, row: int, colour: tuple[int, int, int], random: np.random.Generator) -> str:
    """A fifth of a second of a tone in noise."""
    rate = 16_000
    pitch = 200 + 10 * row + colour[0]
    tone = np.sin(2 * np.pi * pitch * np.arange(rate // 5) / rate) + 0.2 * random.standard_normal(rate // 5)
    with wave.open(str(folder / f"{row}.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((8000 * tone).clip(-32768, 32767).astype("<i2").tobytes())
    return f"{row}.wav"


def write_graph(folder: Path) -> Path:
    """A folder of nodes and edges: papers of two kinds, their authors and venues; the papers are rows."""
    random = np.random.default_rng(0)
    for part in ("nodes", "edges"):
        (folder / part).mkdir(parents=True)
    words = ("graph network layer", "prime number proof")
    papers = [f"p{row},{words[row % 2]} {row % 7},{('graphs', 'maths')[row % 2]}" for row in range(ROWS)]
    written = [f"p{row},a{2 * random.integers(4) + row % 2}" for row in range(ROWS) for _ in range(2)]
    shown = [f"p{row},v{2 * random.integers(2) + row % 2}" for row in range(ROWS)]
    tables = {
        "nodes/paper": ["id,abstract,label", *papers],
        "edges/paper__by__author": ["paper,author", *dict.fromkeys(written)],
        "edges/paper__at__venue": ["paper,venue", *shown],
    }
    for name, lines in tables.items():
        (folder / f"{name}.csv").write_text("\n".join(lines))
    return folder


def _image(colour: tuple[int, int, int], random: np.random.Generator) -> Image.Image:
    pixels = np.array(colour) + random.integers(-25, 25, (SIDE, SIDE, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
