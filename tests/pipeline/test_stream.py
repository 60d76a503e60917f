"""Training on shards that are read where they lie, from the command line to the last bit."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import accord.data.corpus.opening
from accord import pipeline
from accord.cli import app
from accord.training.module import StageModule
from two_processes import run_two_processes


@pytest.fixture(scope="session")
def shards(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shapes in four shards."""
    folder = tmp_path_factory.mktemp("shards")
    with (shapes / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for shard in range(4):
        with tarfile.open(folder / f"{shard}.tar", "w") as archive:
            for number, row in enumerate(rows[12 * shard : 12 * shard + 12], start=12 * shard):
                archive.add(shapes / row["file_name"], f"{number:02}.png")
                about = folder / "about.json"
                about.write_text(json.dumps({"caption": row["caption"], "label": row["label"], "group": row["group"]}))
                archive.add(about, f"{number:02}.json")
    return folder


def streamed(shards: Path, **training: object) -> dict[str, object]:
    """Epochs of half a pass, over rows that are mixed over a quarter of them."""
    return {
        "data": {"source": str(shards / "{0..3}.tar"), "stream": True, "near": 12, "split": {"test": 0.25}},
        "method": {"name": "clip", "dim": 16},
        "encoders": {
            "image": {"name": "tiny_convnet", "options": {"size": 32}},
            "text": {"name": "tiny_text", "options": {"width": 32, "depth": 1, "heads": 2}},
        },
        "training": {
            "epochs": 6,
            "epoch_rows": 18,
            "batch_size": 6,
            "checkpoint_every": 2,
            "log_every": 1,
            "accelerator": "cpu",
            **training,
        },
        "evaluate": ["retrieval"],
    }


@pytest.fixture(scope="session")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streamed") / "whole"
    pipeline.train(config=streamed(shards), out=folder, progress=False)
    return folder


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["total"] for line in (folder / "train.jsonl").read_text().splitlines()]


def test_a_stream_is_trained_on_and_measured(whole: Path) -> None:
    assert len(losses(whole)) == 18
    assert json.loads((whole / "metrics.json").read_text())


def test_nothing_is_decoded_before_its_turn(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    monkeypatch.setattr(accord.data.corpus.opening, "check_media", lambda corpus, **_: checked.append(corpus) or [])
    pipeline.train(config=streamed(shards, epochs=1), out=tmp_path / "run", progress=False)
    assert not checked


@pytest.mark.parametrize("step", [5, 11])  # within the second epoch, and within the second pass
def test_a_stream_goes_on_at_the_row_where_it_was_interrupted(
    shards: Path, whole: Path, tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(module: StageModule, *args: object) -> None:
        if module.position.number == step:
            raise KeyboardInterrupt
        advance(module, *args)

    advance = StageModule._advance
    with monkeypatch.context() as patch:
        patch.setattr(StageModule, "_advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pipeline.train(config=streamed(shards), out=tmp_path / "run", progress=False)
    pipeline.train(out=tmp_path / "run", resume=True, progress=False)
    assert losses(tmp_path / "run") == losses(whole)
    expected, found = (load_file(folder / "model.safetensors") for folder in (whole, tmp_path / "run"))
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def command(rank: int, arguments: list[str], cache: str) -> int:
    import platformdirs

    platformdirs.user_cache_path = lambda *_, **__: Path(cache)  # type: ignore[assignment, misc]
    return CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code


def test_two_processes_read_other_rows_and_train_the_same(shards: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = tmp_path / "stream.yaml"
    config.write_text(json.dumps(streamed(shards, devices=2)))
    arguments = ["train", "--config", str(config), "--out", str(out)]
    assert run_two_processes(command, arguments, str(tmp_path / "cache"), torchrun=True) == [0, 0]
    torch.testing.assert_close(torch.tensor(losses(out)), torch.tensor(losses(whole)), rtol=1e-3, atol=1e-4)
