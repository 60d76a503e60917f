"""Methods that learn from targets, from the data to the finished run: rows without them, resume, what is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import accord
from accord import pipeline
from accord.data.making.compose import Sprite, write_scenes
from accord.errors import ConfigError, DataError
from accord.methods import get_method
from accord.pipeline.build import build_method, prepare_run
from accord.pipeline.choose import parse_run
from accord.pipeline.config import RunConfig

sys.path.insert(0, str(Path(__file__).parents[1] / "toys"))

from installed import lay_out

COLOURS = {"red": (250, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 250)}
KINDS = ["background", *COLOURS]
LEARNT = {"toy_segmenter": "mask", "toy_detector": "boxes", "toy_mask_tracker": "track_masks", "toy_finder": "moments"}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Composed clips; of every seventh the boxes, masks, tracks and moments are not known."""
    sprites = [Sprite(Image.new("RGBA", (9, 9), (*rgb, 255)), name, i) for i, (name, rgb) in enumerate(COLOURS.items())]
    folder = tmp_path_factory.mktemp("targets") / "scenes"
    write_scenes(folder, sprites, count=28, side=40, things=(1, 3), frames=5, kinds=list(COLOURS))
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {"moments": [[0, 2 + number % 3]], "seconds": 5.0}
        if number % 7 == 0:
            row |= dict.fromkeys(LEARNT.values())
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(autouse=True)
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toys as methods of an installed package."""
    monkeypatch.syspath_prepend(str(lay_out(tmp_path / "site")))


def run_of(scenes: Path, method: str, **columns: str | None) -> dict[str, Any]:
    medium = "video" if method in ("toy_mask_tracker", "toy_finder") else "image"
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


@pytest.mark.parametrize("method", LEARNT)
def test_a_method_is_trained_on_its_targets_and_rows_without_are_left_out(scenes, tmp_path, capsys, method) -> None:
    run = pipeline.train(config=run_of(scenes, method), out=tmp_path / "run")
    said = capsys.readouterr().err
    name = LEARNT[method]
    assert f"training rows without {name} are left out: {method} learns from {name}" in said
    assert run.model.method.data.rows < 21
    loaded = accord.load(tmp_path / "run").method
    assert loaded.data.mask_classes == tuple(KINDS)
    of_things = method in ("toy_detector", "toy_mask_tracker")
    assert loaded.data.instance_classes == (("blue", "green", "red") if of_things else ())
    for one, other in zip(loaded.parameters(), run.model.method.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_method_without_its_column_is_refused_by_name(scenes, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"method toy_detector needs boxes, and .* name the column with --boxes COL"):
        pipeline.train(config=run_of(scenes, "toy_detector", boxes=None), out=tmp_path / "run", progress=False)


@pytest.fixture
def told(scenes: Path, tmp_path: Path) -> Path:
    """The clips with a sentence on each moment, but for two."""
    rows = [json.loads(line) for line in (scenes / "metadata.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {"video": str(scenes / row["video"]), "moment_text": ["sprites wander"] if number % 9 else None}
    (tmp_path / "told.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "told.jsonl"


def test_a_column_of_a_target_that_a_method_needs_is_asked_for_and_has_to_be_filled(scenes, told, monkeypatch, capsys):
    monkeypatch.setattr(get_method("toy_finder"), "target_fields", ("moment_text",))
    with pytest.raises(ConfigError, match=r"toy_finder needs moment_text, .* the column with --moment-text COL"):
        parse_run(run_of(scenes, "toy_finder"))
    run = parse_run(run_of(told, "toy_finder", image=None, mask=None))
    train = prepare_run(run).train
    assert train.has_target("moment_text").all()
    assert (
        "training rows without moment_text are left out: toy_finder learns from moment_text" in capsys.readouterr().err
    )


def test_a_tokenizer_learns_from_the_sentences_of_a_target(told, monkeypatch):
    finder = get_method("toy_finder")
    monkeypatch.setattr(finder, "needs", finder.needs | {"text": frozenset({"pooled"})})
    monkeypatch.setattr(finder, "reads", classmethod(lambda cls, config: ("video",)))
    values = run_of(told, "toy_finder", image=None, mask=None, text=None)
    values["encoders"]["text"] = {"name": "tiny_text", "options": {"width": 16, "depth": 1}}
    run = RunConfig.parse(values)
    method = build_method(run, prepare_run(run, quiet=True).train)
    assert "wander" in method.encoders["text"].input.tokenizer.text


def test_rows_that_a_method_cannot_learn_from_count_among_those_that_are_there(scenes, tmp_path) -> None:
    prepared = prepare_run(RunConfig.parse(run_of(scenes, "toy_detector")), quiet=True)
    assert len(prepared.train) + len(prepared.test) < 28
    assert len(prepared) == 28


def test_when_no_row_has_a_target_that_is_said(scenes, tmp_path) -> None:
    rows = [json.loads(line) for line in (scenes / "metadata.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {"image": str(scenes / row["image"]), "boxes": None}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = run_of(tmp_path / "rows.jsonl", "toy_detector", mask=None, video=None)
    with pytest.raises(DataError, match="method toy_detector learns from boxes, and no training row has one"):
        pipeline.train(config=run, out=tmp_path / "run", progress=False)
