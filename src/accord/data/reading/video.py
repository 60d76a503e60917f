"""Reading clips: a folder of pictures, a list of pictures, an animated WebP or GIF, or a film file (PyAV)."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from accord.data.reading.films import Choice, read_film
from accord.data.reading.frames import Clip, Timeline, spaced
from accord.data.reading.media import (
    IMAGE_SUFFIXES,
    WHITE,
    Unreadable,
    cell_path,
    flatten,
    is_image,
    open_image,
    read_bytes,
    read_image,
)

VIDEO_SUFFIXES = frozenset(".mp4 .mkv .webm .mov .avi .m4v .mpg .mpeg".split())  # noqa: SIM905

_EMPTY = "no frames: the folder holds no pictures"


def read_video(
    cell: Any,
    root: Path | None,
    background: tuple[int, int, int] = WHITE,
    frames: int | Choice | None = None,
    rate: float = 1.0,
) -> Clip:
    """RGB frames of a clip; of a film, only those wanted become pictures, see :mod:`accord.data.reading.films`.

    Args:
        cell: a folder of pictures (in name order), a list of pictures, or a clip as path or bytes.
        root: the folder that paths are relative to.
        background: RGB under transparent pixels.
        frames: how many evenly spaced frames, or a function from their number to the positions wanted; None takes
            all, and a shorter clip gives what it has.
        rate: frames a second of a clip that does not say when they are shown.

    Raises:
        Unreadable: nothing there, damaged, or a format that neither Pillow nor PyAV knows.
        MissingExtraError: a film needs PyAV, which is not installed.
    """
    choose = frames if callable(frames) else lambda total: spaced(total, frames)
    pictures = pictures_of(cell, root)
    if pictures is not None:
        if not pictures:
            raise Unreadable(_EMPTY)
        wanted = choose(len(pictures))
        opened = tuple(_picture(pictures, i, root, background) for i in wanted)
        return Clip(opened, Timeline(tuple(wanted), tuple(i / rate for i in wanted), len(pictures)))
    content = read_bytes(cell, root)
    return _animation(content, background, choose, rate) if is_image(content) else read_film(content, choose, rate)


def holds_pictures(path: str | Path) -> bool:
    """Whether a path is that of a folder of frames: of pictures, and no films among which they happen to lie.

    >>> holds_pictures("no such folder")
    False
    """
    if not os.path.isdir(path):
        return False
    kinds = {Path(name).suffix.lower() for name in os.listdir(path)}
    return not kinds.isdisjoint(IMAGE_SUFFIXES) and kinds.isdisjoint(VIDEO_SUFFIXES)


def is_video(content: bytes) -> bool:
    """Whether a file with these first bytes is a film.

    >>> is_video(b"....ftypisom"), is_video(b"....ftypavif")
    (True, False)
    """
    return (
        content.startswith(b"\x1a\x45\xdf\xa3")
        or (content[4:8] == b"ftyp" and content[8:12] != b"avif")
        or (content[:4], content[8:12]) == (b"RIFF", b"AVI ")
    )


def pictures_of(cell: Any, root: Path | None) -> list[Any] | None:
    """The frames when they are separate pictures, else None."""
    if isinstance(cell, list):
        return cell
    path = cell_path(cell, root)
    if path is None or not path.is_dir():
        return None
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    return [str(file.absolute()) for file in files]


def check_video(cell: Any, root: Path | None) -> None:
    """Decode every frame of a clip, holding one at a time.

    Raises:
        Unreadable: as :func:`read_video`.
    """
    pictures = pictures_of(cell, root)
    for number in range(len(pictures or ())):
        _picture(pictures or (), number, root, WHITE)
    if pictures:
        return
    if pictures is not None:
        raise Unreadable(_EMPTY)
    content = read_bytes(cell, root)
    if is_image(content):
        _animation(content, WHITE, lambda total: list(range(total)), rate=1.0)
    else:
        read_film(content, lambda total: [total - 1], rate=1.0, whole=True)


def _picture(pictures: Sequence[Any], number: int, root: Path | None, background: tuple[int, int, int]) -> Image.Image:
    try:
        return read_image(pictures[number], root, background)
    except Unreadable as error:
        raise Unreadable(f"{error} (frame {number + 1} of {len(pictures)})") from None


def _animation(content: bytes, background: tuple[int, int, int], choose: Choice, rate: float) -> Clip:
    found: list[tuple[int, float, Image.Image]] = []
    elapsed = 0.0  # milliseconds
    with open_image(io.BytesIO(content)) as image:
        try:
            total = getattr(image, "n_frames", 1)
            wanted = set(choose(total))
            for position in range(max(wanted) + 1):
                image.seek(position)
                if position in wanted:
                    picture = flatten(image, background)
                    elapsed = image.info.get("timestamp", elapsed)  # WebP says it, others how long each frame lasts
                    found.append((position, elapsed, picture))
                elapsed += image.info.get("duration", 0)
        except Unreadable as error:
            raise Unreadable(f"{error} (frame {position + 1} of {total}, {elapsed / 1000:.1f} s)") from None
        except Exception as error:  # decoders raise anything on damaged frames
            raise Unreadable(f"damaged clip: {error}") from None
    silent = elapsed == 0
    positions = tuple(position for position, _, _ in found)
    seconds = tuple(position / rate if silent else start / 1000 for position, start, _ in found)
    return Clip(tuple(picture for _, _, picture in found), Timeline(positions, seconds, total))


__all__ = ["VIDEO_SUFFIXES", "check_video", "holds_pictures", "is_video", "pictures_of", "read_video", "spaced"]
