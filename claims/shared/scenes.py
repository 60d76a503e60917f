"""Scenes of tiles with real digits and their masks, three or four on a gradient, for methods measured by places."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from accord.data.columns import Columns
from accord.data.compose import Sprite, compose
from accord.data.corpus import Corpus
from accord.evaluation.dense import evaluate_segmentation
from accord.training.artifact import Model
from shared.digits import WORDS, Digits, split_digits

SIDE = 64
SIMCLR: dict[str, Any] = {  # contrast of whole crops, for an arm beside
    "method": {
        "name": "multiview_infonce",
        "objective": "nt_xent",
        "views": 2,
        "dim": 48,
        "temperature": 0.2,
        "crop_scale": [0.3, 1.0],
        "colour": 0.5,
    }
}


def masked_scenes(seed: int, train: int = 1200, test: int = 300) -> tuple[Corpus, Corpus]:
    """Scenes for training and for testing, made of different digits."""
    first, second = split_digits(seed)
    return _scenes("train", first, train, seed), _scenes("test", second, test, seed + 1_000_000)


def segmentation(model: Model, train: Corpus, test: Corpus) -> Mapping[str, float]:
    """What a linear probe on single cells reaches, correspondence, and found parts where there are any."""
    return {metric.name: metric.value for metric in evaluate_segmentation(model, test, train)}


def _scenes(name: str, digits: Digits, count: int, seed: int) -> Corpus:
    sprites = [
        Sprite(_tile(pixels), WORDS[label], int(label))
        for pixels, label in zip(digits.pixels, digits.labels, strict=True)
    ]
    random = np.random.default_rng(seed)
    images, masks = [], []
    for own in random.integers(2**32, size=count):
        scene = compose(sprites, seed=int(own), side=SIDE, things=(3, 4), scale=(0.3, 0.42))
        images.append(_png(scene.frames[0]))
        masks.append(_png(Image.fromarray(scene.masks[0])))
    cell = {"bytes": datasets.Value("large_binary"), "path": datasets.Value("string")}
    table = {"image": images, "mask": masks}
    rows = datasets.Dataset.from_dict(table, features=datasets.Features({"image": cell, "mask": cell}))
    return Corpus(f"masked scenes, {name}", rows, Columns(image="image", mask="mask"), np.arange(count))


def _tile(pixels: NDArray[np.uint8]) -> Image.Image:
    """A white tile with a digit: the strokes alone would fill few cells of a map."""
    return Image.fromarray(255 - pixels).resize((32, 32), Image.Resampling.BICUBIC).convert("RGBA")


def _png(picture: Image.Image) -> dict[str, bytes | None]:
    stream = io.BytesIO()
    picture.save(stream, format="PNG", compress_level=1)
    return {"bytes": stream.getvalue(), "path": None}
