"""A user's own folder of pictures with a table of captions and labels, some of them wrong, through the verbs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from accord.cli import app

COLOURS = {"red": (220, 30, 30), "green": (30, 160, 40), "blue": (40, 60, 220)}
SHAPES = ("circle", "square", "triangle")
EACH = 12
BROKEN = {3: "truncated", 14: "zero bytes", 25: "missing file", 36: "empty text"}  # row -> what is said of it
SWAPPED, RELABELLED = range(40, 48), range(60, 66)
IMAGE = ("--set", "encoders.image.name=tiny_convnet", "--set", 'encoders.image.options={"size": 32, "width": 16}')
TEXT = (
    *("--set", "encoders.text.name=tiny_text"),
    *("--set", 'encoders.text.options={"width": 16, "depth": 1, "heads": 2}'),
)


def drawing(path: Path, colour: str, shape: str, draw: np.random.Generator) -> None:
    """One shape somewhere on a light ground."""
    picture = Image.new("RGB", (64, 64), tuple(int(part) for part in draw.integers(225, 256, 3)))
    x, y, side = (int(part) for part in (*draw.integers(4, 20, 2), draw.integers(28, 40)))
    pen, box = ImageDraw.Draw(picture), (x, y, x + side, y + side)
    if shape == "circle":
        pen.ellipse(box, COLOURS[colour])
    elif shape == "square":
        pen.rectangle(box, COLOURS[colour])
    else:
        pen.polygon([(x, y + side), (x + side, y + side), (x + side // 2, y)], COLOURS[colour])
    picture.save(path)


def rows_of(folder: Path) -> list[list[str]]:
    """File, caption and kind of each picture, in an order that says nothing."""
    draw = np.random.default_rng(0)
    rows = []
    for colour in COLOURS:
        for shape in SHAPES:
            for _ in range(EACH):
                name = f"{len(rows):03}.jpg"
                drawing(folder / name, colour, shape, draw)
                rows.append([name, f"a {colour} {shape}", colour])
    return [rows[place] for place in draw.permutation(len(rows))]


def spoil(folder: Path, rows: list[list[str]]) -> None:
    """Captions of some rows change places, and labels of others; some rows are broken."""
    for places, column in ((SWAPPED, 1), (RELABELLED, 2)):
        cells = [rows[place][column] for place in places]
        for place, cell in zip(places, [*cells[3:], *cells[:3]], strict=True):
            rows[place][column] = cell
    for row, what in BROKEN.items():
        path = folder / rows[row][0]
        if what == "truncated":
            path.write_bytes(path.read_bytes()[:700])
        elif what == "zero bytes":
            path.write_bytes(b"")
        elif what == "missing file":
            path.unlink()
        else:
            rows[row][1] = ""
    rows[51] = list(rows[50])


def call(*words: object, code: int = 0) -> str:
    done = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [*map(str, words)])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table; two of its lines are no rows, and one caption is in another encoding."""
    folder = tmp_path_factory.mktemp("photos")
    rows = rows_of(folder)
    spoil(folder, rows)
    lines = [",".join(row) for row in [["file", "caption", "kind"], *rows]]
    lines.insert(81, "099.jpg,one,cell,too many")
    lines.insert(91, "just one cell")
    text = "\n".join(lines).encode().replace(b"a red circle", b"a r\xe9d circle", 1)
    (folder / "photos.csv").write_bytes(text)
    return folder / "photos.csv"


@pytest.fixture(scope="module")
def cleaned(photos: Path) -> tuple[Path, str]:
    """The folder of ``clean``, and what it said."""
    out = photos.parent / "cleaned"
    return out, call("clean", photos, "--label", "kind", "--out", out)


@pytest.fixture(scope="module")
def vectors(photos: Path) -> Path:
    call("embed", "house", photos, "--label", "kind", "--out", photos.parent / "vectors.parquet")
    return photos.parent / "vectors.parquet"


def test_broken_rows_are_said_and_most_of_the_wrong_ones_are_found(cleaned: tuple[Path, str], photos: Path) -> None:
    folder, said = cleaned
    assert "6 of 110 rows left out" in said
    assert "104 rows judged" in said
    table = pq.read_table(folder / "clean.parquet").to_pylist()
    doubted = {row["id"] for row in table if row["doubted"]}
    names = [line.split(",")[0] for line in photos.read_bytes().decode("latin-1").splitlines()[1:]]
    assert not {row["id"] for row in table} & {*BROKEN, names.index("just one cell")}
    assert len(doubted & {*SWAPPED}) >= 4
    assert len(doubted & {*RELABELLED}) >= 4
    assert len(doubted - {*SWAPPED, *RELABELLED}) <= 10
    assert "a r�d circle" not in str(table)
    assert (folder / "review.html").stat().st_size > 10_000


