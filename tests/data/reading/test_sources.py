from __future__ import annotations

import json
import logging
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from accord.data.columns import describe_columns
from accord.data.corpus import Corpus, open_corpus
from accord.data.reading.sources import find_shards
from accord.errors import DataError
from data.samples import encoded


def opened(source: str | Path, **options: object) -> Corpus:
    return open_corpus(source, quiet=True, **options)  # type: ignore[arg-type]


def rows() -> list[dict[str, object]]:
    return [{"file_name": f"{i}.png", "text": f"picture {i}", "label": "ab"[i % 2]} for i in range(10)]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_folder_with_metadata_is_its_rows(folder: Path, suffix: str) -> None:
    table = pa.Table.from_pylist(rows())
    path = folder / f"metadata.{suffix}"
    if suffix == "csv":
        table.to_pandas().to_csv(path, index=False)
    elif suffix == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows()))
    else:
        pq.write_table(table, path)
    corpus = opened(folder)
    assert describe_columns(corpus.columns) == "image=file_name text=text label=label"
    assert (len(corpus), corpus.classes) == (10, ("a", "b"))
    sample = corpus.sample(3)
    assert sample["image"].size == (12, 10)
    assert (sample["text"], sample["label"]) == (["picture 3"], 1)


def test_class_folders_give_labels_and_other_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "train/dog/1.jpg", "train/dog/2.jpg", ".hidden/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encoded(kind="PNG" if name.endswith("png") else "JPEG"))
    (tmp_path / "train/notes.txt").write_text("not a picture")
    corpus = opened(tmp_path)
    assert (len(corpus), corpus.classes) == (3, ("cat", "dog"))
    assert corpus.labels is not None
    assert corpus.labels.tolist() == [0, 1, 1]


def test_a_flat_folder_of_pictures_has_no_labels(folder: Path) -> None:
    corpus = opened(folder)
    assert (len(corpus), corpus.labels) == (10, None)


def test_paths_in_a_table_are_relative_to_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "list.tsv").write_text("image\ttitle\n" + "".join(f"{i}.png\tpicture {i}\n" for i in range(10)))
    monkeypatch.chdir("/")
    assert opened(folder / "list.tsv").sample(0)["image"].size == (12, 10)


def test_parquet_may_hold_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"image": [encoded(i) for i in range(4)], "captions": [["a", "b"]] * 4}), path)
    corpus = opened(path)
    assert corpus.texts() == [["a", "b"]] * 4
    assert corpus.sample(2)["image"].size == (12, 10)


def test_a_written_data_set_keeps_its_class_names(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    table = {"image": [{"bytes": encoded(i), "path": None} for i in range(3)], "label": [1, 0, 1]}
    datasets.Dataset.from_dict(table, features=features).to_parquet(str(tmp_path / "rows.parquet"))
    corpus = opened(tmp_path / "rows.parquet")
    assert corpus.classes == ("cat", "dog")
    assert opened(tmp_path / "rows.parquet", classes=["dog", "cat"]).labels.tolist() == [0, 1, 0]  # type: ignore[union-attr]


def test_text_that_spells_missing_in_other_languages_stays_text(folder: Path) -> None:
    (folder / "metadata.csv").write_text("file_name,label\n0.png,NA\n1.png,None\n2.png,DE\n")
    assert opened(folder).classes == ("DE", "NA", "None")


def test_numbers_index_the_classes_given(folder: Path) -> None:
    (folder / "metadata.csv").write_text("file_name,label\n0.png,1\n1.png,0\n")
    corpus = opened(folder, classes=["cat", "dog"])
    assert corpus.classes == ("cat", "dog")
    assert corpus.labels is not None
    assert corpus.labels.tolist() == [1, 0]


def test_a_pack_is_opened_by_name() -> None:
    corpus = opened("pack:emoji", check=False)
    assert corpus.name == "pack:emoji"
    assert corpus.columns.group == "concept"
    assert len(corpus) > 3000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", r"empty.csv is empty \(zero bytes\)"),
        ("list.xlsx", b"x", "list.xlsx: expected a folder, .csv, .json, .jsonl, .parquet, .tsv or .tar"),
        ("list.parquet", b"not parquet", "list.parquet cannot be read as parquet"),
        (
            "list.jsonl",
            b"{not json}",
            "list.jsonl holds no rows: not a JSON object: line 1: expecting .* at character 2$",
        ),
    ],
)
def test_a_file_that_is_not_what_it_says_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        opened(tmp_path / name)


def test_a_folder_of_nothing_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no metadata.csv, .*no pictures, clips, recordings, sequences"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("no/such/list.csv", "$"),
        ("picture", r"; did you mean pictures\?$"),
        ("someone/birds", "; a data set of the Hugging Face hub is written hf:someone/birds$"),
    ],
)
def test_a_missing_path_is_told_at_once_and_never_asked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, hint: str
) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("the name left the machine"))
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"^there is no '{source}': expected a file, .* or hf:NAME{hint}"):
        opened(source)


def test_the_hub_is_asked_only_for_what_says_so_and_its_refusal_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def absent(name: str, split: str) -> datasets.Dataset:
        if name == "some/set":
            return datasets.Dataset.from_dict({"text": ["one", "two"]})
        logging.getLogger("huggingface_hub.utils").warning("Retrying in 1s")
        raise ConnectionError("no way there\nat all")

    monkeypatch.setattr(datasets, "load_dataset", absent)
    assert opened("hf:some/set").texts() == [["one"], ["two"]]
    with pytest.raises(DataError, match=r"^the hub does not give a data set 'another': no way there$"):
        opened("hf:another")
    assert "Retrying" not in caplog.text


def test_shards_are_found_by_range_pattern_and_folder(tmp_path: Path) -> None:
    for number in (8, 9, 10):
        (tmp_path / f"a-{number:03d}.tar").write_bytes(b"")
    names = [f"a-{number:03d}.tar" for number in (8, 9, 10)]
    for source in ("", "/*.tar", "/a-{008..010}.tar"):
        assert [path.name for path in find_shards(f"{tmp_path}{source}")] == names
    assert [path.name for path in find_shards(f"{tmp_path}/a-{{009..009}}.tar")] == ["a-009.tar"]
    (tmp_path / "note.txt").write_bytes(b"")
    assert find_shards(f"{tmp_path}/*") == []


def test_a_path_with_signs_that_mean_something_in_patterns_is_taken_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "my shards [1] {0..1}"
    place.mkdir()
    (place / "a.tar").write_bytes(b"")
    assert find_shards(str(place)) == [place / "a.tar"]
    assert find_shards(str(place / "a.tar")) == [place / "a.tar"]
