"""A table with altered captions: a copy with further columns, by rules, by a model of one's own, or from blocks."""

from __future__ import annotations

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from accord import pipeline
from accord.data import open_corpus
from accord.errors import ConfigError, DataError, StorageError
from accord.pipeline import altering

CAPTIONS = ["a man is riding a horse", "two dogs run", "a red wall"]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "rows" / "clips.csv"
    path.parent.mkdir()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("image", "caption"), *((f"{row}.png", text) for row, text in enumerate(CAPTIONS))])
    return path


def rows_of(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def written(table, out, **options):
    return pipeline.add_counterfactuals(table, out, **{"encoder": None, **options})


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_the_copy_has_altered_captions_and_the_data_stay(table, tmp_path, suffix):
    before, out = table.read_bytes(), tmp_path / f"altered{suffix}"
    done = written(table, out, count=4)
    assert table.read_bytes() == before
    assert (done.rows, done.none) == (3, 1)
    rows = rows_of(out)
    lists = [row["counterfactuals"] if suffix == ".parquet" else json.loads(row["counterfactuals"]) for row in rows]
    assert [row["caption"] for row in rows] == CAPTIONS
    assert [len(one) for one in lists] == [4, 4, 0]
    assert done.texts == 8
    assert all(text.startswith("a man is ") and text.endswith(" a horse") for text in lists[0])
    assert [row["image"] for row in rows] == [f"rows/{number}.png" for number in range(3)]  # from the new folder
    assert "counterfactual_of" not in rows[0]


def test_the_copy_is_read_as_any_data(table, tmp_path):
    written(table, tmp_path / "altered.csv", count=2)
    named = {"counterfactuals": "counterfactuals", "counterfactual_kind": "counterfactual_kind", "image": None}
    corpus = open_corpus(tmp_path / "altered.csv", columns=named, quiet=True)
    found = corpus.targets_of(0, ["counterfactuals"])["counterfactuals"]
    assert len(found.texts) == 2
    assert found.kinds == ("action", "action")


def test_it_says_for_how_many_rows_nothing_was_found(table, tmp_path):
    lines = written(table, tmp_path / "altered.csv").sentences()
    assert lines[0].startswith("3 rows, 2 with altered captions")
    assert lines[1].startswith("1 rows without")


def test_the_first_of_several_captions_is_altered_and_named(tmp_path):
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps({"image": "a.png", "captions": ["a dog runs", "it is grey"]}))
    written(source, tmp_path / "altered.parquet", count=1)
    (row,) = rows_of(tmp_path / "altered.parquet")
    assert row["counterfactual_of"] == "a dog runs"
    assert row["counterfactuals"][0].startswith("a dog ")


def test_likeness_is_said_and_what_says_the_same_is_left_out(table, tmp_path, monkeypatch):
    def embedded(words, name, device):
        assert name == "mine"
        return torch.tensor([[1.0, 0.0] if "riding" in text or "lead" in text else [0.6, 0.8] for text in words])

    monkeypatch.setattr(altering, "_embedded", embedded)

    def writer(captions, count):
        return [["a man is leading a horse", "a man is feeding a horse"], [], []]

    done = written(table, tmp_path / "altered.parquet", encoder="mine", writer=writer)
    first, second, _ = rows_of(tmp_path / "altered.parquet")
    assert first["counterfactuals"] == ["a man is feeding a horse"]
    assert first["counterfactual_similarity"] == pytest.approx([0.6])
    assert second["counterfactual_similarity"] == []
    assert done.dropped == 1


def test_a_writer_of_ones_own_is_asked_for_all_captions_at_once(table, tmp_path):
    asked = []

    def writer(captions, count):
        asked.append((list(captions), count))
        return [[caption.upper(), f"{caption} slowly", f"{caption} slowly", ""] for caption in captions]

    written(table, tmp_path / "altered.parquet", writer=writer, count=3)
    assert asked == [(CAPTIONS, 3)]
    assert [row["counterfactuals"] for row in rows_of(tmp_path / "altered.parquet")] == [
        [f"{caption} slowly"] for caption in CAPTIONS
    ]
    with pytest.raises(DataError, match="altered versions of 1 captions; expected 3"):
        written(table, tmp_path / "other.parquet", writer=lambda captions, count: [[]])
    with pytest.raises(ConfigError, match="no writer 'mine'"):
        written(table, tmp_path / "other.parquet", writer="mine")


def test_a_writer_of_an_installed_package_is_found_by_its_name(table, tmp_path, monkeypatch):
    monkeypatch.setattr(altering, "find_plugin", lambda kind, name: lambda captions, count: [[f"{kind} {name}"]] * 3)
    written(table, tmp_path / "altered.parquet", writer="mine")
    assert rows_of(tmp_path / "altered.parquet")[0]["counterfactuals"] == ["writers mine"]
    monkeypatch.setattr(altering, "find_plugin", lambda kind, name: 3)
    with pytest.raises(ConfigError, match="expected a function of captions"):
        written(table, tmp_path / "other.parquet", writer="mine")


def blocks(tmp_path, ids="aaabbb"):
    path = tmp_path / "blocks.csv"
    lines = [f"{name},{text}" for name, text in zip(ids, ["one", "two", "three", "four", "five", "six"], strict=True)]
    path.write_text("\n".join(["video_id,sentence", *lines]))
    return path


def test_blocks_become_rows(tmp_path):
    done = written(blocks(tmp_path), tmp_path / "altered.parquet", blocks=3, video_files="clips/{video_id}.mp4")
    rows = rows_of(tmp_path / "altered.parquet")
    assert [(row["video_id"], row["sentence"], row["counterfactuals"]) for row in rows] == [
        ("a", "one", ["two", "three"]),
        ("b", "four", ["five", "six"]),
    ]
    assert rows[0]["video"] == "clips/a.mp4"
    assert rows[0]["counterfactual_kind"] == ["action", "action"]
    assert (done.rows, done.texts) == (2, 4)


def test_blocks_that_are_not_whole_or_of_one_thing_are_refused(tmp_path):
    with pytest.raises(DataError, match="6 rows: expected blocks of 4"):
        written(blocks(tmp_path), tmp_path / "out.csv", blocks=4)
    with pytest.raises(DataError, match="rows 0 to 2 should be one block"):
        written(blocks(tmp_path, "aabbbb"), tmp_path / "out.csv", blocks=3)
    with pytest.raises(ConfigError, match="video_files"):
        written(blocks(tmp_path), tmp_path / "out.csv", blocks=3, video_files="{name}.mp4")


def test_what_cannot_be_written_or_read_is_refused(table, tmp_path):
    with pytest.raises(ConfigError, match=r"\.parquet or \.csv"):
        written(table, tmp_path / "out.json")
    (tmp_path / "mine.csv").write_text("precious")
    with pytest.raises(StorageError, match="is there already"):
        written(table, tmp_path / "mine.csv")
    with pytest.raises(ValueError, match="kind"):
        written(table, tmp_path / "out.csv", kinds=("mood",))
    written(table, tmp_path / "again.csv")
    with pytest.raises(DataError, match="has a column counterfactuals already"):
        written(tmp_path / "again.csv", tmp_path / "out.csv")
    pq.write_table(pa.table({"number": [1]}), tmp_path / "numbers.parquet")
    with pytest.raises(DataError, match="--text COL"):
        written(tmp_path / "numbers.parquet", tmp_path / "out.csv")
