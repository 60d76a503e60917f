"""Moments: spans of a clip or recording in seconds, each with a sentence that says what happens in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from accord.data.reading.media import Unreadable
from accord.data.targets.base import Canvas, Target, listed, numbers, padded, present, same_count

SLACK = 0.5  # seconds that a moment may end after the clip, where it is cut: numbers in files are rounded


@dataclass(frozen=True)
class Spans:
    """The moments of a row.

    Args:
        spans: ``(S, 2)`` start and end in seconds.
        texts: a sentence each, empty where there is none.
        duration: of the whole, in seconds.
    """

    spans: Tensor
    texts: tuple[str, ...]
    duration: float


class MomentSpans(Target[Spans]):
    """Moments, in seconds, of whatever a row lasts: views and drawn frames do not change them."""

    name: ClassVar[str] = "moments"
    fields: ClassVar[tuple[str, ...]] = ("moments", "moment_text", "duration")
    # (B, S, 2) start and end in seconds; (B, S) bool; list of lists of str; (B,) seconds
    keys: ClassVar[tuple[str, ...]] = ("moments", "moment_present", "moment_text", "duration")
    texts: ClassVar[str | None] = "moment_text"

    def read(self, cells: Mapping[str, Any], canvas: Canvas) -> Spans:
        """The moments in the order of the row.

        Raises:
            Unreadable: one is empty, ends before it starts or after the whole, there are not as many sentences, or
                there is no duration.
        """
        if cells.get("duration") is None:
            raise Unreadable("no duration: moments are seconds of a whole whose length the row says (--duration COL)")
        (duration,) = numbers([cells["duration"]], 1, "duration")
        rows = listed(cells["moments"], "moments")
        spans = [_read_span(row, f"moment {i}", duration) for i, row in enumerate(rows)]
        texts = [""] * len(rows)
        if cells.get("moment_text") is not None:
            texts = [str(text or "").strip() for text in listed(cells["moment_text"], "moment_text")]
            same_count("moment_text", texts, len(rows), "moments")
        return Spans(torch.tensor(spans, dtype=torch.float32).reshape(-1, 2), tuple(texts), duration)

    def blank(self, canvas: Canvas) -> Spans:
        """No moments, of something that does not last."""
        return Spans(torch.zeros(0, 2), (), 0.0)

    def collate(self, values: Sequence[Spans]) -> dict[str, Any]:
        """``moments (B, S, 2)``, ``moment_present (B, S)``, ``moment_text`` list of lists, ``duration (B,)``."""
        return {
            "moments": padded([value.spans for value in values]),
            "moment_present": present([value.spans for value in values]),
            "moment_text": [list(value.texts) for value in values],
            "duration": torch.tensor([value.duration for value in values]),
        }


def _read_span(span: Any, what: str, duration: float) -> list[float]:
    start, end = numbers(span, 2, what)
    if end <= start:
        raise Unreadable(f"bad moment: {what} starts at {start:g} s and ends at {end:g} s")
    if start < 0 or start >= duration or end > duration + SLACK:
        raise Unreadable(f"moment beyond the clip: {what} is from {start:g} to {end:g} s, of {duration:g} s")
    return [start, min(end, duration)]
