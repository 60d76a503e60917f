"""Rows of a corpus: selected, read, relabelled, described."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from accord.data.corpus import Corpus, corpus_from_items, open_corpus
from accord.errors import ShapeError

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


def test_a_corpus_says_what_it_is(make_corpus: Make, folder: Path) -> None:
    corpus = make_corpus()
    assert repr(corpus) == "Corpus(made, 20 rows, image=image text=text)"
    assert corpus.describe(3) == "row 3 (bytes in the row, memory)"
    assert open_corpus(folder, quiet=True).describe(3) == "row 3 (3.png)"
    assert corpus_from_items("text", ["a"]).describe(0) == "row 0 ()"
