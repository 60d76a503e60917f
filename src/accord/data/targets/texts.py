"""Texts that a row says beside its own: one that must not be near it, one that it is compared with, and how alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from accord.data.reading.media import Unreadable
from accord.data.targets.base import Canvas, Target, numbers


class HardText(Target[str]):
    """A text that is like the row's and means something else, such as its contradiction."""

    name: ClassVar[str] = "hard_text"
    fields: ClassVar[tuple[str, ...]] = ("hard_text",)
    keys: ClassVar[tuple[str, ...]] = ("hard_text",)  # list of str

    def read(self, cells: Mapping[str, Any], canvas: Canvas) -> str:
        """The text.

        Raises:
            Unreadable: it is no text.
        """
        return _text(cells["hard_text"], "hard_text")

    def blank(self, canvas: Canvas) -> str:
        """The empty text."""
        return ""

    def collate(self, values: Sequence[str]) -> dict[str, Any]:
        """``hard_text``, a list."""
        return {"hard_text": list(values)}


@dataclass(frozen=True)
class Compared:
    """A text to compare with the row's.

    Args:
        text: the text.
        score: how alike the two are, in any unit; NaN where nobody says.
        subset: which part of a benchmark the pair is of.
    """

    text: str
    score: float
    subset: str


class TextPair(Target[Compared]):
    """A second text, how alike somebody found the two, and of which part of a benchmark they are."""

    name: ClassVar[str] = "text_pair"
    fields: ClassVar[tuple[str, ...]] = ("text_pair", "score", "subset")
    keys: ClassVar[tuple[str, ...]] = ("text_pair", "score", "subset")  # list of str, (B,) float32, list of str

    def read(self, cells: Mapping[str, Any], canvas: Canvas) -> Compared:
        """The pair.

        Raises:
            Unreadable: the second text is none, or the score is no number.
        """
        score = cells.get("score")
        value = float("nan") if score is None else numbers([score], 1, "score")[0]
        subset = cells.get("subset")
        return Compared(_text(cells["text_pair"], "text_pair"), value, "" if subset is None else str(subset))

    def blank(self, canvas: Canvas) -> Compared:
        """No text."""
        return Compared("", float("nan"), "")

    def collate(self, values: Sequence[Compared]) -> dict[str, Any]:
        """``text_pair`` and ``subset``, lists, and ``score (B,)``."""
        return {
            "text_pair": [value.text for value in values],
            "score": torch.tensor([value.score for value in values]),
            "subset": [value.subset for value in values],
        }


def _text(cell: Any, field: str) -> str:
    text = cell.strip() if isinstance(cell, str) else ""
    if not text:
        raise Unreadable(f"unusable {field}: {cell!r} is no text")
    return text
