"""``agreement``: two models, encoders or files of vectors are held against each other on the same rows."""

from __future__ import annotations

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import accord
from accord.cli import app
from accord.errors import ConfigError, DataError
from accord.pipeline.sides import frame_indices
from accord.searching.rows import vector_column


def rows(count: int = 200, width: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def written(path, vectors, ids=None):
    columns = {"id": pa.array(np.arange(len(vectors)) if ids is None else ids), "vec": vector_column(vectors)}
    pq.write_table(pa.table(columns), path)
    return str(path)


@pytest.fixture
def clips(tmp_path):
    """Twelve folders of eight frames, of dots that grow by one pixel in each."""
    draw = np.random.default_rng(0)
    for number in range(12):
        folder = tmp_path / "clips" / f"{number:02}"
        folder.mkdir(parents=True)
        left, top = draw.integers(0, 16, 2)
        for frame in range(8):
            pixels = draw.integers(0, 40, (32, 32, 3)).astype(np.uint8)
            pixels[top : top + 2 + frame, left : left + 2 + frame] = 40 * (number % 6) + 55
            Image.fromarray(pixels).save(folder / f"{frame}.png")
    lines = [f"clips/{number:02},dot {number}" for number in range(12)]
    (tmp_path / "clips.csv").write_text("\n".join(["video,caption", *lines]))
    return tmp_path / "clips.csv"


def test_spaces_that_differ_by_a_turn_agree_whatever_the_order_of_their_rows(tmp_path):
    x, order = rows(), torch.randperm(200, generator=torch.Generator().manual_seed(1))
    turned = (x @ torch.linalg.qr(rows(6, 6, 1)).Q)[order]
    one, other = written(tmp_path / "a.parquet", x), written(tmp_path / "b.parquet", turned, order.numpy())
    score, kernels = accord.agreement(one, other)
    assert score.value == 100
    assert score.chance == pytest.approx(1000 / 199)
    assert kernels.value == pytest.approx(1, abs=1e-3)


def test_strangers_agree_by_chance_and_rows_without_a_partner_are_left_out(tmp_path):
    one = written(tmp_path / "a.parquet", rows())
    other = written(tmp_path / "b.parquet", rows(150, 9, 5), np.arange(50, 200))
    score, _ = accord.agreement(one, other, k=5)
    assert score.n == 150
    assert score.low < score.chance < score.high


def test_a_run_and_an_encoder_see_the_same_rows_and_layers_are_told(trained, shapes, tmp_path):
    numbers = accord.agreement(
        str(trained.path),
        "image:tiny_vit",
        shapes,
        tmp_path / "seen.png",
        k=3,
        layers=True,
        json_file=tmp_path / "seen.json",
    )
    names = [number.name for number in numbers]
    assert f"3 neighbours of image of {trained.path} and image:tiny_vit" in names
    assert f"3 neighbours of text of {trained.path} and image:tiny_vit" in names
    assert "the best of" in numbers[0].meaning
    assert Image.open(tmp_path / "seen.png").width > 500
    assert len(json.loads((tmp_path / "seen.json").read_text())["numbers"]) == len(numbers)


def test_more_frames_are_shown_and_the_law_is_fitted(clips, tmp_path):
    ids = np.arange(12)
    other = written(tmp_path / "v.parquet", torch.nn.functional.one_hot(torch.arange(12) % 6).float() + 0.01, ids)
    numbers = accord.agreement(
        "video:frames:tiny_convnet", other, clips, tmp_path / "law.png", k=2, frames=[1, 2, 4, 8]
    )
    limit = numbers[-1]
    assert limit.name.startswith("limit of")
    assert "frames^-" in limit.meaning
    assert re.search(r"frames: [\d.]+ to [\d.]+, exponent [\d.]+ to [\d.]+$", limit.meaning)
    assert limit.low <= limit.high


def test_frames_are_stretched_to_a_clip_or_make_several() -> None:
    assert frame_indices(16, 8).tolist() == [[0, 2, 4, 6, 9, 11, 13, 15]]
    assert frame_indices(16, 2, native=4).tolist() == [[0, 0, 15, 15]]
    assert frame_indices(48, 48, native=16).shape == (3, 16)
    assert torch.equal(frame_indices(48, 48, native=16).flatten(), torch.arange(48))


def test_what_neither_reads_cannot_be_varied(tmp_path, clips):
    one, other = written(tmp_path / "a.parquet", rows()), written(tmp_path / "b.parquet", rows())
    with pytest.raises(ConfigError, match="neither of the two is a text encoder"):
        accord.agreement(one, other, captions=[1, 2])
    with pytest.raises(ConfigError, match="name DATA"):
        accord.agreement("video:frames:tiny_convnet", other)
    with pytest.raises(DataError, match=r"12 rows .*more than k = 12"):
        accord.agreement("video:frames:tiny_convnet", other, clips, k=12)


def test_the_command_line_says_what_belongs_together(tmp_path):
    one, other = written(tmp_path / "a.parquet", rows()), written(tmp_path / "b.parquet", rows())
    asked = CliRunner().invoke(app, ["probe", one, "--against", other, "--neighbours", "4"])
    assert asked.exit_code == 0
    assert "100.0 %" in asked.output
    for extra, says in (
        (["--layers"], "--against"),
        (["--against", other, "--factor", "x"], "leave --against out"),
        (["--against", other, "--frames", "1,x"], "numbers from 1"),
    ):
        refused = CliRunner().invoke(app, ["probe", one, *extra])
        assert refused.exit_code == 2
        assert says in refused.output.replace("\n", " ")
