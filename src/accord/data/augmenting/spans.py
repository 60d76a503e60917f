"""Spans of a document as views of it: anchors, and positives at or near each (DeCLUTR; Giorgi et al. 2021, ACL)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from accord.data.augmenting.text_views import TextView
from accord.functional.text.draws import sample_spans

Strategy = Literal["default", "subsuming", "adjacent"]
Span = tuple[int, int]


@dataclass(frozen=True)
class SpanView(TextView):
    """One of the spans that are drawn of a caption together; all views of one draw differ in ``place`` alone.

    A document that is too short for spans of ``max_len`` tokens has shorter ones, of at most a ``2 · anchors``-th part.

    Args:
        place: which: 0 the first anchor, then its positives, then the next anchor.
        anchors: anchors of a document.
        positives: of each anchor.
        max_len: longest span in tokens.
        min_len: shortest span in tokens.
        strategy: where positives lie, see :func:`accord.functional.sample_spans`.
    """

    place: int = 0
    anchors: int = 2
    positives: int = 2
    max_len: int = 512
    min_len: int = 32
    strategy: Strategy = "default"


def span_of(text: str, view: SpanView, seed: int, tokenizer: Any) -> str:
    """The stretch of a text that a view shows.

    Args:
        text: the document.
        view: which span.
        seed: the same for all views of one draw.
        tokenizer: counts tokens and says where they stand, :meth:`~accord.encoders.tokenizer.JsonTokenizer.offsets`.

    Example:
        >>> class Letters:
        ...     def offsets(self, text):
        ...         return [(i, i + 1) for i in range(len(text))]
        >>> view = SpanView(place=0, anchors=1, max_len=4, min_len=3)
        >>> len(span_of("abcdefghijklmnop", view, 0, Letters()))
        3
    """
    places = _offsets(text, tokenizer)
    longest = min(view.max_len, len(places) // (2 * view.anchors))
    if not longest:
        return text
    spans = sample_spans(
        len(places),
        view.anchors,
        view.positives,
        longest,
        min(view.min_len, longest),
        view.strategy,
        np.random.RandomState(seed % 2**32),
    )
    start, end = spans[view.place]
    return text[places[start][0] : places[end - 1][1]]


@lru_cache(maxsize=4)
def _offsets(text: str, tokenizer: Any) -> list[Span]:
    """Kept, since the views of a document are cut one after the other."""
    found: list[Span] = tokenizer.offsets(text)
    return found
