"""What a search answers with: a row and how near it is."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Hit:
    """One answer.

    Args:
        rank: place, from 1.
        score: what the answers are ordered by: cosine similarity to the query, or the second stage's score.
        row: row number in the source.
        captions: its texts.
        label: its class names, or None.
        path: its file, or None when the source holds bytes.
        cosine: cosine similarity to the query where ``score`` is a second stage's, else None.
        picture: gives the WebP bytes of its picture, or None.
    """

    rank: int
    score: float
    row: int
    captions: tuple[str, ...] = ()
    label: str | None = None
    path: str | None = None
    cosine: float | None = None
    picture: Callable[[], bytes | None] | None = field(default=None, repr=False, compare=False)

    @property
    def caption(self) -> str:
        """Its first text, empty without one."""
        return self.captions[0] if self.captions else ""

    @property
    def thumbnail(self) -> bytes | None:
        """WebP bytes of its picture, read when they are asked for; None without one."""
        return None if self.picture is None else self.picture()

    def image(self) -> Image | None:
        """The thumbnail, decoded."""
        from PIL import Image

        thumbnail = self.thumbnail
        return None if thumbnail is None else Image.open(io.BytesIO(thumbnail)).convert("RGB")
