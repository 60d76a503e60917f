"""Pictures with a square of one colour in one quarter."""

from __future__ import annotations

import numpy as np
from PIL import Image

COLOURS = {"red": (230, 20, 20), "green": (20, 180, 40), "blue": (20, 40, 230), "yellow": (240, 220, 20)}
KINDS = [(colour, quarter) for colour in COLOURS for quarter in range(4)]
SIDE, PATCH = 16, 8


def square(colour: str, quarter: int) -> Image.Image:
    """A grey picture with a coloured square in one quarter, row by row."""
    pixels = np.full((SIDE, SIDE, 3), 128, dtype=np.uint8)
    row, column = divmod(quarter, 2)
    pixels[row * PATCH + 1 : (row + 1) * PATCH - 1, column * PATCH + 1 : (column + 1) * PATCH - 1] = COLOURS[colour]
    return Image.fromarray(pixels)
