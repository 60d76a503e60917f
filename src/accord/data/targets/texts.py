"""Texts that a row says beside its own: those that must not be near it, and one that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from accord.data.reading.media import Unreadable
from accord.data.targets.base import Canvas, Target, listed, numbers, padded, present, same_count


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
class AlteredTexts:
    """Altered versions of a caption.

    Args:
        texts: the altered ones, none of them empty.
        of: the caption that was altered; empty for the row's own.
        similarity: how alike each and the caption are, NaN where nobody says.
        kinds: what was altered in each, empty where nobody says.
    """

    texts: tuple[str, ...] = ()
    of: str = ""
    similarity: tuple[float, ...] = ()
    kinds: tuple[str, ...] = ()


class Counterfactuals(Target[AlteredTexts]):
    """Altered versions of a row's caption, which are not true of it; that there are none is one, too."""

    name: ClassVar[str] = "counterfactuals"
    fields: ClassVar[tuple[str, ...]] = (
        "counterfactuals",
        "counterfactual_of",
        "counterfactual_similarity",
        "counterfactual_kind",
    )
    # list of lists of str; list of str; (B, K) bool; (B, K) float32, NaN where nobody says; list of lists of str
    keys: ClassVar[tuple[str, ...]] = (
        "counterfactuals",
        "counterfactual_of",
        "counterfactual_present",
        "counterfactual_similarity",
        "counterfactual_kind",
    )
    texts: ClassVar[str | None] = "counterfactuals"

    def read(self, cells: Mapping[str, Any], canvas: Canvas) -> AlteredTexts:
        """The altered texts in the order of the row.

        Raises:
            Unreadable: one is no text, or what is said of them is not said of each.
        """
        texts = [_text(text, "counterfactuals") for text in listed(cells["counterfactuals"], "counterfactuals")]
        of = str(cells.get("counterfactual_of") or "").strip()
        similarity, kinds = [float("nan")] * len(texts), [""] * len(texts)
        if cells.get("counterfactual_similarity") is not None:
            said = listed(cells["counterfactual_similarity"], "counterfactual_similarity")
            same_count("counterfactual_similarity", said, len(texts), "counterfactuals")
            similarity = numbers(said, len(texts), "counterfactual_similarity")
        if cells.get("counterfactual_kind") is not None:
            kinds = [str(kind or "").strip() for kind in listed(cells["counterfactual_kind"], "counterfactual_kind")]
            same_count("counterfactual_kind", kinds, len(texts), "counterfactuals")
        return AlteredTexts(tuple(texts), of, tuple(similarity), tuple(kinds))

    def blank(self, canvas: Canvas) -> AlteredTexts:
        """None."""
        return AlteredTexts()

    def collate(self, values: Sequence[AlteredTexts]) -> dict[str, Any]:
        """``counterfactuals`` and ``counterfactual_kind``, lists of lists; ``counterfactual_of``; others ``(B, K)``."""
        return {
            "counterfactuals": [list(value.texts) for value in values],
            "counterfactual_of": [value.of for value in values],
            "counterfactual_present": present([value.texts for value in values]),
            "counterfactual_similarity": padded([torch.tensor(value.similarity) for value in values], torch.nan),
            "counterfactual_kind": [list(value.kinds) for value in values],
        }


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
