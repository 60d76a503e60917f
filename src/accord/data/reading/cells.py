"""The cells of a column, and what is in the text cells of a row: captions from one or several columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from accord.data.reading.media import UNDECODABLE

if TYPE_CHECKING:
    import datasets

EMPTY_TEXT = "empty text"  # the reason for a row without captions
_BATCH = 1000  # cells


def cells_of(rows: datasets.Dataset, column: str) -> Iterator[Any]:
    """The cells of a column as they are stored, a thousand at a time: one by one they cost ten times as much.

    >>> import datasets
    >>> list(cells_of(datasets.Dataset.from_dict({"name": ["cat", None], "legs": [4, 0]}), "name"))
    ['cat', None]
    """
    for cells in _blocks(rows, column):
        yield from cells.to_pylist()


def coded_cells(rows: datasets.Dataset, column: str) -> pa.DictionaryArray:
    """The cells of a column of single values as codes: its different values in the order in which they come.

    >>> import datasets
    >>> coded = coded_cells(datasets.Dataset.from_dict({"name": ["cat", None, "ant", "cat"]}), "name")
    >>> coded.dictionary.to_pylist(), coded.indices.to_pylist()
    (['cat', 'ant'], [0, None, 1, 0])
    """
    blocks = [cells.combine_chunks().dictionary_encode() for cells in _blocks(rows, column)]
    return pa.chunked_array(blocks).unify_dictionaries().combine_chunks()


def _blocks(rows: datasets.Dataset, column: str) -> Iterator[pa.ChunkedArray]:
    """A column part by part: rows that were selected are gathered one by one, and all at once they take gigabytes."""
    if len(rows):
        for table in rows.select_columns([column]).with_format("arrow").iter(batch_size=_BATCH):
            yield table.column(column)


def read_captions(cells: Iterable[Any]) -> tuple[str, ...]:
    """The captions in the text cells of a row, stripped, empty ones dropped.

    >>> read_captions(["a cat ", ["tabby", ""], None, float("nan")])
    ('a cat', 'tabby')
    """
    values = [text for cell in cells for text in (cell if isinstance(cell, list | tuple) else [cell])]
    texts = [str(text).strip() for text in values if text is not None and text == text]  # NaN is not itself
    return tuple(text for text in texts if text)


def caption_fault(captions: Sequence[str]) -> str | None:
    """Why a row's captions cannot be used, or None when they can.

    >>> caption_fault(()), caption_fault(("a cat",))
    ('empty text', None)
    """
    if any(UNDECODABLE in text for text in captions):
        return "text is not UTF-8"
    return None if captions else EMPTY_TEXT
