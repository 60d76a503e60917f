"""Writing film files through PyAV, so that equal pictures are equal frames wherever they stand in a film."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from accord.errors import ConfigError, require

FRAMES = "frames"  # a folder of pictures instead of a file
# A frame that was predicted from those before it would show from which side it came: each stands alone, or none loses
# anything.
_CODECS: Mapping[str, tuple[str, dict[str, str]]] = MappingProxyType(
    {
        "mp4": ("libx264", {"g": "1", "qp": "18", "preset": "veryfast", "threads": "1"}),
        "webm": ("libvpx-vp9", {"lossless": "1", "cpu-used": "4", "threads": "1"}),
    }
)
KINDS = (*_CODECS, FRAMES)


def film_kind(asked: str | None, side: int) -> str:
    """What films are written as: what was asked for, else mp4 where the extra ``video`` is there, else frames.

    Raises:
        ConfigError: there is no such kind, or films of that side cannot be written.
        MissingExtraError: it needs the extra.

    Example:
        >>> film_kind("frames", 97)
        'frames'
        >>> film_kind("mp4", 97)
        Traceback (most recent call last):
        accord.errors.ConfigError: side = 97: films have an even number of pixels; choose another side, or frames
    """
    if asked is not None and asked not in KINDS:
        raise ConfigError(f"film = {asked!r}: there are {', '.join(KINDS)}")
    kind = asked or ("mp4" if find_spec("av") else FRAMES)
    if kind != FRAMES and side % 2:
        raise ConfigError(f"side = {side}: films have an even number of pixels; choose another side, or {FRAMES}")
    if kind != FRAMES:
        require("av", "video")
    return kind


def write_film(path: Path, frames: Iterable[Image.Image], rate: int) -> None:
    """Write RGB pictures of one even size as a film.

    Args:
        path: the file; its suffix says the kind.
        frames: the pictures.
        rate: how many a second.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    av = require("av", "video")
    codec, options = _CODECS[path.suffix.removeprefix(".")]
    with av.open(str(path), "w") as container:
        stream = None
        for picture in frames:
            if stream is None:
                stream = container.add_stream(codec, rate=rate, options=options)
                stream.width, stream.height, stream.pix_fmt = *picture.size, "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        if stream is not None:
            container.mux(stream.encode())
