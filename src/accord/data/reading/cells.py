"""The cells of a column, and what is in the text cells of a row: captions from one or several columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

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
    if len(rows):
        for table in rows.select_columns([column]).with_format("arrow").iter(batch_size=_BATCH):
            yield from table.column(column).to_pylist()


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
