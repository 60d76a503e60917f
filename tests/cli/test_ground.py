"""``accord ground`` on a run that is trained in a moment: clips of scenes in colours, and sequences of features."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import accord
from accord import pipeline
from accord.cli import app
from accord.cli.ground import _files_and_sentences
from accord.data.reading.lengths import seconds_of
from accord.errors import ConfigError, DataError
from accord.functional import temporal_iou
from accord.pipeline.rows import open_like

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 220)}
SMALL = {
    "method.num_clips": 8,
    "method.pooling_counts": [7],
    "method.hidden": 8,
    "method.dim": 8,
    "method.kernel": 3,
    "method.layers": 1,
    "encoders.text.options": {"width": 16, "depth": 1, "heads": 2},
}
VIT = {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}


def film(folder: Path, order: list[str]) -> list[list[float]]:
    """A folder of eight frames, a second each; when which colour is seen."""
    folder.mkdir()
    edges = [0, 3, 5, 8]
    for colour, (start, end) in zip(order, pairwise(edges), strict=True):
        for frame in range(start, end):
            Image.new("RGB", (16, 16), COLOURS[colour]).save(folder / f"{frame}.png")
    return [[float(a), float(b)] for a, b in pairwise(edges)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, random = tmp_path_factory.mktemp("films"), np.random.default_rng(0)
    rows = []
    for number in range(8):
        order = [str(colour) for colour in random.permutation(list(COLOURS))]
        spans = film(folder / f"film {number}", order)
        said = {"moments": spans, "moment_text": [f"it is {colour}" for colour in order], "duration": 8.0}
        np.save(folder / f"{number}.npy", random.standard_normal((8, 4)).astype(np.float32))
        rows.append({"video": f"film {number}", "features": f"{number}.npy", **said})
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder


def train(folder: Path, out: str, modality: str, encoder: str, options: dict, columns: dict) -> Path:
    settings = {"method.modality": modality, f"encoders.{modality}.options": options, **SMALL}
    pipeline.train(
        folder / "rows.jsonl",
        method="g2l",
        encoders={modality: encoder, "text": "tiny_text"},
        columns=columns,
        epochs=1,
        batch_size=4,
        settings=settings,
        out=folder / out,
        progress=False,
    )
    return folder / out


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    return train(folder, "run", "video", "frames", {"frames": 8, "image": VIT}, {"sequence": None})


@pytest.fixture(scope="module")
def of_features(folder: Path) -> Path:
    columns = {"video": None, "sequence": "features"}
    steps = {"length": 8, "seconds_per_step": 0.5, "sampling": "slots", "unit_norm": True}
    return train(folder, "features", "sequence", "steps", steps, columns)


def call(*words: object) -> str:
    done = CliRunner().invoke(app, ["ground", *map(str, words)])
    assert done.exit_code == 0, done.output
    return done.output


def told(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_moments_of_sentences_are_listed_the_likeliest_first(run: Path, folder: Path) -> None:
    printed = call(run, folder / "film 0", "it is red", "--top", 3)
    assert "it is red" in printed
    assert len([line for line in printed.splitlines() if " s " in line]) == 3


def test_several_files_and_sentences_are_written_as_lines(run: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "moments.jsonl"
    said = call(
        run, folder / "film 0", folder / "film 1", "it is red", "it is blue", "--top", 2, "--nms", 0.2, "--out", out
    )
    assert f"wrote 8 moments to {out}" in said.replace("\n", "")
    rows = told(out)
    asked = [(str(folder / f"film {film}"), f"it is {colour}") for film in (0, 1) for colour in ("red", "blue")]
    assert [(row["file"], row["sentence"]) for row in rows] == [pair for pair in asked for _ in range(2)]
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first["score"] >= second["score"]
        assert 0 <= first["start"] < first["end"] <= 8
        spans = torch.tensor([[row["start"], row["end"]] for row in (first, second)])
        assert temporal_iou(spans[:1], spans[1:]) <= 0.2


def test_the_answers_are_those_of_the_model_on_its_rows(run: Path, folder: Path) -> None:
    found = accord.ground(run, folder / "film 3", ["it is green"], top=1)[0]
    model = accord.load(run)
    corpus = open_like(model, folder / "rows.jsonl", columns={"sequence": None}, targets=("moments",))
    batch = next(iter(model.loader(corpus.select([3]), ("video",), targets=("moments",))))
    expected = model.method.find_moments(batch | {"moment_text": [["it is green"]]}, most=1)[0]
    assert [found.start, found.end] == pytest.approx(expected.spans[0, 0].tolist())
    assert found.score == pytest.approx(expected.scores[0, 0].item(), rel=1e-4)


def test_a_folder_is_looked_through_and_what_cannot_be_read_is_named(run: Path, folder: Path, tmp_path: Path) -> None:
    frames = [Image.open(folder / "film 2" / f"{number}.png") for number in range(8)]
    frames[0].save(tmp_path / "whole.webp", save_all=True, append_images=frames[1:], duration=250, lossless=True)
    (tmp_path / "broken.webp").write_bytes(b"RIFF1234WEBPVP8 no")
    done = CliRunner().invoke(app, ["ground", str(run), str(tmp_path), "it is red", "--top", "1"])
    assert done.exit_code == 0, done.output
    assert "broken.webp left out" in done.stderr
    assert accord.ground(run, tmp_path / "whole.webp", "it is red", top=50, nms=1.0)[-1].end <= 2.0


def test_a_film_of_mp4_lasts_as_long_as_it_says(run: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number in range(12):
            picture = Image.new("RGB", (32, 32), COLOURS["red" if number < 6 else "blue"])
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    found = accord.ground(run, tmp_path / "film.mp4", "it is red", top=99, nms=1.0)
    assert len(found) == 36
    assert max(moment.end for moment in found) == pytest.approx(3.0, abs=0.05)


def test_a_figure_shows_scores_over_time_and_pictures_of_clips(run: Path, folder: Path, tmp_path: Path) -> None:
    figure = tmp_path / "moments.png"
    assert f"figure: {figure}" in call(run, folder / "film 0", "it is red", "it is blue", "--figure", figure).replace(
        "\n", ""
    )
    drawn = np.asarray(Image.open(figure).convert("RGB")).reshape(-1, 3).astype(int)
    assert sum(bool((abs(drawn - rgb).sum(axis=1) < 12).any()) for rgb in COLOURS.values()) >= 2


def test_features_are_looked_through_as_clips_are(of_features: Path, folder: Path, tmp_path: Path) -> None:
    out, figure = tmp_path / "moments.jsonl", tmp_path / "moments.svg"
    call(of_features, folder / "0.npy", "it is red", "--out", out, "--figure", figure)
    assert max(row["end"] for row in told(out)) <= 4.0  # eight steps of half a second
    assert "<svg" in figure.read_text()[:600]
    call(of_features, folder / "0.npy", "it is red", "--out", out, "--duration", 80, "--nms", 1, "--top", 36)
    assert max(row["end"] for row in told(out)) == 80


def test_what_is_there_is_a_file_and_all_else_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert _files_and_sentences([str(tmp_path / "a.mp4"), "a dog runs"], ["it barks"]) == (
        [str(tmp_path / "a.mp4")],
        ["a dog runs", "it barks"],
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.mp4", "it is red"), "there is no none.mp4"),
        (("it is red",), "none of these is a file"),
        ((".",), "say in quotes what happens"),
        ((".", "it is red", "--nms", "1.5"), "nms"),
    ],
)
def test_wrong_usage_says_what_is_missing(run: Path, words, message: str) -> None:
    done = CliRunner().invoke(app, ["ground", str(run), *words], env={"COLUMNS": "200", "TERM": "dumb"})
    assert done.exit_code == 2
    assert message in done.output


def test_what_cannot_be_asked_is_refused_with_the_reason(run: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one sentence, and none without words"):
        accord.ground(run, folder / "film 0", [" "])
    with pytest.raises(ConfigError, match="top = 0; expected at least 1"):
        accord.ground(run, folder / "film 0", "it is red", top=0)
    with pytest.raises(DataError, match="holds no clips"):
        accord.ground(run, tmp_path, "it is red")
    with pytest.raises(ConfigError, match=r"does not find moments; methods that do: .*g2l"):
        accord.ground("house", folder / "film 0", "it is red")


def test_how_long_things_last(folder: Path, run: Path) -> None:
    spec = accord.load(run).inputs["video"]
    assert seconds_of(folder / "film 0", spec) == 8.0
