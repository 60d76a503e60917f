"""Precomputed features from a table to a search: trained, saved, embedded and asked with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import accord
from accord import pipeline
from accord.cli import app
from accord.errors import ConfigError, DataError
from accord.training.artifact import Model

WORDS = ("run", "jump", "sit", "wave")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Poses of four movements, as lists in a table."""
    folder, noise = tmp_path_factory.mktemp("poses"), np.random.default_rng(0)
    rows = []
    for number in range(24):
        steps = noise.normal(size=(4 + number % 5, 6))
        steps[:, number % 4] += 4
        word = WORDS[number % 4]
        rows.append({"poses": steps.round(3).tolist(), "text": f"they {word} {number}", "label": word})
    np.save(folder / "0.npy", np.array(rows[0]["poses"]))
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    settings = {
        "method.modalities": ["text", "sequence"],
        "method.matching_weight": 0.0,
        "method.dim": 8,
        "encoders.sequence.options": {"width": 8, "depth": 1, "heads": 2, "length": 5, "sampling": "window"},
        "encoders.text.options": {"width": 8, "depth": 1, "heads": 2},
    }
    pipeline.train(
        folder / "rows.jsonl",
        method="gram",
        encoders={"text": "tiny_text", "sequence": "tiny_sequence"},
        epochs=1,
        batch_size=8,
        settings=settings,
        out=folder / "run",
        progress=False,
    )
    return accord.load(folder / "run")


def test_the_encoder_is_as_wide_as_the_steps_and_comes_back_as_it_was(model: Model) -> None:
    assert model.inputs["sequence"].dim == 6  # type: ignore[union-attr]
    assert model.inputs["sequence"].sampling == "window"  # type: ignore[union-attr]


def test_files_arrays_and_lists_embed_alike(model: Model, folder: Path) -> None:
    steps = np.load(folder / "0.npy")
    of_file, of_array = (model.embed(sequences=[item]) for item in (folder / "0.npy", steps))
    assert torch.equal(of_file, of_array)
    corpus = accord.pipeline.rows.open_rows(folder / "rows.jsonl")
    torch.testing.assert_close(model.embed_corpus(corpus, "sequence")[:1], of_file)
    with pytest.raises(DataError, match=r"sequences\[0\] \(bytes in the row\) cannot be read: wrong width: 5"):
        model.embed(sequences=[steps[:, :5]])
    with pytest.raises(ConfigError, match=r"exactly one modality: images=, texts=, video=, audio= or sequences="):
        model.embed(sequences=[steps], texts=["a"])


def test_rows_are_found_by_a_file_of_steps(model: Model, folder: Path) -> None:
    done = CliRunner().invoke(app, ["search", str(folder / "run"), str(folder / "0.npy"), "-k", "2"])
    assert done.exit_code == 0, done.output
    assert "they" in done.output
    done = CliRunner().invoke(app, ["search", str(folder / "run"), "--sequence", str(folder / "0.npy"), "-k", "2"])
    assert done.exit_code == 0, done.output
