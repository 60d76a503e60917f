"""Things in memory become a corpus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from accord.data.corpus import Corpus, corpus_from_items
from accord.data.quarantine import RowError
from accord.errors import DataError
from data.samples import encoded, picture

Make = Callable[..., Corpus]


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
