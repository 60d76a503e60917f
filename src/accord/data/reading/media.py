"""Media cells: the bytes a row names or holds, and the picture in them.

A cell is a path (relative to the source's folder), encoded bytes, the ``{"bytes", "path"}`` of Hugging Face
``datasets``, or part of a file of many: ``{"path", "within", "start", "size"}``, as tar shards have them. What is wrong
with one is said as :class:`Unreadable`; the corpus adds row and file.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Formats whose decoders run inside the process on the bytes alone (EPS would start Ghostscript).
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "AVIF")
IMAGE_SUFFIXES = frozenset(
    ".png .jpg .jpeg .webp .gif .bmp .tif .tiff .ppm .pgm .ico .avif".split()  # noqa: SIM905
)
WHITE = (255, 255, 255)
NO_VALUE = "no value"  # the reason for a cell that holds nothing, which is no damage
_ORIENTATION = 0x0112  # EXIF tag
UNDECODABLE = "\U0010fffe"  # a noncharacter that stands for a byte that was not UTF-8


class Unreadable(Exception):  # noqa: N818  a verdict on one cell, always turned into a RowError
    """A cell cannot be used; the message is ``"kind"`` or ``"kind: detail"``."""


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Without Pillow's warnings: what they warn of is refused and reported as a bad row."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        yield


def cell_name(cell: Any) -> str:
    """What to call the cell in a message: its path, or that it is bytes in the row.

    >>> cell_name("cats/1.png"), cell_name({"bytes": b"", "path": None}), cell_name(b"x")
    ('cats/1.png', 'bytes in the row', 'bytes in the row')
    >>> cell_name({"path": "1.png", "within": "00.tar", "start": 512, "size": 90})
    '00.tar: 1.png'
    """
    if isinstance(cell, Mapping):
        shard = cell.get("within")
        cell = cell.get("path") if shard is None else f"{shard}: {cell['path']}"
    if isinstance(cell, list):
        cell = cell_name(cell[0]) if cell else None
    return cell.replace(UNDECODABLE, "�") if isinstance(cell, str) and cell else "bytes in the row"


def cell_path(cell: Any, root: Path | None) -> Path | None:
    """The file or folder that a cell names, or None when it holds its bytes or is part of a file."""
    if isinstance(cell, Mapping):
        cell = cell.get("path") if cell.get("bytes") is None and cell.get("within") is None else None
    return (root or Path()) / cell if isinstance(cell, str) else None


def cell_file(cell: Any, root: Path | None) -> Path | None:
    """The file in which the bytes of a cell lie, of its own or of many; None when it holds them."""
    shard = cell.get("within") if isinstance(cell, Mapping) else None
    return cell_path(cell, root) if shard is None else (root or Path()) / shard


def read_bytes(cell: Any, root: Path | None) -> bytes:
    """The encoded content of a cell.

    Raises:
        Unreadable: there is no value, no such file, or nothing in it.
    """
    if cell is None or cell == "" or cell == {"bytes": None, "path": None}:
        raise Unreadable(NO_VALUE)
    if isinstance(cell, str) and UNDECODABLE in cell:
        raise Unreadable("path is not UTF-8")
    path = cell_file(cell, root)
    if path is not None:
        start, size = (cell["start"], cell["size"]) if cell_path(cell, root) is None else (0, None)
        content = _read_file(path, start, size)
    else:
        content = cell["bytes"] if isinstance(cell, Mapping) else cell
    if not content:
        raise Unreadable("zero bytes")
    return content


def _read_file(path: Path, start: int, size: int | None) -> bytes:
    """The bytes of a file from ``start`` on, ``size`` of them or all."""
    try:
        with path.open("rb") as file:
            if start:  # a pipe cannot seek
                file.seek(start)
            return file.read(size)
    except FileNotFoundError:
        raise Unreadable("missing file") from None
    except OSError as error:
        raise Unreadable(f"file cannot be opened: {error.strerror}") from None


def read_image(cell: Any, root: Path | None, background: tuple[int, int, int] = WHITE) -> Image.Image:
    """The RGB picture of a cell, turned upright (EXIF), transparent parts over ``background``.

    Raises:
        Unreadable: not a picture, truncated, or a decompression bomb: more than ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    with open_image(io.BytesIO(read_bytes(cell, root))) as image:
        return flatten(image, background)


def is_image(content: bytes) -> bool:
    """Whether a file with these first bytes is a picture, perhaps an animated one.

    >>> is_image(b"GIF89a"), is_image(b"....ftypisom")
    (True, False)
    """
    return (
        content.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*"))
        or (content[:4], content[8:12]) == (b"RIFF", b"WEBP")
        or content[4:12] == b"ftypavif"
    )


def picture_size(cell: Any, root: Path | None) -> tuple[int, int]:
    """Width and height of the picture of a cell, upright (EXIF), without decoding it.

    Raises:
        Unreadable: see :func:`open_image`.
    """
    with open_image(io.BytesIO(read_bytes(cell, root))) as image:
        turned = image.getexif().get(_ORIENTATION, 1) >= 5  # on its side
        return (image.height, image.width) if turned else (image.width, image.height)


def open_image(stream: io.BytesIO) -> Image.Image:
    """Open without decoding, refusing what is not a picture and what would not fit into memory.

    Raises:
        Unreadable: see :func:`read_image`.
    """
    try:
        image = Image.open(stream, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unreadable(f"decompression bomb: {error}") from None
    except UnidentifiedImageError:
        raise Unreadable("not a picture: no format that Pillow knows") from None
    except Exception as error:  # decoders raise anything on damaged headers
        raise Unreadable(f"damaged picture: {error}") from None
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:  # Pillow only warns up to twice the limit
        size = f"{image.width} x {image.height} pixels"
        raise Unreadable(f"decompression bomb: {size} exceed the limit of {limit} pixels")
    return image


def flatten(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Decode to upright RGB over ``background``.

    Raises:
        Unreadable: the pixel data is truncated or damaged.
    """
    try:
        image.load()
        if image.mode.startswith("I") or image.mode == "F":
            image = _eight_bits(image)
        image = ImageOps.exif_transpose(image)
        if "A" not in image.mode and "a" not in image.mode and "transparency" not in image.info:
            return image.convert("RGB")
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (*background, 255))
        return Image.alpha_composite(canvas, image).convert("RGB")
    except Exception as error:  # OSError, SyntaxError, struct.error, zlib.error, EOFError, ...
        kind = "truncated" if "truncated" in str(error).lower() else "damaged"
        raise Unreadable(f"{kind} picture: {error}") from None


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit and float greys scaled to 0..255 (Pillow's own conversion clips them)."""
    values = np.asarray(image, dtype=np.float32)
    top = 65535.0 if values.max(initial=0) > 255 else 255.0
    if image.mode == "F" and values.max(initial=0) <= 1:
        top = 1.0
    return Image.fromarray(np.clip(values * (255 / top), 0, 255).round().astype(np.uint8))
