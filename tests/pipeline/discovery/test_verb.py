"""Classes of rows of which some are labelled: found, named, shown, written."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import accord
from accord.data import open_corpus
from accord.errors import ConfigError, DataError
from accord.methods.abilities import DiscoversClasses, Discovery
from accord.searching.rows import vector_column

NAMES = ("cat", "dog", "red boat")


def vectors_of(kinds: torch.Tensor, width: int = 16) -> torch.Tensor:
    """Unit vectors in three tight groups."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(3, width, generator=generator), dim=1)
    return centres[kinds] + 0.05 * torch.randn(len(kinds), width, generator=generator)


def table_of(rows: int = 90) -> pa.Table:
    """Three groups, of which half of the first is labelled, with captions."""
    kinds = torch.arange(rows) % 3
    return pa.table(
        {
            "id": pa.array(np.arange(100, 100 + rows)),
            "image": vector_column(vectors_of(kinds)),
            "captions": [[f"a {NAMES[kind]} in a picture"] for kind in kinds.tolist()],
            "label": ["cat" if kind == 0 and row % 2 else None for row, kind in enumerate(kinds.tolist())],
        }
    )


@pytest.fixture
def embeddings(tmp_path: Path) -> Path:
    pq.write_table(table_of(), tmp_path / "vectors.parquet")
    return tmp_path / "vectors.parquet"


