"""Moving digits that say who moves: clips whose digit starts in the middle, with its number beside the action."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from accord.data.corpus import Corpus, corpus_from_items
from shared.digits import Digits, split_digits
from shared.moving import ACTIONS, FRAMES, NOISE, SIDE, clip

DIGIT = "digit"  # the column of its number


def named_moving_digits(seed: int, train: int, test: int) -> tuple[Corpus, Corpus]:
    """Clips labelled by their action, of different pictures of digits for training and for testing."""
    parts = zip(("train", "test"), split_digits(seed), (train, test), strict=True)
    train_rows, test_rows = (
        _clips(name, digits, count, [seed, place]) for place, (name, digits, count) in enumerate(parts)
    )
    return train_rows, test_rows


def digits_of(corpus: Corpus) -> NDArray[np.int64]:
    """Which digit ``(N,)`` moves in each clip."""
    return np.asarray(corpus.rows[DIGIT])


def still_digits(seed: int, count: int) -> Corpus:
    """Pictures of training digits as large as a frame, each in the middle, between a quarter and half of the side."""
    random, pixels = np.random.default_rng([seed, 2]), split_digits(seed)[0].pixels[:count]
    pictures = [_still(digit, int(random.integers(SIDE // 4, SIDE // 2 + 3)), random) for digit in pixels]
    return replace(corpus_from_items("image", pictures), name="still digits")


def _still(digit: NDArray[np.uint8], size: int, random: np.random.Generator) -> Image.Image:
    canvas = Image.new("L", (SIDE, SIDE))
    corner = (SIDE - size) // 2
    canvas.paste(Image.fromarray(digit).resize((size, size), Image.Resampling.BILINEAR), (corner, corner))
    noisy = np.asarray(canvas) + 255 * NOISE * random.standard_normal((SIDE, SIDE))
    return Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)).convert("RGB")


def _clips(name: str, digits: Digits, count: int, key: list[int]) -> Corpus:
    random = np.random.default_rng(key)
    labels = random.permutation(np.arange(count) % len(ACTIONS))
    chosen = random.integers(len(digits.labels), size=count)
    clips = [
        _centred(digits.pixels[digit], int(action), [*key, row])
        for row, (digit, action) in enumerate(zip(chosen, labels, strict=True))
    ]
    corpus = corpus_from_items("video", clips)
    rows = corpus.rows.add_column(DIGIT, digits.labels[chosen].tolist())
    named = replace(corpus, name=f"moving digits with numbers, {name}", rows=rows)
    return replace(named, labels=labels, classes=ACTIONS)


def _centred(digit: NDArray[np.uint8], action: int, key: list[int]) -> bytes:
    """:func:`shared.moving.clip` without the random place at which it starts, as an animated WebP without loss."""
    place = np.random.default_rng(key).integers(SIDE, size=2)  # the first thing that it draws
    frames = np.roll(clip(digit, action, np.random.default_rng(key)), -place, axis=(1, 2))
    first, *others = (Image.fromarray(frame) for frame in frames)
    assert len(others) == FRAMES - 1
    stream = io.BytesIO()
    first.save(stream, "WEBP", save_all=True, append_images=others, lossless=True, method=0, kmax=1)
    return stream.getvalue()
