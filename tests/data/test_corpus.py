from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from accord.data.corpus import Corpus, corpus_from_items, open_corpus
from accord.data.quarantine import RowError
from accord.errors import DataError, ShapeError
from data.samples import encoded, picture

Make = Callable[..., Corpus]


def test_selecting_keeps_everything_together_and_allows_repeats(make_corpus: Make) -> None:
    corpus = make_corpus().with_labels(np.arange(20) % 2, truth=np.arange(20) % 3)
    part = corpus.with_texts([[f"t{i}"] for i in range(20)]).select([5, 2, 5]).select([2, 0])
    assert part.ids.tolist() == [5, 5]
    assert part.texts() == [["t5"], ["t5"]]
    assert part.labels is not None and part.truth is not None  # noqa: PT018
    assert (part.labels.tolist(), part.truth.tolist()) == ([1, 1], [2, 2])
    assert part.sample(1)["image"].tobytes() == corpus.sample(5)["image"].tobytes()
    assert len(corpus.select([])) == 0


def test_a_sample_holds_only_what_was_asked_for(make_corpus: Make) -> None:
    corpus = make_corpus()
    assert corpus.sample(0).keys() == {"image", "text", "label"}
    assert corpus.sample(0, ["text"]).keys() == {"text", "label"}


def test_new_labels_keep_the_truth_unless_told(make_corpus: Make) -> None:
    corpus = make_corpus().with_labels(np.zeros(20), truth=np.ones(20, dtype=int))
    again = corpus.with_labels(np.full(20, -1), classes=["only"])
    assert (again.truth == 1).all()  # type: ignore[union-attr]
    assert again.classes == ("only",)
    assert not again.multi_label
    assert corpus.with_labels(np.eye(20)).multi_label
    with pytest.raises(ShapeError, match=r"labels has 3 entries, expected one per row \(20\)"):
        corpus.with_labels(np.zeros(3))
    with pytest.raises(ShapeError, match="texts has 1 entries"):
        corpus.with_texts([["a"]])


def test_moved_captions_become_the_truth(make_corpus: Make) -> None:
    moved = np.arange(20) < 5
    assert make_corpus().with_texts([["x"]] * 20, moved=moved).truth.tolist() == [0] * 5 + [1] * 15  # type: ignore[union-attr]


def test_several_text_columns_and_lists_make_several_captions(folder: Path) -> None:
    lines = ["file_name,name,title", "0.png,a,b", "1.png,,c", "2.png, d ,"]
    (folder / "metadata.csv").write_text("\n".join(lines))
    corpus = open_corpus(folder, columns={"text": ["name", "title"]}, quiet=True)
    assert corpus.texts() == [["a", "b"], ["c"], ["d"]]


def test_a_row_without_a_group_is_a_group_of_its_own(folder: Path) -> None:
    (folder / "metadata.csv").write_text("file_name,concept\n0.png,cat\n1.png,\n2.png,cat\n3.png,\n")
    groups = open_corpus(folder, quiet=True).groups()
    assert groups is not None
    assert groups.tolist() == ["cat", "row 1", "cat", "row 3"]
    assert corpus_from_items("text", ["a"]).groups() is None


def test_the_fingerprint_changes_with_content_mapping_labels_and_files(folder: Path) -> None:
    def fingerprint(**columns: object) -> str:
        return open_corpus(folder, columns=columns, quiet=True).fingerprint  # type: ignore[arg-type]

    (folder / "metadata.csv").write_text("file_name,name,title\n0.png,a,b\n1.png,c,d\n")
    first = fingerprint()
    assert fingerprint() == first
    assert fingerprint(text="name") != first
    opened = open_corpus(folder, quiet=True)
    assert opened.select([0]).fingerprint != first
    assert opened.with_texts([["x"], ["y"]]).fingerprint != first
    assert opened.with_labels(np.zeros(2)).fingerprint != first
    os.utime(folder / "1.png", (1, 1))
    assert fingerprint() != first


def test_the_fingerprint_of_bytes_does_not_depend_on_how_the_rows_are_stored(make_corpus: Make) -> None:
    corpus = make_corpus(6)
    assert make_corpus(6).fingerprint == corpus.fingerprint
    reversed_twice = corpus.select(np.arange(6)[::-1]).select(np.arange(6)[::-1])
    assert reversed_twice.fingerprint == corpus.fingerprint


def test_things_in_memory_make_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(1))
    corpus = corpus_from_items("image", [tmp_path / "a.png", encoded(2), picture(3), str(tmp_path / "no.png")])
    sizes = [corpus.sample(i)["image"].size for i in range(3)]
    assert sizes == [(12, 10)] * 3
    assert np.array_equal(np.asarray(corpus.sample(2)["image"]), np.asarray(picture(3)))
    with pytest.raises(RowError, match=r"row 3 \(.*no.png\): missing file"):
        corpus.sample(3)
    with pytest.raises(DataError, match="item 1 is a int; expected a path, bytes or a PIL image"):
        corpus_from_items("image", [b"x", 3])


def test_a_corpus_says_what_it_is(make_corpus: Make, folder: Path) -> None:
    corpus = make_corpus()
    assert repr(corpus) == "Corpus(made, 20 rows, image=image text=text)"
    assert corpus.describe(3) == "row 3 (bytes in the row, memory)"
    assert open_corpus(folder, quiet=True).describe(3) == "row 3 (3.png)"
    assert corpus_from_items("text", ["a"]).describe(0) == "row 0 ()"