def test_labels_that_nobody_named_are_asked_for(photos: Path) -> None:
    said = call("clean", photos, "--out", photos.parent / "pairs-alone")
    assert "no labels are judged; where a column holds some, say so: --label kind" in said
    assert "labels: about" not in said


def test_what_was_accepted_can_be_trained_on(cleaned: tuple[Path, str], photos: Path) -> None:
    folder, before = cleaned[0], photos.read_bytes()
    out = photos.parent / "new.csv"
    said = call("clean", "apply", folder, "--out", out)
    assert "4 of them were not judged" in said
    with out.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert all(row["file"] and row["kind"] for row in rows)  # neither of the lines that are no rows
    assert photos.read_bytes() == before
    said = call(
        *("train", out, "--label", "kind", "--method", "clip", "--epochs", 1, "--out", photos.parent / "run"),
        *(*IMAGE, *TEXT),
    )
    assert "4 bad rows left out" in said
    reasons = [json.loads(line)["reason"] for line in (photos.parent / "run" / "quarantine.jsonl").open()]
    assert [reason.split(":")[0].split(" picture")[0] for reason in reasons] == list(BROKEN.values())


def test_epochs_that_no_stage_takes_are_said(photos: Path) -> None:
    own = {"similarity": "cosine", "dim": 8, "warmup_epochs": 1, "epochs": 1, "captions_epoch": 1}
    said = call(
        *("clean", photos, "--method", "pc2", "--out", photos.parent / "pc2", "--set", "training.epochs=3"),
        *(word for name, value in own.items() for word in ("--set", f"method.{name}={value}")),
        *(*IMAGE, *TEXT),
    )
    assert "training.epochs=3 changes nothing: the stages of pc2 have epochs of their own (warmup 1, divided 1)" in said
    assert "rows, says pc2," in said


def test_classes_are_found_in_the_folder_and_in_its_vectors(photos: Path, vectors: Path) -> None:
    some = photos.parent / "some.csv"
    lines = photos.read_bytes().decode("latin-1").splitlines()
    hidden = [line.removesuffix("blue") if line.endswith(",blue") else line for line in lines]
    some.write_text("\n".join(line.removesuffix("red") if place % 2 else line for place, line in enumerate(hidden)))
    said = call("discover", some, "--labelled", "kind", "--out", photos.parent / "found", "--repeats", 0)
    assert "no --run: embedded by the model house" in said
    assert (photos.parent / "found" / "discover.html").is_file()
    said = call("discover", vectors, "--labelled", "kind", "--out", photos.parent / "none", code=1)
    assert "column kind labels all" in said or "no label" in said


def test_a_run_is_no_data(photos: Path, cleaned: tuple[Path, str]) -> None:
    run = photos.parent / "started"
    call("train", photos, "--label", "kind", "--method", "cross_entropy", "--epochs", 1, "--out", run, *IMAGE)
    for verb in ("discover", "clean"):
        assert f"is a run, no data: name its rows too, by accord {verb} {photos} --run" in call(verb, run, code=1)


def test_vectors_are_probed_and_cleaned_as_the_pictures_are(vectors: Path, cleaned: tuple[Path, str]) -> None:
    assert "image purity of red" in call("probe", vectors)
    said = call("clean", vectors, "--label", "kind", "--out", vectors.parent / "from-vectors")
    assert "104 rows judged" in said
    table = pq.read_table(vectors.parent / "from-vectors" / "clean.parquet")
    assert table["id"].equals(pq.read_table(cleaned[0] / "clean.parquet")["id"])


def test_captions_alone_teach_what_sorts_the_pictures(photos: Path) -> None:
    sentences = photos.parent / "sentences.csv"
    rows = [
        f"{start} {colour} {shape},{colour}" for colour in COLOURS for shape in SHAPES for start in ("a", "the", "one")
    ]
    sentences.write_text("\n".join(["sentence,kind", *rows]))
    out = photos.parent / "close"
    call("transfer", "house", sentences, "--label", "kind", "--epochs", 2, "--out", out)
    said = call("zero-shot", out, photos.parent / "000.jpg")
    assert any(colour in said for colour in COLOURS)
    said = call("train", photos, "--label", "kind", "--method", "close", "--out", photos.parent / "closed", code=1)
    assert "method close is trained in the space of a model" in said
