"""A row's cell as something that a model can be called with."""

from __future__ import annotations

from typing import Any

import numpy as np

from accord.data.corpus import Corpus
from accord.data.reading.media import Unreadable, cell_path, read_bytes
from accord.errors import DataError


def item_of(corpus: Corpus, position: int, field: str) -> Any:
    """What a row holds of a medium: the path of its file or folder, its bytes, or an array of numbers.

    Args:
        corpus: the rows.
        position: which row, in [0, N).
        field: of a medium.

    Raises:
        DataError: the row lacks it, or it is a list of files, which is not one thing.

    Example:
        >>> from accord.data.corpus import corpus_from_items
        >>> item_of(corpus_from_items("image", ["cat.png"]), 0, "image")
        'cat.png'
    """
    cell = corpus.cells(position, [field])[field]
    path = cell_path(cell, corpus.root)
    if path is not None:
        return str(path)
    if isinstance(cell, list):
        if cell and isinstance(cell[0], list):
            return np.asarray(cell, dtype=np.float32)
        raise DataError(f"{corpus.describe(position)}: {field} is a list of files: look at one of them alone")
    try:
        return read_bytes(cell, corpus.root)
    except Unreadable as error:
        raise DataError(f"{corpus.describe(position)}: {field}: {error}") from None
