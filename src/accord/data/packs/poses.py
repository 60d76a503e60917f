"""Reading ``.pose`` files, version 0.2: a header that names components and their points, then numbers by frame.

All is little-endian; a text is its length in two bytes and its UTF-8. The format is that of the Python package
pose-format (Moryossef et al., 2021), of which nothing else is needed here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from accord.errors import DataError

VERSION = 0.2


@dataclass(frozen=True)
class Poses:
    """The first person of a recording.

    Args:
        fps: frames a second.
        values: component -> ``(T, N, 3)`` float32 places of its points.
        confidence: component -> ``(T, N)`` float32, 0 where a point was not found.
    """

    fps: float
    values: dict[str, np.ndarray]
    confidence: dict[str, np.ndarray]


def read_poses(content: bytes, name: str) -> Poses:
    """The poses of a file.

    Args:
        content: of the file.
        name: what to call it in an error.

    Raises:
        DataError: another version, or the file ends too early.
    """
    try:
        return _read(_Bytes(content))
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{name}: not a whole .pose file of version {VERSION} ({error})") from None


class _Bytes:
    """A place in the content that moves on as it is read."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def numbers(self, form: str) -> tuple[float, ...]:
        found = struct.unpack_from(f"<{form}", self.content, self.at)
        self.at += struct.calcsize(f"<{form}")
        return found

    def text(self) -> str:
        (length,) = self.numbers("H")
        raw = self.content[self.at : self.at + int(length)]
        self.at += int(length)
        return raw.decode()

    def array(self, *shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        found = np.frombuffer(self.content, "<f4", count, self.at).reshape(shape)
        self.at += found.nbytes
        return found


def _read(data: _Bytes) -> Poses:
    version, *_, components = data.numbers("fHHHH")
    if round(version, 3) != VERSION:
        raise ValueError(f"version {version:.3g}")
    sizes: dict[str, int] = {}
    axes = 0
    for _ in range(int(components)):
        component, axes = data.text(), max(axes, len(data.text()) - 1)  # "XYZC": the last is the confidence
        points, limbs, colours = (int(number) for number in data.numbers("HHH"))
        sizes[component] = points
        for _ in range(points):
            data.text()
        data.numbers(f"{2 * limbs + 3 * colours}H")
    fps, frames, people = data.numbers("fIH")
    shape = (int(frames), int(people), sum(sizes.values()))
    places, sure = data.array(*shape, axes)[:, 0], data.array(*shape)[:, 0]
    bounds = np.cumsum(list(sizes.values()))[:-1]
    split = [dict(zip(sizes, np.split(whole, bounds, axis=1), strict=True)) for whole in (places, sure)]
    return Poses(float(fps), split[0], split[1])
