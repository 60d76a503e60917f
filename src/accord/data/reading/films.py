"""Film files through PyAV: the frames wanted are decoded, from the keyframe before each what they need, nothing else.

The pictures are those that decoding from the start gives. Where a film does not say for certain what is where, or
something is wrong with it, it is decoded from the start, and what is wrong is said with frame and second.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from PIL import Image

from accord.data.reading.frames import Clip, Timeline
from accord.data.reading.media import Unreadable
from accord.errors import require

# Of these every packet is one frame, its time and whether it is a key are known, and seeking lands where it should.
_SEEKABLE = ("matroska", "mp4")
_HIDES = frozenset({"vp8"})  # packets that are never shown are counted with the others
_MOST = 0.9  # share of a film's frames that has to be there: headers count some that no decoder shows

Choice = Callable[[int], list[int]]  # from the number of a clip's frames to the positions wanted, in order


@dataclass(frozen=True)
class _Index:
    """What a film's packets say before any is decoded.

    Args:
        total: how many frames there are, by its header and by what is there.
        times: of its frames in the order in which they are shown; empty where it does not say for certain.
        keys: those of frames that can be decoded without others.
    """

    total: int
    times: tuple[int, ...]
    keys: tuple[int, ...]


def read_film(content: bytes, choose: Choice, rate: float, whole: bool = False) -> Clip:
    """The frames wanted of a film.

    Args:
        content: of the file.
        choose: from the number of its frames to the positions wanted.
        rate: frames a second, where it does not say when they are shown.
        whole: decode all that comes before the last one as well, to see whether it can be.

    Raises:
        Unreadable: damaged, or a format that PyAV does not know.
        MissingExtraError: PyAV is not installed.
    """
    av = require("av", "video")
    try:
        with av.open(io.BytesIO(content)) as container:
            if not container.streams.video:
                raise Unreadable("damaged clip: there are no pictures in it; the file ends early, or holds sound alone")
            stream = container.streams.video[0]
            index = _index_of(container, stream)
            if not index.total:
                raise Unreadable("no frames: the film is empty")
            wanted = sorted(set(choose(index.total)))
            found = {} if whole else _sought(container, stream, wanted, index, av.FFmpegError)
            if len(found) < len(wanted):  # whatever is wrong shows on the way from the start
                found = _decoded(container, stream, wanted, index.total, rate, av.FFmpegError)
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise Unreadable(f"damaged clip: {error}") from None
    seconds = tuple(float(second) for second, _ in found.values())
    return Clip(tuple(picture for _, picture in found.values()), Timeline(tuple(found), seconds, index.total))


def _sought(
    container: Any, stream: Any, wanted: list[int], index: _Index, damage: type[Exception]
) -> dict[int, tuple[float, Image.Image]]:
    """Position -> seconds and picture of the frames wanted, from the keyframe before each; fewer where that fails."""
    if not index.times or wanted[-1] >= len(index.times):
        return {}
    start = float(index.times[0] * stream.time_base)
    place = {index.times[position]: position for position in wanted}
    found: dict[int, tuple[float, Image.Image]] = {}
    try:
        for key, last in _runs(list(place), index):
            container.seek(key, stream=stream)
            for frame in _needed(container, stream, place):
                if frame.is_corrupt or frame.pts is None:
                    return {}
                if frame.pts in place:
                    found[place[frame.pts]] = (frame.time - start, frame.to_image())
                if frame.pts >= last:
                    break
    except damage:
        return {}
    finally:
        stream.codec_context.skip_frame = "DEFAULT"
    return found


def _needed(container: Any, stream: Any, wanted: Container[int]) -> Iterator[Any]:
    """The frames from here on, without those that are neither wanted nor looked at by others."""
    for packet in container.demux(stream):
        whole = packet.pts is None or packet.pts in wanted
        stream.codec_context.skip_frame = "DEFAULT" if whole else "NONREF"
        yield from packet.decode()


def _runs(wanted: list[int], index: _Index) -> list[tuple[int, int]]:
    """From which keyframe to which frame is decoded, so that every wanted time is, and as little else as can be.

    >>> _runs([0, 1, 7, 8, 20], _Index(24, tuple(range(24)), (0, 6, 9, 18)))
    [(0, 1), (6, 8), (18, 20)]
    >>> _runs([5, 6, 7], _Index(12, tuple(range(12)), (0, 6)))
    [(0, 7)]
    """
    keys = [index.keys[bisect_right(index.keys, time) - 1] for time in wanted]
    before = {later: sooner for sooner, later in pairwise(index.times)}
    runs = [[keys[0], wanted[0]]]
    for key, time in zip(keys[1:], wanted[1:], strict=True):
        if key <= runs[-1][1] or before.get(key) == runs[-1][1]:
            runs[-1][1] = time
        else:
            runs.append([key, time])
    return [(key, last) for key, last in runs]


def _decoded(
    container: Any, stream: Any, wanted: list[int], total: int, rate: float, damage: type[Exception]
) -> dict[int, tuple[float, Image.Image]]:
    """The same by decoding from the start as far as the last frame wanted.

    Raises:
        Unreadable: it breaks off before; says after which frame and second.
    """
    found: dict[int, tuple[float, Image.Image]] = {}
    seen, start, second = 0, None, 0.0
    left = set(wanted)
    try:
        container.seek(0)
        for frame in container.decode(stream):
            start = frame.time if start is None else start
            if frame.is_corrupt or seen > wanted[-1]:
                break
            second = seen / rate if frame.time is None else frame.time - start
            if seen in left:
                found[seen] = (second, frame.to_image())
            seen += 1
    except damage as error:
        raise Unreadable(f"damaged clip: {_broken(seen, total, second)}{error}") from None
    if len(found) < len(wanted) and seen < _MOST * total:
        raise Unreadable(f"damaged clip: {_broken(seen, total, second)}the rest cannot be decoded")
    if not found:
        raise Unreadable("no frames: the clip cannot be decoded")
    return found


def _index_of(container: Any, stream: Any) -> _Index:
    """What the packets of a film say.

    Raises:
        Unreadable: what is there ends long before the header says.
    """
    packets = [packet for packet in container.demux(stream) if packet.size > 0]
    ends = [packet.pts * packet.time_base for packet in packets if packet.pts is not None]
    alone, end = len(container.streams) == 1, float(max(ends, default=0))
    length = (container.duration or 0) / 1e6  # seconds
    if alone and len(packets) > 1 and end * len(packets) / (len(packets) - 1) < _MOST * length:
        raise Unreadable(f"damaged clip: breaks off after {end:.1f} of {length:.1f} seconds")
    times, keys = set(), []
    for packet in packets:
        if packet.pts is None or packet.is_discard or packet.is_corrupt:
            break
        times.add(packet.pts)
        keys += [packet.pts] if packet.is_keyframe else []
    plain = any(name in container.format.name for name in _SEEKABLE) and stream.codec_context.name not in _HIDES
    sure = plain and len(times) == len(packets) and bool(keys) and min(keys) == min(times)
    known = tuple(sorted(times)) if sure else ()
    return _Index(max(len(packets), stream.frames), known, tuple(sorted(keys)))


def _broken(seen: int, total: int, second: float) -> str:
    return f"breaks off after frame {seen} of {total} ({second:.1f} s): " if seen else ""
