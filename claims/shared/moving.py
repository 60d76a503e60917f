"""Moving digits: clips of a real 8×8 digit that moves, grows or turns, labelled by what it does, never by what it is.

An action and its reverse show the same single frames, so that a mean over frames cannot tell them apart.
"""

from __future__ import annotations

import io

import datasets
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from accord.data.columns import Columns
from accord.data.corpus import Corpus
from shared.digits import split_digits

SIDE, FRAMES, NOISE = 24, 8, 0.05  # pixels, frames, standard deviation over white
ACTIONS = (  # each beside its reverse
    *("moves left", "moves right", "moves up", "moves down"),
    *("grows", "shrinks", "turns clockwise", "turns anticlockwise"),
)
SIZES = (6, 14)  # pixels, from the smallest to the largest
SPEEDS, ANGLES = (2, 3), (15.0, 30.0)  # pixels and degrees a frame


def moving_digits(seed: int, train: int = 2000, test: int = 800) -> tuple[Corpus, Corpus]:
    """Clips for training and for testing, made of different pictures of digits."""
    parts = zip(("train", "test"), split_digits(seed), (train, test), strict=True)
    train_rows, test_rows = (
        _corpus(name, digits.pixels, count, np.random.default_rng([seed, place]))
        for place, (name, digits, count) in enumerate(parts)
    )
    return train_rows, test_rows


def reverse(label: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of the reverse action.

    >>> ACTIONS[reverse(np.array([0]))[0]]
    'moves right'
    """
    return label ^ 1


def _corpus(name: str, pixels: NDArray[np.uint8], count: int, random: np.random.Generator) -> Corpus:
    labels = random.permutation(np.arange(count) % len(ACTIONS))
    clips = [_encoded(clip(pixels[random.integers(len(pixels))], int(label), random)) for label in labels]
    cell = {"bytes": datasets.Value("large_binary"), "path": datasets.Value("string")}
    rows = datasets.Dataset.from_dict({"video": clips}, features=datasets.Features({"video": cell}))
    columns = Columns(video="video")
    return Corpus(f"moving digits, {name}", rows, columns, np.arange(count), labels=labels, classes=ACTIONS)


def clip(digit: NDArray[np.uint8], action: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """The frames ``(T, S, S)`` of a digit ``(8, 8)`` at a random place of a torus, in one of the actions.

    Reverse actions are each other's clips played backwards.
    """
    kind, backwards = divmod(action, 2)
    start = random.integers(SIDE, size=2)
    frames = {2: _growing, 3: _turning}.get(kind, _moving)(Image.fromarray(digit), kind, random)
    frames = np.stack([np.roll(frame, start, axis=(0, 1)) for frame in frames])
    noisy = frames[::-1] if backwards else frames
    noisy = noisy + 255 * NOISE * random.standard_normal(frames.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


def _moving(digit: Image.Image, kind: int, random: np.random.Generator) -> list[NDArray[np.float64]]:
    """To the left (kind 0) or upwards (kind 1)."""
    speed, canvas = random.integers(SPEEDS[0], SPEEDS[1] + 1), _pasted(digit)
    return [np.roll(canvas, -speed * number, axis=1 - kind) for number in range(FRAMES)]


def _growing(digit: Image.Image, kind: int, random: np.random.Generator) -> list[NDArray[np.float64]]:
    sizes = np.linspace(*SIZES, FRAMES).round().astype(int)
    return [_pasted(digit.resize((size, size), Image.Resampling.BILINEAR)) for size in sizes]


def _turning(digit: Image.Image, kind: int, random: np.random.Generator) -> list[NDArray[np.float64]]:
    """Clockwise from any angle."""
    first, speed = random.uniform(0, 360), random.uniform(*ANGLES)
    large = digit.resize((12, 12), Image.Resampling.BILINEAR)
    angles = first - speed * np.arange(FRAMES)
    return [_pasted(large.rotate(angle, Image.Resampling.BILINEAR, expand=True)) for angle in angles]


def _pasted(picture: Image.Image) -> NDArray[np.float64]:
    """The picture in the middle of a black canvas."""
    canvas = Image.new("L", (SIDE, SIDE))
    canvas.paste(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    return np.asarray(canvas, dtype=np.float64)


def _encoded(frames: NDArray[np.uint8]) -> dict[str, bytes | None]:
    """An animated WebP without loss, all of it key frames, which is quick to read."""
    first, *others = (Image.fromarray(frame) for frame in frames)
    stream = io.BytesIO()
    first.save(stream, "WEBP", save_all=True, append_images=others, lossless=True, method=0, kmax=1)
    return {"bytes": stream.getvalue(), "path": None}
