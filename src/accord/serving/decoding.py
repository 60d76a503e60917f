"""Decoding what a visitor sent, in a process of its own: ``python decoding.py KIND FILE FOLDER LIMITS``.

It runs under limits of memory, time and size of files that the system enforces, reads a file of any content, and
writes what can be trusted: pictures and clips as WebP, recordings as WAV, sequences as ``.npy``, all of bounded size.
What it prints is JSON: the files by modality, or why there are none. Nothing heavy is imported, so that it starts at
once.
"""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from accord.data.reading.media import WHITE, Unreadable, flatten, open_image, quiet_pillow

SIDE, CLIP_SIDE = 2048, 384  # pixels of a picture's and of a clip's longer side at most
FRAMES = 64  # of a clip at most, evenly spaced
LOSSLESS = 2**20  # pixels up to which a picture is kept bit by bit
SECONDS, CHANNELS = 600, 16  # of a recording at most
RATES = range(4_000, 192_001)  # Hz; others would be dear to resample
NUMBERS = 20_000_000  # of a sequence at most


@dataclass(frozen=True)
class Limits:
    """What decoding may take.

    Args:
        pixels: of a picture, or of one frame.
        all_pixels: of all frames of a clip together.
        memory: bytes of address space.
        seconds: of processor time.
        written: bytes of a file that is written.
    """

    pixels: int
    all_pixels: int
    memory: int
    seconds: int
    written: int


def main(kind: str, source: str, folder: str, limits: str) -> None:
    """Decode one file and print what became of it."""
    allowed = Limits(**json.loads(limits))
    _confine(allowed)
    Image.MAX_IMAGE_PIXELS = allowed.pixels
    try:
        with quiet_pillow():
            found: dict[str, Any] = {"files": DECODERS[kind](Path(source).read_bytes(), Path(folder), allowed)}
    except Unreadable as error:
        found = {"refused": str(error)}
    except MemoryError:
        found = {"refused": "it takes more memory to decode than a file may"}
    print(json.dumps(found))


def _confine(limits: Limits) -> None:
    """Let the system end this process where it wants too much."""
    try:
        import resource
    except ImportError:  # Windows has none; the time limit holds there as well
        return
    wanted = {
        resource.RLIMIT_AS: limits.memory,
        resource.RLIMIT_CPU: limits.seconds,
        resource.RLIMIT_FSIZE: limits.written,
        resource.RLIMIT_CORE: 0,
    }
    for limit, most in wanted.items():
        with suppress(ValueError, OSError):  # not all systems know all of them
            resource.setrlimit(limit, (most, most))


def picture(content: bytes, folder: Path, limits: Limits) -> dict[str, str]:
    """A picture; an animation is kept as a clip as well."""
    with open_image(io.BytesIO(content)) as image:
        frames = getattr(image, "n_frames", 1) if image.format in ("GIF", "WEBP", "PNG") else 1
        if frames * image.width * image.height > limits.all_pixels:
            raise Unreadable(f"decompression bomb: {frames} frames of {image.width} x {image.height} pixels")
        still = _upright(image)
        still.thumbnail((SIDE, SIDE))
        _save(still, folder / "picture.webp")
        found = {"image": "picture.webp"}
        if frames > 1:
            _clip(_animated(image, frames), folder / "clip.webp")
            found["video"] = "clip.webp"
    return found


def _upright(image: Image.Image) -> Image.Image:
    """RGB, or RGBA where parts are transparent, turned as it was taken."""
    if "A" not in image.mode and "transparency" not in image.info:
        return flatten(image, WHITE)
    try:
        return ImageOps.exif_transpose(image).convert("RGBA")
    except Exception as error:  # decoders raise anything on damaged pixels
        raise Unreadable(f"damaged picture: {error}") from None


def _animated(image: Image.Image, frames: int) -> Iterator[tuple[float, Image.Image]]:
    """Seconds and picture of every frame of an animation."""
    elapsed = 0.0
    try:
        for number in range(frames):
            image.seek(number)
            elapsed = image.info.get("timestamp", elapsed)
            yield elapsed / 1000, flatten(image, WHITE)
            elapsed += image.info.get("duration", 0) or 100
    except (OSError, EOFError, SyntaxError, ValueError) as error:
        raise Unreadable(f"damaged clip: {error}") from None


