"""What is in the cells of a row: media by modality, captions from one or several columns."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from accord.data.audio import read_audio
from accord.data.media import UNDECODABLE, read_image
from accord.data.video import read_video

WHITE = (255, 255, 255)
EMPTY_TEXT = "empty text"  # the reason for a row without captions


def read_medium(
    modality: str,
    cell: Any,
    root: Path | None = None,
    background: tuple[int, int, int] = WHITE,
    frames: int | None = None,
) -> Any:
    """Decode a picture (RGB), a clip (list of RGB pictures) or a recording (float32 mono wave, rate in Hz).

    Args:
        modality: ``"image"``, ``"video"`` or ``"audio"``.
        cell: path, bytes, or ``{"bytes", "path"}``.
        root: the folder that paths are relative to.
        background: RGB under transparent pixels.
        frames: evenly spaced frames to take from a clip; None takes all.

    Raises:
        Unreadable: says what is wrong with the cell.
    """
    if modality == "image":
        return read_image(cell, root, background)
    if modality == "video":
        return read_video(cell, root, background, frames)
    return read_audio(cell, root)


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
