"""Text as it comes from editors, spreadsheets and crawls: UTF-8, UTF-16, or the code page of western Windows."""

from __future__ import annotations

import codecs
import re
from contextlib import suppress

from accord.data.reading.media import UNDECODABLE
from accord.errors import DataError

_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_OTHER, _ESCAPED = re.compile(r"[^\x00-\x7f]"), re.compile("[\udc80-\udcff]")  # not ASCII; of these, not decoded
_HIGH = re.compile(rb"[\x80-\xff]+")
_LONG_RUN = 3  # accented letters stand alone or in twos; letters of another alphabet stand together


def read_text(content: bytes, name: str) -> tuple[str, str]:
    """The text of a file, and what has to be said of its encoding (mostly nothing).

    A byte that is not UTF-8 in a file that otherwise is becomes a mark, which spoils only the cell that it is in.

    Args:
        content: the bytes of the file.
        name: what to call it.

    Raises:
        DataError: most of what is not ASCII is neither UTF-8 nor Windows-1252.

    Example:
        >>> read_text("café".encode(), "a.csv"), read_text("café".encode("utf-16"), "a.csv")
        (('café', ''), ('café', ''))
        >>> read_text("café".encode("cp1252"), "a.csv")
        ('café', 'a.csv is read as Windows-1252, since it is not UTF-8')
    """
    for mark, encoding in _BOMS.items():
        if content.startswith(mark):
            return _marked(content[len(mark) :].decode(encoding, "surrogateescape" if len(mark) > 2 else "replace")), ""
    halves = content[:2000][::2].count(0), content[:2000][1::2].count(0)
    if max(halves) > min(len(content), 2000) // 5:  # every second byte of mostly ASCII text in UTF-16 is zero
        return content.decode("utf-16-be" if halves[0] > halves[1] else "utf-16-le", "replace"), ""
    with suppress(UnicodeDecodeError):
        return content.decode("utf-8"), ""
    text = content.decode("utf-8", "surrogateescape")
    others, bad = len(_OTHER.findall(text)), len(_ESCAPED.findall(text))
    if bad <= others - bad:
        return _marked(text), ""
    western = _as_western(content)
    if western is None:
        line = content[: next(_HIGH.finditer(content)).start()].count(b"\n") + 1
        raise DataError(f"{name}, line {line}: the text is neither UTF-8 nor Windows-1252; save the file as UTF-8")
    return western, f"{name} is read as Windows-1252, since it is not UTF-8"


def _marked(text: str) -> str:
    """A mark in the place of every byte that could not be decoded."""
    return _ESCAPED.sub(UNDECODABLE, text)


def _as_western(content: bytes) -> str | None:
    """``content`` as Windows-1252, or None when it does not look like it."""
    runs = [len(run) for run in _HIGH.findall(content)]
    if 2 * sum(run for run in runs if run >= _LONG_RUN) > sum(runs):
        return None
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:
        return None