def clip(content: bytes, folder: Path, limits: Limits) -> dict[str, str]:
    """A film, of which pictures are kept and no sound."""
    import av

    try:
        with av.open(io.BytesIO(content)) as container:
            if not container.streams.video:
                raise Unreadable("damaged clip: there are no pictures in it")
            stream = container.streams.video[0]
            if stream.width * stream.height > limits.pixels:
                raise Unreadable(f"decompression bomb: frames of {stream.width} x {stream.height} pixels")
            stream.thread_type = "NONE"  # threads take more memory than they are worth here
            _clip(_film(container, stream, limits), folder / "clip.webp")
    except (av.FFmpegError, ValueError) as error:
        raise Unreadable(f"damaged clip: {error}") from None
    return {"video": "clip.webp"}


def _film(container: Any, stream: Any, limits: Limits) -> Iterator[tuple[float, Image.Image]]:
    start, seen = None, 0
    for number, frame in enumerate(container.decode(stream)):
        seen += frame.width * frame.height
        if seen > limits.all_pixels or frame.width * frame.height > limits.pixels:
            raise Unreadable(f"the clip is too long: {number} frames of {frame.width} x {frame.height} pixels")
        start = frame.time if start is None else start
        yield (number / 25 if frame.time is None else frame.time - start), frame.to_image()


def _clip(frames: Iterable[tuple[float, Image.Image]], path: Path) -> None:
    """Write a clip as an animation of evenly spaced frames."""
    kept = _spaced(frames)
    if not kept:
        raise Unreadable("no frames: the clip is empty")
    for _, image in kept:
        image.thumbnail((CLIP_SIDE, CLIP_SIDE))
    times = [second for second, _ in kept]
    steps = [max(later - sooner, 0.001) for sooner, later in pairwise(times)]
    lasts = [round(1000 * step) for step in [*steps, steps[-1] if steps else 0.1]]
    first, *rest = (image for _, image in kept)
    first.save(path, save_all=True, append_images=rest, duration=lasts, quality=90, method=0)


def _spaced(frames: Iterable[tuple[float, Image.Image]]) -> list[tuple[float, Image.Image]]:
    """Every n-th of the frames, n as small as it can be; no more are held than twice as many as are kept."""
    step, kept = 1, []
    for number, frame in enumerate(frames):
        if number % step == 0:
            kept.append(frame)
        if len(kept) > FRAMES:
            step, kept = 2 * step, kept[::2]
    return kept


def recording(content: bytes, folder: Path, limits: Limits) -> dict[str, str]:
    """A recording, as one channel."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if file.samplerate not in RATES or file.channels > CHANNELS:
                raise Unreadable(
                    f"{file.channels} channels at {file.samplerate} Hz: at most {CHANNELS} at {RATES[0]} to {RATES[-1]}"
                )
            if file.frames > SECONDS * file.samplerate:
                raise Unreadable(f"the recording is too long: at most {SECONDS // 60} minutes are taken")
            wave = file.read(SECONDS * file.samplerate, dtype="float32", always_2d=True).mean(axis=1)
            rate = file.samplerate
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
        raise Unreadable(f"damaged recording: {error}") from None
    if not len(wave) or not np.isfinite(wave).all():
        raise Unreadable("damaged recording: there are no samples, or some that are not finite")
    soundfile.write(folder / "recording.wav", wave, rate, subtype="PCM_16")
    return {"audio": "recording.wav"}


def sequence(content: bytes, folder: Path, limits: Limits) -> dict[str, str]:
    """Features of steps."""
    try:
        values = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise Unreadable(f"damaged .npy file: {error}") from None
    if values.ndim != 2 or values.dtype.kind not in "fiub" or not 0 < values.size <= NUMBERS:
        raise Unreadable(f"wrong contents: {values.dtype} of shape {values.shape}, expected numbers (steps, features)")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise Unreadable("not finite: some numbers are NaN or infinite")
    np.save(folder / "sequence.npy", values, allow_pickle=False)
    return {"sequence": "sequence.npy"}


DECODERS: dict[str, Callable[[bytes, Path, Limits], dict[str, str]]] = {
    "image": picture,
    "video": clip,
    "audio": recording,
    "sequence": sequence,
}


def _save(image: Image.Image, path: Path) -> None:
    few = math.prod(image.size) <= LOSSLESS
    image.save(path, "WEBP", lossless=few, quality=50 if few else 95, method=0)  # of lossless ones, quality is effort


if __name__ == "__main__":
    main(*sys.argv[1:])
