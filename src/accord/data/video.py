"""Clips: evenly spaced frames of a folder of pictures, an animated WebP or GIF, or a film file (PyAV)."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from accord.data.columns import IMAGE_SUFFIXES, sniff
from accord.data.media import Unreadable, cell_path, flatten, open_image, read_bytes, read_image
from accord.errors import require


def read_video(
    cell: Any, root: Path | None, background: tuple[int, int, int] = (255, 255, 255), frames: int | None = None
) -> list[Image.Image]:
    """RGB frames of a clip.

    Args:
        cell: a folder of pictures (in name order), a list of pictures, or a clip as path or bytes.
        root: the folder that paths are relative to.
        background: RGB under transparent pixels.
        frames: how many evenly spaced frames; None takes all, and a shorter clip gives what it has.

    Raises:
        Unreadable: nothing there, damaged, or a format that neither Pillow nor PyAV knows.
        MissingExtraError: a film needs PyAV, which is not installed.
    """
    pictures = pictures_of(cell, root)
    if pictures is not None:
        if not pictures:
            raise Unreadable("no frames: the folder holds no pictures")
        return [read_image(pictures[i], root, background) for i in spaced(len(pictures), frames)]
    content = read_bytes(cell, root)
    return _animation(content, background, frames) if sniff(content) == "image" else _film(content, frames)


def holds_pictures(path: str | Path) -> bool:
    """Whether a path is that of a folder of frames.

    >>> holds_pictures("no such folder")
    False
    """
    return os.path.isdir(path) and any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in os.listdir(path))


def spaced(total: int, wanted: int | None) -> list[int]:
    """Positions of ``wanted`` evenly spaced frames out of ``total``: the middles of equal parts.

    >>> spaced(8, 4), spaced(2, 4), spaced(3, None)
    ([1, 3, 5, 7], [0, 1], [0, 1, 2])
    """
    if wanted is None or wanted >= total:
        return list(range(total))
    return [int(position) for position in (np.arange(wanted) + 0.5) * total / wanted]


def pictures_of(cell: Any, root: Path | None) -> list[Any] | None:
    """The frames when they are separate pictures, else None."""
    if isinstance(cell, list):
        return cell
    path = cell_path(cell, root)
    if path is None or not path.is_dir():
        return None
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    return [str(file.absolute()) for file in files]


def _animation(content: bytes, background: tuple[int, int, int], frames: int | None) -> list[Image.Image]:
    found = []
    with open_image(io.BytesIO(content)) as image:
        try:
            for position in spaced(getattr(image, "n_frames", 1), frames):
                image.seek(position)
                found.append(flatten(image, background))
        except Unreadable:
            raise
        except Exception as error:  # decoders raise anything on damaged frames
            raise Unreadable(f"damaged clip: {error}") from None
    return found


def _film(content: bytes, frames: int | None) -> list[Image.Image]:
    av = require("av", "video")
    try:
        with av.open(io.BytesIO(content)) as container:
            total = sum(packet.size > 0 for packet in container.demux(video=0))
            container.seek(0)
            chosen = set(spaced(total, frames))
            decoded = enumerate(container.decode(video=0))
            found = [frame.to_image() for position, frame in decoded if position in chosen]
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise Unreadable(f"damaged clip: {error}") from None
    if not found:
        raise Unreadable("no frames: the clip cannot be decoded")
    return found
