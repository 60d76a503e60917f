"""A user's own folder of films with a table of sentences, two of them broken, through the verbs."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from accord.cli import app

av = pytest.importorskip("av")
COLOURS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 220)}
WAYS = {"right": 1, "left": -1}


def film(path: Path, colour: str, way: str, start: int) -> None:
    """Sixteen frames of a square that moves two pixels in each."""
    with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as container:
        track = container.add_stream("mpeg4", rate=8)
        track.width, track.height, track.pix_fmt = 32, 32, "yuv420p"
        for number in range(16):
            pixels = np.random.default_rng(number).integers(0, 60, (32, 32, 3)).astype(np.uint8)
            left = (start + 2 * number * WAYS[way]) % 24
            pixels[12:20, left : left + 8] = COLOURS[colour]
            container.mux(track.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(track.encode())


def call(*words: object) -> str:
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw = tmp_path_factory.mktemp("films"), np.random.default_rng(0)
    rows = []
    for number in range(24):
        colour, way = list(COLOURS)[number % 3], list(WAYS)[number // 3 % 2]
        film(folder / f"{number:02}.mp4", colour, way, int(draw.integers(24)))
        rows.append({"video": f"{number:02}.mp4", "caption": f"a {colour} square moves {way}", "label": colour})
    content = (folder / "05.mp4").read_bytes()
    (folder / "05.mp4").write_bytes(content[: 3 * len(content) // 4])
    content = (folder / "06.mp4").read_bytes()
    (folder / "06.mp4").write_bytes(content[: content.index(b"moov")])
    with (folder / "films.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def run(films: Path) -> Path:
    encoder = {"frames": 4, "image": {"name": "tiny_convnet", "size": 32, "width": 16}}
    call(
        *("train", films / "films.csv", "--method", "gram", "--out", films / "run", "--epochs", 2, "--batch-size", 8),
        *("--set", "method.modalities=[text,video]", "--set", "method.dim=8", "--set", "data.split.test=0.5"),
        *("--set", "encoders.video.name=frames", "--set", f"encoders.video.options={json.dumps(encoder)}"),
        *("--set", "encoders.text.name=tiny_text"),
        *("--set", 'encoders.text.options={"width": 16, "depth": 1, "heads": 2}'),
    )
    return films / "run"


def test_broken_films_are_listed_with_their_rows_and_the_others_are_trained_on(run: Path) -> None:
    late, early = [json.loads(line) for line in (run / "quarantine.jsonl").read_text().splitlines()]
    assert (late["row"], early["row"]) == (5, 6)
    assert "05.mp4" in late["file"]
    assert "second" in late["reason"]
    assert early["reason"].startswith("damaged clip: ")


def test_the_report_shows_strips_of_films(run: Path) -> None:
    report = (run / "report.html").read_text(encoding="utf-8")
    assert len(re.findall(r'src="data:image/', report)) > 3
    assert "moves" in report


def test_films_are_embedded_searched_and_evaluated(run: Path, films: Path) -> None:
    assert "R@1" in call("evaluate", run, "--task", "retrieval")
    call("embed", run, films / "films.csv", "--out", films / "vectors.parquet")
    assert pq.read_table(films / "vectors.parquet").num_rows == 22
    by_words = call("search", run, films / "films.csv", "a red square moves left", "-k", 3)
    assert by_words.count(".mp4") >= 3
    by_film = call("search", run, films / "films.csv", films / "00.mp4", "-k", 3)
    assert "00.mp4" in by_film


def test_the_space_is_probed_against_another_encoder(run: Path, films: Path) -> None:
    said = call("probe", run, films / "films.csv", "--against", "video:frames:tiny_convnet", "--neighbours", 2)
    assert "2 neighbours of video of" in " ".join(said.split())