@pytest.fixture
def half_labelled(shapes: Path, tmp_path: Path) -> Path:
    """The shapes with the label of half of the red ones, in a folder of their own."""
    folder = shutil.copytree(shapes, tmp_path / "shapes")
    with (folder / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["kind"] = "red" if row["label"] == "red" and number % 2 else ""
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["file_name", "caption", "kind"], extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
    return folder


def test_new_classes_are_found_named_and_stable(embeddings: Path, tmp_path: Path) -> None:
    found = accord.discover(embeddings, "label", out=tmp_path / "out")
    assert [(one.name, one.new, one.rows, one.labelled) for one in found.classes] == [
        ("cat", False, 30, 15),
        ("dog", True, 30, 0),
        ("red boat", True, 30, 0),
    ]
    assert (found.known, found.new) == (1, 2)
    assert all(one.stability is not None and one.stability > 0.95 for one in found.classes)
    assert all(one.density > 0.9 for one in found.classes)
    assert found.repeats == (3, 3, 3, 3, 3)


def test_every_row_is_written_with_its_class(embeddings: Path, tmp_path: Path) -> None:
    accord.discover(embeddings, "label", out=tmp_path / "out", repeats=0)
    rows = pq.read_table(tmp_path / "out" / "discovered.parquet").to_pylist()
    assert [row["id"] for row in rows] == list(range(100, 190))
    assert [row["class"] for row in rows] == [NAMES[row % 3] for row in range(90)]
    assert [row["given"] for row in rows[:4]] == [None, None, None, "cat"]
    assert [row["new"] for row in rows[:3]] == [False, True, True]
    assert all(row["margin"] > 0.5 and row["next"] != row["class"] and 0 < row["distance"] < 1 for row in rows)
    assert rows[0]["captions"] == ["a cat in a picture"]


def test_tables_say_what_the_result_says(embeddings: Path, tmp_path: Path) -> None:
    found = accord.discover(embeddings, "label", out=tmp_path / "out", repeats=2, seed=3)
    about = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert (about["seed"], about["labelled"], about["modality"]) == (3, "label", "image")
    assert about["classes_in_parts"] == list(found.repeats)
    assert about["history"] == list(found.history)
    assert [one["name"] for one in about["classes"]] == [one.name for one in found.classes]
    with (tmp_path / "out" / "classes.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["name"], row["new"]) for row in table] == [("cat", "known"), ("dog", "new"), ("red boat", "new")]


def test_the_page_shows_each_class_once(embeddings: Path, tmp_path: Path) -> None:
    found = accord.discover(embeddings, "label", out=tmp_path / "out", repeats=2)
    html = found.page.read_text(encoding="utf-8")
    assert [html.count(f"<h3>{name}<") for name in NAMES] == [1, 1, 1]
    assert html.index("New classes") < html.index("<h3>dog<") < html.index("<h3>cat<")
    assert "3 classes in 90 rows, 1 known and 2 new" in html
    assert "<script" not in html


def test_without_labels_all_classes_are_new(embeddings: Path, tmp_path: Path) -> None:
    found = accord.discover(embeddings, out=tmp_path / "out", repeats=2)
    assert found.known == 0
    assert sorted(one.name for one in found.classes) == sorted(NAMES)
    assert set(pq.read_table(tmp_path / "out" / "discovered.parquet")["given"].to_pylist()) == {None}


def test_rows_of_one_kind_are_one_class_and_that_is_said(tmp_path: Path, capsys) -> None:
    vectors = torch.randn(200, 8, generator=torch.Generator().manual_seed(0)) + 4
    pq.write_table(pa.table({"vec": vector_column(vectors)}), tmp_path / "one.parquet")
    assert len(accord.discover(tmp_path / "one.parquet", out=tmp_path / "out", repeats=0).classes) == 1
    assert "no new class stands apart in these vectors" in capsys.readouterr().err


def test_many_small_groups_are_found_without_a_guess(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(20, 32, generator=generator), dim=1)
    vectors = centres.repeat_interleave(40, dim=0) + 0.02 * torch.randn(800, 32, generator=generator)
    pq.write_table(pa.table({"vec": vector_column(vectors)}), tmp_path / "many.parquet")
    found = accord.discover(tmp_path / "many.parquet", out=tmp_path / "out", repeats=0)
    assert [one.rows for one in found.classes] == [40] * 20


def test_vectors_alone_make_numbered_classes(tmp_path: Path) -> None:
    path = tmp_path / "bare.parquet"
    pq.write_table(table_of().select(["image"]), path)
    found = accord.discover(path, out=tmp_path / "out", repeats=0)
    assert [one.name for one in found.classes] == ["class 1", "class 2", "class 3"]
    assert (
        len(set(re.findall(r"row \d+", found.page.read_text(encoding="utf-8")))) == 36
    )  # 8 nearest, 4 doubtful of each


def test_the_same_seed_finds_the_same(embeddings: Path, tmp_path: Path) -> None:
    first, second = (accord.discover(embeddings, "label", out=tmp_path / name, repeats=2) for name in "ab")
    assert first.classes == second.classes
    assert (first.placed.classes == second.placed.classes).all()


def test_a_model_embeds_pictures_and_names_classes(trained, half_labelled: Path, tmp_path: Path) -> None:
    found = accord.discover(half_labelled, "kind", run=trained.path, out=tmp_path / "out", repeats=2, device="cpu")
    assert found.classes[0].name == "red"
    assert len({one.name for one in found.classes}) == len(found.classes)
    assert {word for one in found.classes for word, _ in one.words} & {"green", "blue", "square", "circle"}
    html = found.page.read_text(encoding="utf-8")
    assert html.count("<img") >= 8
    rows = pq.read_table(tmp_path / "out" / "discovered.parquet").to_pylist()
    assert all(Path(row["path"]).is_file() for row in rows)
    assert f"accord train {tmp_path / 'out' / 'discovered.parquet'} --image path --label class" in html
    again = open_corpus(
        tmp_path / "out" / "discovered.parquet", columns={"image": "path", "label": "class"}, quiet=True
    )
    assert set(again.classes) == {one.name for one in found.classes}


def test_the_model_that_ships_takes_pictures_where_none_is_named(half_labelled: Path, tmp_path: Path, capsys) -> None:
    found = accord.discover(half_labelled, "kind", out=tmp_path / "out", repeats=0, device="cpu")
    assert len(found.ids) == 48
    assert "embedded by the model house" in capsys.readouterr().err


def test_a_row_that_goes_bad_is_left_out(trained, half_labelled: Path, tmp_path: Path, capsys) -> None:
    (half_labelled / "05.png").write_bytes(b"no picture")
    found = accord.discover(half_labelled, "kind", run=trained.path, out=tmp_path / "out", repeats=0, device="cpu")
    assert 5 not in found.ids
    assert len(found.ids) == 47
    assert "1 of 48 rows left out, most often: not a picture" in capsys.readouterr().err


def test_a_picture_that_is_gone_leaves_its_name(trained, half_labelled: Path, tmp_path: Path) -> None:
    vectors = accord.embed(trained.path, half_labelled, out=tmp_path / "vectors.parquet", device="cpu")
    shown = accord.discover(vectors, out=tmp_path / "whole", repeats=0).page.read_text().count("<img")
    assert shown
    for number in range(0, 48, 2):
        (half_labelled / f"{number:02}.png").unlink()
    fewer = accord.discover(vectors, out=tmp_path / "half", repeats=0).page.read_text().count("<img")
    assert 0 < fewer < shown


def test_a_method_that_discovers_classes_does_so_itself(
    trained, half_labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own(type(trained.model.method), DiscoversClasses):  # type: ignore[misc]
        def discover(self, embeddings: torch.Tensor, labels: torch.Tensor) -> Discovery:
            return Discovery((labels < 0).long(), known=1, classes=2)

    load = accord.load

    def loaded(*args, **options):
        model = load(*args, **options)
        model.method.__class__ = Own
        return model

    monkeypatch.setattr("accord.pipeline.embedded.load", loaded)
    options = {"run": trained.path, "repeats": 2, "device": "cpu"}
    found = accord.discover(half_labelled, "kind", out=tmp_path / "own", **options)
    assert [one.rows for one in found.classes] == [8, 40]
    assert found.classes[0].stability is None  # all of its rows have a label
    assert found.classes[1].stability == 1
    guessed = accord.discover(half_labelled, "kind", out=tmp_path / "guessed", classes=3, **options)
    assert guessed.history


def changed(embeddings: Path, **columns: list) -> Path:
    table = pq.read_table(embeddings)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(table, embeddings)
    return embeddings


def test_what_cannot_be_done_is_said(embeddings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError, match="no column 'species' for label; the columns are"):
        accord.discover(embeddings, "species", out=out)
    with pytest.raises(ConfigError, match=r"the labels are those of the column --labelled COL"):
        accord.discover(embeddings, columns={"label": "label"}, out=out)
    with pytest.raises(ConfigError, match=r"holds vectors already.*leave --run out"):
        accord.discover(embeddings, run="house", out=out)
    with pytest.raises(ConfigError, match=r"modality = 'audio': vectors\.parquet has vectors of image"):
        accord.discover(embeddings, modality="audio", out=out)
    with pytest.raises(ConfigError, match=r"classes = 200: expected from 1 .known classes. to 76"):
        accord.discover(embeddings, "label", classes=200, out=out)
    with pytest.raises(ConfigError, match="repeats = -1: expected at least 0"):
        accord.discover(embeddings, repeats=-1, out=out)
    with pytest.raises(DataError, match="labels all 90 rows, so that there is nothing to find"):
        accord.discover(changed(embeddings, label=["cat"] * 90), "label", out=out)
    with pytest.raises(DataError, match="column label labels no row; leave --labelled out"):
        accord.discover(changed(embeddings, label=[""] * 90), "label", out=out)
    assert not out.exists()


def test_too_few_rows_and_vectors_that_are_none_are_refused(embeddings: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only 8 rows have no label: expected at least 12"):
        accord.discover(changed(embeddings, label=[None] * 8 + ["cat"] * 82), "label", out=tmp_path / "out")
    bad = [[float("nan")] * 4, *([[1.0, 0.0, 0.0, 0.0]] * 89)]
    with pytest.raises(DataError, match=r"row 0 of column image is no vector"):
        accord.discover(changed(embeddings, image=bad), out=tmp_path / "out")


def test_texts_alone_ask_for_a_model(tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("caption\n" + "a cat\n" * 20)
    with pytest.raises(DataError, match=r"holds text and no pictures: name the model .* --run"):
        accord.discover(tmp_path / "texts.csv", out=tmp_path / "out")


def test_only_classes_found_earlier_are_replaced(embeddings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    accord.discover(embeddings, "label", out=out, repeats=0)
    assert accord.discover(embeddings, out=out, repeats=0).known == 0
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds other things than classes found earlier \(notes\.txt\)"):
        accord.discover(embeddings, out=out, repeats=0)


def test_the_folder_does_not_lie_in_the_data(trained, half_labelled: Path) -> None:
    with pytest.raises(ConfigError, match="lies in the data folder"):
        accord.discover(half_labelled, "kind", run=trained.path, out=half_labelled / "out")


def test_rows_without_the_modality_are_left_out(tmp_path: Path, capsys) -> None:
    there = np.arange(90) >= 10
    table = table_of().set_column(1, "image", vector_column(vectors_of(torch.arange(90) % 3), there))
    pq.write_table(table, tmp_path / "vectors.parquet")
    found = accord.discover(tmp_path / "vectors.parquet", "label", out=tmp_path / "out", repeats=0)
    assert len(found.ids) == 80
    assert "10 rows without image left out" in capsys.readouterr().err
