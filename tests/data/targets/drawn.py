"""Pictures of things that are known exactly, their maps of numbers, and views of both."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from accord.data.augmenting.crops import make_crop
from accord.data.augmenting.views import Crop, View
from accord.data.inputs import ImageInput
from accord.data.targets import Canvas

NEAREST = ImageInput(size=40, interpolation="nearest")  # pictures are then cut as maps are


def numbered(width: int = 60, height: int = 44) -> np.ndarray:
    """A map of three things: a bar, a ring and a corner that touches the edges."""
    y, x = np.mgrid[:height, :width]
    found = np.zeros((height, width), dtype=np.uint8)
    found[8:14, 5:40] = 1
    radius = np.hypot(x - 40, y - 28)
    found[(radius < 10) & (radius > 5)] = 2
    found[height - 9 :, :12] = 3
    return found


def grey(numbers: np.ndarray) -> Image.Image:
    """An RGB picture in which each number has a colour of its own."""
    return Image.fromarray(np.repeat((numbers * 60)[..., None], 3, axis=2))


def encoded(numbers: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(numbers).save(stream, "PNG")
    return stream.getvalue()


def canvas_of(numbers: np.ndarray, **options: object) -> Canvas:
    return Canvas(size=numbers.shape[::-1], **options)


def view_of(numbers: np.ndarray, seed: int, **options: object) -> Crop:
    """A random view of the picture of a map."""
    view = View(**{"scale": (0.2, 1.0), "flip": 0.5, **options})
    return make_crop(grey(numbers), view, NEAREST, seed)


def numbers_in(crop: Crop) -> torch.Tensor:
    """The map that a view's own pixels show."""
    return crop.pixels[0] // 60


def box_of(mask: torch.Tensor) -> list[float]:
    """Relative x0, y0, x1, y1 around a mask."""
    height, width = mask.shape
    y, x = mask.nonzero().T
    return [int(x.min()) / width, int(y.min()) / height, (int(x.max()) + 1) / width, (int(y.max()) + 1) / height]
