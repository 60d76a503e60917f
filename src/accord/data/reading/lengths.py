"""How many seconds a clip or a sequence of features lasts."""

from __future__ import annotations

import io
from pathlib import Path

from accord.data.inputs import Input, SequenceInput, VideoInput
from accord.data.modalities.sequence import read_steps
from accord.data.reading.media import Unreadable, is_image, open_image, read_bytes
from accord.data.reading.video import pictures_of
from accord.errors import require


def seconds_of(path: Path, spec: Input) -> float:
    """Seconds of what is in a file, or in a folder of frames, for an encoder that is fed ``spec``.

    Pictures and steps that do not say when they are count as many a second as ``spec`` says.

    Raises:
        Unreadable: it is damaged, or of a kind that does not last.
    """
    if isinstance(spec, SequenceInput):
        return len(read_steps(str(path), None)) * spec.seconds_per_step
    if not isinstance(spec, VideoInput):
        raise Unreadable("it does not last")
    pictures = pictures_of(str(path), None)
    if pictures is not None:
        return len(pictures) / spec.rate
    content = read_bytes(str(path), None)
    return _of_animation(content, spec.rate) if is_image(content) else _of_film(content)


def _of_animation(content: bytes, rate: float) -> float:
    with open_image(io.BytesIO(content)) as image:
        count, elapsed = getattr(image, "n_frames", 1), 0.0
        for position in range(count):
            image.seek(position)
            image.load()  # WebP says how long a frame lasts when it is decoded
            elapsed += image.info.get("duration", 0)
    return elapsed / 1000 or count / rate


def _of_film(content: bytes) -> float:
    """By the header, or by when its last frame ends."""
    av = require("av", "video")
    try:
        with av.open(io.BytesIO(content)) as container:
            if container.duration:
                return float(container.duration) / av.time_base
            stream = container.streams.video[0]
            ends = [packet.pts + (packet.duration or 0) for packet in container.demux(stream) if packet.pts is not None]
            return float(max(ends) * stream.time_base)
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise Unreadable(f"damaged clip: {error}") from None
