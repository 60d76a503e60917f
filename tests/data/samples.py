"""Small pictures, their encodings and a tokenizer."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image


def picture(colour: int = 0, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Image.Image:
    """A noise picture that is a function of ``colour``."""
    noise = np.random.default_rng(colour).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def encoded(colour: int = 0, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture(colour, **{key: value for key, value in options.items() if key in ("size", "mode")}).save(stream, kind)
    return stream.getvalue()


class Letters:
    """A tokenizer: one id per letter."""

    def __call__(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor([ord(letter) for letter in text])
        return ids, ids > 0
