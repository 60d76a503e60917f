"""Reading clips: a folder of pictures, a list of pictures, an animated WebP or GIF, or a film file (PyAV)."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from accord.data.frames import Clip, Timeline, spaced
from accord.data.media import (
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
from accord.errors import require

VIDEO_SUFFIXES = frozenset(".mp4 .mkv .webm .mov .avi .m4v .mpg .mpeg".split())  # noqa: SIM905

Choice = Callable[[int], list[int]]  # from the number of a clip's frames to the positions wanted, in order


def read_video(
    cell: Any,
    root: Path | None,
    background: tuple[int, int, int] = WHITE,
    frames: int | Choice | None = None,
    rate: float = 1.0,
) -> Clip:
    """RGB frames of a clip; of a film, only those wanted become pictures.

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
            raise Unreadable("no frames: the folder holds no pictures")
        wanted = choose(len(pictures))
        opened = tuple(read_image(pictures[i], root, background) for i in wanted)
        return Clip(opened, Timeline(tuple(wanted), tuple(i / rate for i in wanted), len(pictures)))
    content = read_bytes(cell, root)
    return _animation(content, background, choose, rate) if is_image(content) else _film(content, choose, rate)


def holds_pictures(path: str | Path) -> bool:
    """Whether a path is that of a folder of frames.

    >>> holds_pictures("no such folder")
    False
    """
    return os.path.isdir(path) and any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in os.listdir(path))


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
            raise Unreadable(f"{error} (frame {position} of {total})") from None
        except Exception as error:  # decoders raise anything on damaged frames
            raise Unreadable(f"damaged clip: {error}") from None
    silent = elapsed == 0
    positions = tuple(position for position, _, _ in found)
    seconds = tuple(position / rate if silent else start / 1000 for position, start, _ in found)
    return Clip(tuple(picture for _, _, picture in found), Timeline(positions, seconds, total))


def _film(content: bytes, choose: Choice, rate: float) -> Clip:
    av = require("av", "video")
    found: list[tuple[int, float, Image.Image]] = []
    seen = total = 0
    try:
        with av.open(io.BytesIO(content)) as container:
            stream = container.streams.video[0]
            packets = sum(packet.size > 0 for packet in container.demux(stream))
            total = max(packets, stream.frames)
            container.seek(0)
            wanted = set(choose(total))
            last, first = max(wanted, default=0), None
            for frame in container.decode(stream):
                first = frame.time if first is None else first
                if frame.is_corrupt:
                    break
                if seen in wanted:
                    start = seen / rate if frame.time is None else float(frame.time - (first or 0))
                    found.append((seen, start, frame.to_image()))
                seen += 1
                if seen > last:
                    break
    except (av.FFmpegError, IndexError, ValueError) as error:
        where = f" after frame {seen} of {total}" if seen else ""
        raise Unreadable(f"damaged clip: breaks off{where}: {error}" if seen else f"damaged clip: {error}") from None
    if not found:
        raise Unreadable("no frames: the clip cannot be decoded")
    if len(found) < len(wanted):
        raise Unreadable(f"damaged clip: breaks off after frame {seen} of {total}")
    positions, seconds, pictures = zip(*found, strict=True)
    return Clip(pictures, Timeline(positions, seconds, total))


__all__ = ["VIDEO_SUFFIXES", "holds_pictures", "is_video", "pictures_of", "read_video", "spaced"]
