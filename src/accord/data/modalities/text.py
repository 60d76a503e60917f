"""Captions: one or several a row, of which training draws one; a method's text views say which they are of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from accord.data.augmenting.spans import SpanView, span_of
from accord.data.augmenting.text_views import TextView, augment
from accord.data.draws import Draws, Purpose
from accord.data.modalities.base import Modality
from accord.errors import DataError


class Texts(Modality):
    """Captions. A value is the list of a row's; they stand in the corpus as words and are not decoded."""

    name = "text"
    argument = "texts"
    item, items = "text", "texts"
    example = "a cat"
    medium = False
    views_from = "text_views"

    def blank(self, spec: Any) -> list[str]:
        """No caption."""
        return []

    def collate(
        self, field: str, values: Sequence[Sequence[str]], spec: Any, views: Sequence[TextView], draws: Draws
    ) -> dict[str, Any]:
        """``FIELD (B, L)`` token ids and ``FIELD_mask``; with views ``FIELD_views``, pairs of ids and mask.

        Where several texts of a row are taken, ``FIELD`` and ``FIELD_mask`` are ``(M, L)``, row after row, ``FIELD_row
        (M,)`` says whose each is, and ``FIELD_drawn (B,)`` which of them would have been taken alone.
        """
        if spec.takes != "one":
            return _several(field, values, spec, draws)
        ids, mask = spec.tokenizer(_one_each(values, draws))
        batch = {field: ids, f"{field}_mask": mask}
        if draws.training and views:
            made = _augmented(values, views, draws, spec.tokenizer)
            readers = [spec.tokenizer.hiding if view.hide else spec.tokenizer for view in views]
            batch[f"{field}_views"] = [read(texts) for read, texts in zip(readers, made, strict=True)]
        return batch

    def variant_hashes(self, draws: Draws, views: int) -> np.ndarray:
        """The draw of a caption, so that cached features are those of the captions that would be read."""
        return draws.hashes(Purpose.CAPTION)[:, None]

    def cell(self, item: Any, position: int) -> str:
        """The text itself."""
        if not isinstance(item, str):
            raise DataError(f"item {position} is a {type(item).__name__}; expected a string")
        return str(item)


def _one_each(captions: Sequence[Sequence[str]], draws: Draws) -> list[str]:
    places = _drawn(captions, draws)
    return [row[place] if row else "" for row, place in zip(captions, places, strict=True)]


def _drawn(captions: Sequence[Sequence[str]], draws: Draws) -> list[int]:
    """Which text of each row is taken."""
    if not draws.training:
        return [0] * len(captions)
    pairs = zip(captions, draws.hashes(Purpose.CAPTION), strict=True)
    return [int(number % np.uint64(max(1, len(row)))) for row, number in pairs]


def _several(field: str, values: Sequence[Sequence[str]], spec: Any, draws: Draws) -> dict[str, Any]:
    """All texts of each row, or those of them that are common; a row without any has the empty one."""
    rows = [(common(row) if spec.takes == "common" else list(row)) or [""] for row in values]
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    ids, mask = spec.tokenizer([text for row in rows for text in row])
    first = np.cumsum(counts) - counts
    return {
        field: ids,
        f"{field}_mask": mask,
        f"{field}_row": torch.from_numpy(np.repeat(np.arange(len(rows)), counts)),
        f"{field}_drawn": torch.from_numpy(first + np.array(_drawn(rows, draws), dtype=np.int64)),
    }


def common(texts: Sequence[str]) -> list[str]:
    """The different texts that stand there as often as any other, or at least three times.

    >>> common(["red", "red", "dark red", "red", "red", "maroon", "maroon", "maroon"])
    ['red', 'maroon']
    >>> common(["yes", "no"])
    ['yes', 'no']
    """
    counts = Counter(texts)
    most = max(counts.values(), default=0)
    return [text for text, count in counts.items() if count >= min(most, 3)]


def _augmented(
    captions: Sequence[Sequence[str]], views: Sequence[TextView], draws: Draws, tokenizer: Any
) -> list[list[str]]:
    """The texts of every view; spans are drawn together, so with one seed, of the caption of the batch."""
    hashes = draws.hashes(Purpose.TEXT_VIEW, np.arange(len(views))[:, None], np.array([0, 1]))  # (B, V, 2)
    texts = [
        [
            span_of(row[int(own) % len(row)], view, int(drawn[0, 1]), tokenizer)
            if isinstance(view, SpanView)
            else augment(row[_place(view, len(row), int(own), int(which))], view, int(seed))
            for view, (which, seed) in zip(views, drawn, strict=True)
        ]
        for row, own, drawn in zip(
            (row or [""] for row in captions), draws.hashes(Purpose.CAPTION), hashes, strict=True
        )
    ]
    return [list(column) for column in zip(*texts, strict=True)]


def _place(view: TextView, count: int, own: int, drawn: int) -> int:
    """Which of a row's captions a view is of; ``own`` decided that of the row, ``drawn`` is the view's."""
    if view.caption == "drawn":
        return drawn % count
    if view.caption == "same" or count == 1:
        return own % count
    return (own + 1 + drawn % (count - 1)) % count


MODALITY: Modality = Texts()
