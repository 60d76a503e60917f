"""What is in the text cells of a row: captions from one or several columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from accord.data.reading.media import UNDECODABLE

EMPTY_TEXT = "empty text"  # the reason for a row without captions


def read_captions(cells: Iterable[Any]) -> tuple[str, ...]:
    """The captions in the text cells of a row, stripped, empty ones dropped.

    >>> read_captions(["a cat ", ["tabby", ""], None, float("nan")])
    ('a cat', 'tabby')
    """
    values = [text for cell in cells for text in (cell if isinstance(cell, list | tuple) else [cell])]
    texts = [str(text).strip() for text in values if text is not None and text == text]  # NaN is not itself
    return tuple(text for text in texts if text)


def caption_fault(captions: tuple[str, ...]) -> str | None:
    """Why a row's captions cannot be used, or None when they can.

    >>> caption_fault(()), caption_fault(("a cat",))
    ('empty text', None)
    """
    if any(UNDECODABLE in text for text in captions):
        return "text is not UTF-8"
    return None if captions else EMPTY_TEXT
