"""Reading clips: a folder of pictures, a list of pictures, an animated WebP or GIF, or a film file (PyAV)."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

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
from accord.errors import require

VIDEO_SUFFIXES = frozenset(".mp4 .mkv .webm .mov .avi .m4v .mpg .mpeg".split())  # noqa: SIM905

_EMPTY = "no frames: the folder holds no pictures"
_MOST = 0.9  # share of a film's frames that has to be there: headers count some that no decoder shows

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
            raise Unreadable(_EMPTY)
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


def check_video(cell: Any, root: Path | None) -> None:
    """Decode every frame of a clip, holding one at a time.

    Raises:
        Unreadable: as :func:`read_video`.
    """
    pictures = pictures_of(cell, root)
    for picture in pictures or ():
        read_image(picture, root)
    if pictures:
        return
    if pictures is not None:
        raise Unreadable(_EMPTY)
    content = read_bytes(cell, root)
    if is_image(content):
        _animation(content, WHITE, lambda total: list(range(total)), rate=1.0)
    else:
        _film(content, lambda total: [total - 1], rate=1.0)


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
    """Decode as far as the last frame wanted; a frame that is not wanted is never made a picture."""
    av = require("av", "video")
    found: dict[int, tuple[float, Image.Image]] = {}
    seen = total = 0
    try:
        with av.open(io.BytesIO(content)) as container:
            stream = container.streams.video[0]
            total = _frames_of(container, stream)
            if not total:
                raise Unreadable("no frames: the film is empty")
            container.seek(0)
            wanted, start = set(choose(total)), None
            for frame in container.decode(stream):
                start = frame.time if start is None else start
                if frame.is_corrupt or seen > max(wanted):
                    break
                if seen in wanted:
                    found[seen] = (seen / rate if frame.time is None else frame.time - start, frame.to_image())
                seen += 1
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise Unreadable(f"damaged clip: {_broken(seen, total)}{error}") from None
    if len(found) < len(wanted) and seen < _MOST * total:
        raise Unreadable(f"damaged clip: {_broken(seen, total)}the rest cannot be decoded")
    if not found:
        raise Unreadable("no frames: the clip cannot be decoded")
    seconds = tuple(float(second) for second, _ in found.values())
    return Clip(tuple(picture for _, picture in found.values()), Timeline(tuple(found), seconds, total))


def _frames_of(container: Any, stream: Any) -> int:
    """How many frames a film has, by its header and by what is there.

    Raises:
        Unreadable: what is there ends long before the header says.
    """
    packets = [packet for packet in container.demux(stream) if packet.size > 0]
    ends = [packet.pts * packet.time_base for packet in packets if packet.pts is not None]
    alone, end = len(container.streams) == 1, float(max(ends, default=0))
    length = (container.duration or 0) / 1e6  # seconds
    if alone and len(packets) > 1 and end * len(packets) / (len(packets) - 1) < _MOST * length:
        raise Unreadable(f"damaged clip: breaks off after {end:.1f} of {length:.1f} seconds")
    return max(len(packets), stream.frames)


def _broken(seen: int, total: int) -> str:
    return f"breaks off after frame {seen} of {total}: " if seen else ""


__all__ = ["VIDEO_SUFFIXES", "check_video", "holds_pictures", "is_video", "pictures_of", "read_video", "spaced"]
