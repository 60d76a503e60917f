"""Rows that hold whatever a method may read or learn from, few and small, and a graph whose nodes are rows.

Every field that is declared in ``accord.data.fields`` has a column that is called as the field is. A picture shows up
to two squares on a noisy ground whose colour is its label; a clip shows the same squares on their way to the right.
Some rows have more of these and more moments than others, or none: the mean over a batch is not that of its halves'.
"""

from __future__ import annotations

import csv
import json
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROWS, SIDE, FRAMES, SQUARE = 32, 32, 4, 8
GROUNDS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 220)}
SQUARES = {"white": (250, 250, 250), "black": (5, 5, 5)}
THINGS = ("ball", "cup", "tree", "star")


@dataclass(frozen=True)
class Drawn:
    """One row: its number, its ground, and the corner of each of its squares."""

    row: int
    random: np.random.Generator
    corners: dict[str, tuple[int, int]]

    @property
    def ground(self) -> str:
        """The label."""
        return list(GROUNDS)[self.row % len(GROUNDS)]

    def boxes(self, frame: int = 0) -> list[list[int]]:
        """The squares in a frame, in pixels."""
        return [[x + 2 * frame, y, x + 2 * frame + SQUARE, y + SQUARE] for x, y in self.corners.values()]

    def picture(self, frame: int = 0) -> Image.Image:
        """A frame as it looks."""
        pixels = np.array(GROUNDS[self.ground]) + self.random.integers(-25, 25, (SIDE, SIDE, 3))
        for colour, (x0, y0, x1, y1) in zip(self.corners, self.boxes(frame), strict=True):
            pixels[y0:y1, x0:x1] = SQUARES[colour]
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

    def numbers(self, frame: int = 0) -> Image.Image:
        """A frame as a map: 0 for the ground, n for the n-th square."""
        found = np.zeros((SIDE, SIDE), dtype=np.uint8)
        for number, (x0, y0, x1, y1) in enumerate(self.boxes(frame), 1):
            found[y0:y1, x0:x1] = number
        return Image.fromarray(found)


def write_rows(folder: Path) -> Path:
    """A folder with ``metadata.csv`` and what it names."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    table = []
    for row in range(ROWS):
        corners = {colour: (int(random.integers(0, 12)), 4 + 14 * place) for place, colour in enumerate(SQUARES)}
        drawn = Drawn(row, random, dict(list(corners.items())[: row % 3]))
        table.append({**media(folder, drawn), **said(folder, drawn)})
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return folder


def media(folder: Path, drawn: Drawn) -> dict[str, str]:
    """The cells that a modality reads."""
    row = drawn.row
    drawn.picture().save(folder / f"{row}.png")
    drawn.picture(2).save(folder / f"{row} later.png")
    frames(folder / f"{row} clip", [drawn.picture(frame) for frame in range(FRAMES)])
    sound(folder / f"{row}.wav", 200 + 10 * row, drawn.random)
    np.save(folder / f"{row}.npy", drawn.random.standard_normal((6, 5)).astype(np.float32))
    np.save(folder / f"{row} other.npy", np.random.default_rng(row).standard_normal((4, 3)).astype(np.float32))
    return {
        "image": f"{row}.png",
        "reference": f"{row} later.png",
        "video": f"{row} clip",
        "audio": f"{row}.wav",
        "sequence": f"{row}.npy",
        "second_sequence": f"{row} other.npy",
        "text": f"a {drawn.ground} {THINGS[row // 3 % 4]}",
        "input_text": ("which colour?", "what is it?")[row % 2],
        "answers": (drawn.ground, THINGS[row // 3 % 4])[row % 2],
    }


def said(folder: Path, drawn: Drawn) -> dict[str, Any]:
    """The cells that say something of the row."""
    row, names = drawn.row, list(drawn.corners)
    moments = (0, 1, 3)[row % 3]
    drawn.numbers().save(folder / f"{row} numbers.png")
    frames(folder / f"{row} tracks", [drawn.numbers(frame) for frame in range(FRAMES)])
    return {
        "label": drawn.ground,
        "group": f"row {row}",
        "dataset": "odd" if row % 2 else "even",
        "hard_text": f"no {drawn.ground} ball",
        "counterfactuals": json.dumps([f"a {drawn.ground} {thing}" for thing in THINGS[: row % 4]]),
        "counterfactual_of": f"a {drawn.ground} {THINGS[row // 3 % 4]}" if row % 2 else "",
        "counterfactual_similarity": json.dumps([0.2 * place for place in range(row % 4)]),
        "counterfactual_kind": json.dumps(["object"] * (row % 4)),
        "text_pair": f"{drawn.ground} things",
        "score": row % 6,
        "subset": "first" if row < ROWS // 2 else "second",
        "role": ("query", "support", "target", "reference")[row % 4],
        "mask": f"{row} numbers.png",
        "boxes": json.dumps(drawn.boxes()),
        "instances": f"{row} numbers.png",
        "tracks": json.dumps([drawn.boxes(frame) for frame in range(FRAMES)]),
        "track_ids": json.dumps([list(range(len(names)))] * FRAMES),
        "track_masks": f"{row} tracks",
        "instance_label": json.dumps(names),
        "instance_text": json.dumps([f"a {name} square" for name in names]),
        "moments": json.dumps([[0.5 * number, 0.5 * number + 1] for number in range(moments)]),
        "moment_text": json.dumps([f"a {name} square" for name in ("white", "black", "green")[:moments]]),
        "duration": 2.0,
    }


def frames(folder: Path, pictures: list[Image.Image]) -> None:
    """A folder of frames."""
    folder.mkdir()
    for number, picture in enumerate(pictures):
        picture.save(folder / f"{number}.png")


def sound(path: Path, pitch: float, random: np.random.Generator) -> None:
    """A fifth of a second of a tone in noise."""
    rate = 16_000
    tone = np.sin(2 * np.pi * pitch * np.arange(rate // 5) / rate) + 0.2 * random.standard_normal(rate // 5)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((8000 * tone).clip(-32768, 32767).astype("<i2").tobytes())


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
