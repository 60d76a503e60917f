from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from accord.data import leakage
from accord.data.corpus import Corpus, corpus_from_items, open_corpus
from accord.data.leakage import Twin, describe_leakage, find_leakage, warn_of_leakage
from accord.errors import StorageError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: tmp_path / "cache")


@pytest.fixture(scope="module")
def drawings() -> list[Image.Image]:
    """Fifty emoji, one of each of as many concepts."""
    corpus = open_corpus("pack:emoji", check=False, quiet=True)
    rows = np.unique(corpus.groups(), return_index=True)[1][::31][:50]
    return [corpus.sample(int(row), ("image",))["image"] for row in rows]


def cut(picture: Image.Image) -> Image.Image:
    """About 80 % of the area, off the centre."""
    width, height = picture.size
    return picture.crop((width // 12, 0, width, height - height // 8))


def recoded(picture: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=50)
    return Image.open(stream)


ALTERED = {
    "the same": lambda picture: picture,
    "half the size": lambda picture: picture.resize((picture.width // 2, picture.height // 2)),
    "stretched": lambda picture: picture.resize((picture.width * 2, picture.height)),
    "coded as JPEG": recoded,
    "cut": cut,
    "cut, smaller and coded anew": lambda picture: recoded(cut(picture).resize((48, 48))),
    "darker": lambda picture: picture.point(lambda value: int(0.8 * value)),
}


@pytest.mark.parametrize("how", ALTERED)
def test_copies_are_known_again(drawings: list[Image.Image], how: str) -> None:
    copies = [ALTERED[how](picture) for picture in drawings[:10]]
    found = find_leakage(corpus_from_items("image", drawings), corpus_from_items("image", copies))
    right = [twin for twin in found.pictures if twin.held_out == twin.training]
    assert len(right) >= 9


def test_a_training_picture_that_was_cut_out_of_a_held_out_one_is_found(drawings: list[Image.Image]) -> None:
    train = corpus_from_items("image", [cut(picture) for picture in drawings])
    found = find_leakage(train, corpus_from_items("image", drawings[:10]))
    assert len(found.pictures) >= 9


def test_different_pictures_are_not_taken_for_copies(drawings: list[Image.Image]) -> None:
    found = find_leakage(corpus_from_items("image", drawings[::2]), corpus_from_items("image", drawings[1::2]))
    assert len(found.pictures) <= 1


def test_empty_pictures_are_nobody_s_copy() -> None:
    blank = corpus_from_items("image", [Image.new("RGB", (40, 40), "white")])
    assert not find_leakage(blank, corpus_from_items("image", [Image.new("RGB", (40, 40), "white")]))


def test_captions_are_the_same_whatever_their_case_and_punctuation() -> None:
    found = find_leakage(texts(["A red heart!", "a blue heart"]), texts(["a  red_heart", "hearts", "A BLUE heart."]))
    assert found.captions == (Twin(0, 0), Twin(2, 1))


def test_rows_with_several_captions_must_share_them_all(tmp_path: Path) -> None:
    train = texts(["x"]).with_texts([["a cat", "animal"]])
    test = texts(["x", "y"]).with_texts([["a dog", "animal"], ["Animal", "a cat"]])
    assert find_leakage(train, test).captions == (Twin(1, 0),)


def test_captions_that_only_say_the_class_do_not_count() -> None:
    train, test = (texts(["red_heart", "red_heart"]).with_labels(np.array([0, 0]), classes=["red_heart"]),) * 2
    assert not find_leakage(train, test)


def test_the_sentences_give_counts_rows_files_and_the_remedy(tmp_path: Path, drawings: list[Image.Image]) -> None:
    corpus = folder(tmp_path, [*drawings[:3], cut(drawings[0])], ["one", "two", "three", "Three!"])
    lines = describe_leakage(*compared(corpus, [0, 1, 2], [3]))
    assert (
        lines[0]
        == "1 of 1 held-out rows has the captions of a training row: row 3 (3.png) those of row 2 (2.png) (“Three!”)"
    )
    assert lines[1].endswith("like a training picture, but for size, cut or coding: row 3 (3.png) like row 0 (0.png)")
    assert "--group COL" in lines[2]


def test_with_a_group_column_the_sentence_names_it(tmp_path: Path, drawings: list[Image.Image]) -> None:
    corpus = folder(tmp_path, [drawings[0], drawings[0]], ["one", "two"], groups=["a", "b"])
    assert describe_leakage(*compared(corpus, [0], [1]))[-1].startswith("column group does not keep them together")


def test_of_many_pictures_some_are_compared_and_that_is_said(
    drawings: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leakage, "LOOK_AT", (5, 20))
    found = find_leakage(corpus_from_items("image", drawings), corpus_from_items("image", drawings[:10]))
    assert found.sampled == "compared: 5 of 10 held-out pictures with 20 of 50 training pictures"


def test_what_was_found_is_remembered_and_a_broken_record_is_not_believed(
    tmp_path: Path, drawings: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = folder(tmp_path, [drawings[0], drawings[0]], ["one", "two"])
    train, test = corpus.select([0]), corpus.select([1])
    first = find_leakage(train, test)
    assert first
    (record,) = (tmp_path / "cache" / "leakage").iterdir()
    record.write_text(json.dumps({"rows": 1}))
    assert find_leakage(train, test) == first
    monkeypatch.setattr(leakage, "_compared", lambda *_: pytest.fail("compared again"))
    assert find_leakage(train, test) == first


def test_a_full_cache_is_no_obstacle(drawings: list[Image.Image], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(leakage, "write_atomically", full)
    assert find_leakage(*(corpus_from_items("image", drawings[:1]),) * 2)


def test_a_picture_that_went_bad_since_is_no_copy(tmp_path: Path, drawings: list[Image.Image]) -> None:
    corpus = folder(tmp_path, [drawings[0], drawings[0]], ["one", "two"])
    (tmp_path / "0.png").write_bytes(b"rubbish")
    assert not find_leakage(corpus.select([0]), corpus.select([1]))


def test_the_warning_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    warn_of_leakage(texts(["a cat"]), texts(["A cat"]))
    printed = capsys.readouterr()
    assert printed.err.startswith("warning: 1 of 1 held-out rows has the captions of a training row")
    warn_of_leakage(texts(["a cat"]), texts(["a dog"]))
    assert capsys.readouterr() == ("", "")
    assert printed.out == ""


def texts(captions: list[str]) -> Corpus:
    return corpus_from_items("text", captions)


def folder(path: Path, pictures: list[Image.Image], captions: list[str], groups: list[str] | None = None) -> Corpus:
    lines = ["file_name,text" + (",group" if groups else "")]
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        picture.save(path / f"{number}.png")
        lines.append(f"{number}.png,{caption}" + (f",{groups[number]}" if groups else ""))
    (path / "metadata.csv").write_text("\n".join(lines))
    return open_corpus(path, check=False, quiet=True)


def compared(corpus: Corpus, train: list[int], test: list[int]):  # type: ignore[no-untyped-def]
    sides = corpus.select(train), corpus.select(test)
    return find_leakage(*sides), *sides


def test_a_row_that_stands_several_times_in_training_is_named_once() -> None:
    train = corpus_from_items("text", ["a cat", "a dog"]).select([0, 0, 1])
    test = corpus_from_items("text", ["A cat!"])
    (line, _) = describe_leakage(find_leakage(train, test), train, test)
    assert line.endswith("row 0 those of row 0 (“A cat!”)")


@pytest.mark.parametrize("sides", [(0, 2), (2, 0)])
def test_a_side_without_rows_has_nothing_in_common(sides: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    corpus = corpus_from_items("image", [tmp_path / "0.png"] * 2)
    train, test = (corpus.select(range(count)) for count in sides)
    assert not find_leakage(train, test)
