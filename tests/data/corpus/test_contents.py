"""The fingerprint says whether two corpora say the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from accord.data.corpus import Corpus, open_corpus

Make = Callable[..., Corpus]


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
