"""Folders of pictures without a table: what was made of them is right, or said."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.data.corpus import Corpus, open_corpus
from accord.errors import DataError
from data.samples import encoded


def fill(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        is_text = name.endswith((".txt", ".csv", ".md"))
        (folder / name).write_bytes(f"text of {name}".encode() if is_text else encoded(number))


def opened(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Corpus, str]:
    return open_corpus(folder, check=False), capsys.readouterr().err


def labels(corpus: Corpus) -> list[str | None]:
    assert corpus.labels is not None
    return [corpus.classes[label] if label >= 0 else None for label in corpus.labels]


def test_train_and_test_are_no_classes_and_the_new_split_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, "train/cat/1.png", "train/dog/2.png", "val/cat/3.png")
    corpus, said = opened(tmp_path, capsys)
    assert labels(corpus) == ["cat", "dog", "cat"]
    assert f"{tmp_path}: train, val are read as one and split anew (data.split); to keep one of them for" in said


def test_parts_without_classes_have_no_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, "train/1.png", "train/2.png", "test/3.png")
    assert opened(tmp_path, capsys)[0].labels is None


def test_a_stray_picture_does_not_take_the_classes_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, "bus/1.png", "train/2.png", "train/3.png", "cover.png")
    corpus, said = opened(tmp_path, capsys)
    assert labels(corpus) == [None, "bus", "train", "train"]
    assert "1 rows have no label" in said


def test_a_few_pictures_put_aside_make_no_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, "1.png", "2.png", "3.png", "old/4.png")
    assert opened(tmp_path, capsys)[0].labels is None


def test_a_text_file_beside_each_picture_is_its_caption(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, *(f"0000{i % 2}/{i}.{kind}" for i in range(4) for kind in ("png", "txt")), "00000/9.png")
    corpus, said = opened(tmp_path, capsys)
    assert corpus.texts()[0] == ["text of 00000/0.txt"]
    assert (len(corpus), corpus.labels) == (4, None)  # the parts of a crawl are no classes
    assert "the .txt files beside 4 of 5 files are read as their captions" in said


def test_what_lies_beside_the_pictures_and_is_not_read_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, "1.png", "2.png", "3.png", "3.txt", "captions.csv", "README.md", "a.wav")
    said = opened(tmp_path, capsys)[1]
    assert "captions.csv beside them is not read; a table that names the files can be given instead of the fol" in said
    assert "only 1 of 3 files have a .txt beside them: not read as captions" in said
    assert "1 recordings beside the pictures are not read" in said


def test_a_folder_of_unknown_files_says_which_they_are(tmp_path: Path) -> None:
    fill(tmp_path, "1.heic", "2.HEIC", "notes.txt")
    with pytest.raises(DataError, match=r"no pictures, .*; the files there are: \.heic \(2\), \.txt \(1\)$"):
        open_corpus(tmp_path, quiet=True)
