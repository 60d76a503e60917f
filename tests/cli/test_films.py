"""A user's own folder of films with a table of sentences, two of them broken, through the verbs."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
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
        said = {"question": ("which colour", "which way")[number % 2], "answer": (colour, way)[number % 2]}
        said |= {"moments": "[[0, 2]]", "moment_text": f'["a {colour} square moves {way}"]', "duration": 2}
        rows.append({"video": f"{number:02}.mp4", "caption": f"a {colour} square moves {way}", "label": colour, **said})
    content = (folder / "05.mp4").read_bytes()
    (folder / "05.mp4").write_bytes(content[: 3 * len(content) // 4])
    content = (folder / "06.mp4").read_bytes()
    (folder / "06.mp4").write_bytes(content[: content.index(b"moov")])
    with (folder / "films.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return folder


def trained(films: Path, method: str, *settings: str, epochs: int = 1) -> Path:
    """A run with small encoders."""
    encoder = {"frames": 4, "image": {"name": "tiny_convnet", "size": 32, "width": 16}}
    usual = (
        *("data.split.test=0.5", "encoders.video.name=frames", f"encoders.video.options={json.dumps(encoder)}"),
        *("encoders.text.name=tiny_text", 'encoders.text.options={"width": 16, "depth": 1, "heads": 2}'),
    )
    sets = [word for setting in (*usual, *settings) for word in ("--set", setting)]
    out = films / method
    call("train", films / "films.csv", "--method", method, "--out", out, "--epochs", epochs, "--batch-size", 8, *sets)
    return out


@pytest.fixture(scope="module")
def run(films: Path) -> Path:
    return trained(films, "gram", "method.modalities=[text,video]", "method.dim=8", epochs=2)


@pytest.fixture(scope="module")
def answering(films: Path) -> Path:
    sizes = ("method.dim=16", "method.heads=2", "method.head_width=4", "method.answer_width=8")
    return trained(films, "hbi_answers", *sizes, "method.teacher_epochs=1")


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


def test_questions_about_films_are_answered_and_the_answers_scored(answering: Path, films: Path) -> None:
    assert "right answers" in (answering / "report.html").read_text(encoding="utf-8")
    assert "right answers" in call("evaluate", answering, films / "films.csv", "--task", "answers")
    out = films / "answers.jsonl"
    Image.new("RGB", (8, 8)).save(films / "poster.png")  # a picture among the films
    call("caption", answering, films, "--question", "which way", "--out", out)
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(found) == 22  # two are broken
    assert {row["caption"] for row in found} <= {*COLOURS, *WAYS}
    assert all(row["score"] <= 0 for row in found)


def test_words_are_explained_by_the_frames_of_a_film(answering: Path, films: Path) -> None:
    out = films / "why.png"
    said = call("explain", answering, films / "00.mp4", "--text", "which colour", "--out", out)
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "colour" in said
    refused = CliRunner().invoke(app, ["explain", str(answering), str(films / "06.mp4"), "--text", "which way"])
    assert refused.exit_code == 1
    assert "06.mp4" in refused.output


def test_moments_are_found_in_films_and_broken_ones_named(films: Path) -> None:
    small = ("method.modality=video", "method.num_clips=8", "method.pooling_counts=[7]", "method.hidden=8")
    run = trained(films, "g2l", *small, "method.dim=8", "method.kernel=3", "method.layers=1")
    out, figure = films / "moments.jsonl", films / "moments.png"
    said = call("ground", run, films, "a red square moves left", "--top", 1, "--out", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 22
    assert all(0 <= row["start"] < row["end"] <= 2.01 for row in rows)
    assert "05.mp4 left out" in said
    call("ground", run, films / "00.mp4", "a red square moves left", "--top", 1, "--figure", figure)
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert "mean IoU" in call("evaluate", run, films / "films.csv", "--task", "moments")
