"""Methods that learn from targets, from the data to the finished run: rows without them, resume, what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import accord
from accord import pipeline
from accord.data.making.compose import Sprite, write_scenes
from accord.errors import ConfigError, DataError

COLOURS = {"red": (250, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 250)}


KINDS = ["background", *COLOURS]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Composed clips; of every seventh the boxes, masks and moments are not known."""
    sprites = [Sprite(Image.new("RGBA", (9, 9), (*rgb, 255)), name, i) for i, (name, rgb) in enumerate(COLOURS.items())]
    folder = tmp_path_factory.mktemp("targets") / "scenes"
    write_scenes(folder, sprites, count=28, side=40, things=(1, 3), frames=5, kinds=list(COLOURS))
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {"moments": [[0, 2 + number % 3]], "seconds": 5.0}
        if number % 7 == 0:
            row |= dict.fromkeys(("mask", "boxes", "moments"))
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(autouse=True)
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toys as methods of an installed package."""
    info = tmp_path / "site" / "toys-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    named = {"toy_painter": "Painter", "toy_boxer": "Boxer", "toy_follower": "Follower"}
    lines = [f"{name} = target_toys:{kind}" for name, kind in named.items()]
    (info / "entry_points.txt").write_text("\n".join(["[accord.methods]", *lines, ""]))
    monkeypatch.syspath_prepend(str(info.parent))


def run_of(scenes: Path, method: str, **columns: str | None) -> dict[str, Any]:
    medium = "video" if method == "toy_follower" else "image"
    small = {"name": "tiny_vit", "size": 32, "width": 16, "depth": 1}
    encoder = {"name": "frames", "options": {"image": small}} if medium == "video" else None
    encoder = encoder or {"name": small.pop("name"), "options": small}
    return {
        "data": {
            "source": str(scenes),
            "columns": {"text": "caption", **columns},
            "split": {"test": 0.25},
            "mask_classes": KINDS,
        },
        "method": {"name": method},
        "encoders": {medium: encoder},
        "training": {"epochs": 2, "batch_size": 4, "accelerator": "cpu"},
    }


@pytest.mark.parametrize("method", ["toy_painter", "toy_boxer", "toy_follower"])
def test_a_method_is_trained_on_its_targets_and_rows_without_are_left_out(scenes, tmp_path, capsys, method) -> None:
    run = pipeline.train(config=run_of(scenes, method), out=tmp_path / "run")
    said = capsys.readouterr().err
    name = {"toy_painter": "mask", "toy_boxer": "boxes", "toy_follower": "moments"}[method]
    assert f"training rows without {name} are left out: {method} learns from {name}" in said
    assert run.model.method.data.rows < 21
    loaded = accord.load(tmp_path / "run").method
    assert loaded.data.mask_classes == tuple(KINDS)
    assert loaded.data.instance_classes == (() if method == "toy_painter" else ("blue", "green", "red"))
    for one, other in zip(loaded.parameters(), run.model.method.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_method_without_its_column_is_refused_by_name(scenes, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"method toy_boxer needs boxes, and .* name the column with --boxes COL"):
        pipeline.train(config=run_of(scenes, "toy_boxer", boxes=None), out=tmp_path / "run", progress=False)


def test_when_no_row_has_a_target_that_is_said(scenes, tmp_path) -> None:
    rows = [json.loads(line) for line in (scenes / "metadata.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {"image": str(scenes / row["image"]), "boxes": None}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = run_of(tmp_path / "rows.jsonl", "toy_boxer", mask=None, video=None)
    with pytest.raises(DataError, match="method toy_boxer learns from boxes, and no training row has one"):
        pipeline.train(config=run, out=tmp_path / "run", progress=False)
