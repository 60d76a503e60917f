"""A source becomes a corpus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from accord.data.corpus import Corpus, corpus_from_items, open_corpus

Make = Callable[..., Corpus]


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
