"""A corpus in another process: the same rows, without the pictures on the way."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from accord.data.corpus import open_corpus
from accord.data.handover import hand_over, take_over
from accord.errors import DataError


def sent(corpus, source):
    """What arrives, and how many bytes it took."""
    content = pickle.dumps(hand_over(corpus, source))
    return take_over(pickle.loads(content)), len(content)


def assert_same(one, other):
    assert one.ids.tolist() == other.ids.tolist()
    assert one.texts() == other.texts()
    for position in range(len(one)):
        pictures = [np.asarray(corpus.sample(position)["image"]) for corpus in (one, other)]
        np.testing.assert_array_equal(*pictures)


@pytest.fixture
def folder(tmp_path):
    """Pictures that no table lists."""
    random = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for number in range(6):
        Image.fromarray(random.integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(
            tmp_path / "pictures" / f"{number}.png"
        )
    return tmp_path / "pictures"


def test_names_travel_and_pictures_do_not(folder):
    corpus = open_corpus(folder, quiet=True).select([4, 1, 1])
    arrived, size = sent(corpus, folder)
    assert_same(arrived, corpus)
    assert size < (folder / "0.png").stat().st_size


def test_a_file_that_comes_or_goes_meanwhile_shifts_no_row(folder):
    corpus = open_corpus(folder, quiet=True)
    handed = hand_over(corpus.select([2, 3]), folder)
    (folder / "0.png").unlink()
    assert_same(take_over(handed), corpus.select([2, 3]))


def test_another_working_folder_does_not_matter(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    corpus = open_corpus("pictures", quiet=True)
    expected = corpus.select([5]).sample(0)["image"].tobytes()
    handed = hand_over(corpus, "pictures")
    (folder.parent / "elsewhere").mkdir()
    monkeypatch.chdir(folder.parent / "elsewhere")
    assert take_over(handed).sample(5)["image"].tobytes() == expected


def test_what_was_made_of_the_captions_travels(tmp_path):
    (tmp_path / "texts.csv").write_text("caption,label\na cat,pet\nan oak,tree\n")
    corpus = open_corpus(tmp_path / "texts.csv", quiet=True)
    arrived, _ = sent(corpus.with_texts([["cat"], ["oak"]]), tmp_path / "texts.csv")
    assert arrived.texts() == [["cat"], ["oak"]]
    assert (arrived.classes, arrived.labels.tolist()) == (("pet", "tree"), [0, 1])


def test_pictures_in_the_rows_are_read_again_from_the_source():
    corpus = open_corpus("pack:emoji", check=False, quiet=True).select(range(100, 110))
    arrived, size = sent(corpus, "pack:emoji")
    assert_same(arrived, corpus)
    assert size < 10_000


def test_a_source_that_was_changed_meanwhile_is_refused(folder, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    contents = [path.read_bytes() for path in sorted(folder.iterdir())]
    table = tmp_path / "table.parquet"
    pq.write_table(pa.table({"image": contents}), table)
    corpus = open_corpus(table, quiet=True)
    handed = hand_over(corpus, table)
    assert_same(take_over(handed), corpus)
    for changed in (contents[::-1], contents[:3]):
        pq.write_table(pa.table({"image": changed}), table)
        with pytest.raises(DataError, match="holds other rows than when it was opened"):
            take_over(handed)
