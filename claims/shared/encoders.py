"""Encoders small enough for 8×8 digits: a multilayer perceptron, the pixels, and a sentence encoder that is a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accord.data.inputs import ImageInput, TextInput
from accord.encoders.base import Encoder, Features


class DigitEncoder(Encoder):
    """Two hidden layers on the grey values.

    Args:
        width: of both layers.
    """

    modality = "image"

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.input = ImageInput(size=8, mean=(0.5,) * 3, std=(0.5,) * 3)
        self.dim = width
        self.layers = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of pictures ``(B, 3, 8, 8)``, whose channels are equal but for the colour noise of a view."""
        return Features(pooled=self.layers(x.mean(dim=1).flatten(1)))

    def blocks(self) -> list[nn.Module]:
        """The two layers."""
        return [self.layers[:2], self.layers[2:]]

    def spec(self) -> dict[str, Any]:
        """The width."""
        return {"name": "digit_mlp", "width": self.dim}


class ConvDigits(Encoder):
    """Three convolutions on the grey values of 8×8 digits, and the mean over the map."""

    modality = "image"

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.input = ImageInput(size=8, mean=(0.5,) * 3, std=(0.5,) * 3)
        self.dim = width
        widths, strides = (1, width // 2, width, width), (1, 2, 1)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(given, made, 3, stride, 1, bias=False), nn.BatchNorm2d(made), nn.ReLU())
                for given, made, stride in zip(widths, widths[1:], strides, strict=False)
            )
        )

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of pictures ``(B, 3, 8, 8)`` in grey."""
        return Features(pooled=self.layers(x.mean(dim=1, keepdim=True)).mean(dim=(2, 3)))

    def blocks(self) -> list[nn.Module]:
        """The convolutions."""
        return list(self.layers)

    def spec(self) -> dict[str, Any]:
        """The width."""
        return {"name": "conv_digits", "width": self.dim}


class PixelEncoder(Encoder):
    """A frozen encoder whose features are the 64 grey values: what is learnt is learnt by the method's heads."""

    modality = "image"

    def __init__(self) -> None:
        super().__init__()
        self.input = ImageInput(size=8, mean=(0.5,) * 3, std=(0.5,) * 3)
        self.dim = 64
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)  # what features are stored of has weights

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of pictures ``(B, 3, 8, 8)``."""
        return Features(pooled=self.scale * x.mean(dim=1).flatten(1))

    def blocks(self) -> list[nn.Module]:
        """None that could be trained."""
        return []

    def spec(self) -> dict[str, Any]:
        """Nothing but the name."""
        return {"name": "digit_pixels"}


class TableEncoder(Encoder):
    """A frozen sentence encoder that knows its sentences by heart.

    Args:
        words: every text that will come.
        vectors: ``(len(words), D)`` the embedding of each.
    """

    modality = "text"

    def __init__(self, words: Sequence[str], vectors: NDArray[np.float32]) -> None:
        super().__init__()
        self.input = TextInput(WholeText(words))
        self.dim = vectors.shape[1]
        self.table = nn.Embedding.from_pretrained(torch.from_numpy(vectors))

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of text numbers ``(B, 1)``."""
        return Features(pooled=self.table(x[:, 0]))

    def blocks(self) -> list[nn.Module]:
        """The table."""
        return [self.table]

    def spec(self) -> dict[str, Any]:
        """The size of the table."""
        return {"name": "table", "words": self.table.num_embeddings, "dim": self.dim}


class NumberedDigits(Encoder):
    """A text encoder whose text is the number of a digit, and which sees that digit as :class:`DigitEncoder` does.

    Args:
        pixels: ``(N, 8, 8)`` uint8, the digits in the order of their numbers.
        width: of both layers.
    """

    modality = "text"

    def __init__(self, pixels: NDArray[np.uint8], width: int = 128) -> None:
        super().__init__()
        self.input = TextInput(WholeText([str(number) for number in range(len(pixels))]))
        self.dim = width
        grey = torch.from_numpy(pixels.reshape(len(pixels), -1) / 127.5 - 1).float()
        self.table = nn.Embedding.from_pretrained(grey)
        self.layers = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of numbers ``(B, 1)``."""
        return Features(pooled=self.layers(self.table(x[:, 0])))

    def blocks(self) -> list[nn.Module]:
        """The two layers."""
        return [self.layers[:2], self.layers[2:]]

    def spec(self) -> dict[str, Any]:
        """The width, and how many digits there are."""
        return {"name": "numbered_digits", "width": self.dim, "digits": self.table.num_embeddings}


class WholeText:
    """A tokenizer for which every text is one token.

    Args:
        words: the texts, in the order of their numbers.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._number = {word: number for number, word in enumerate(words)}

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Numbers ``(B, 1)`` int64 and mask ``(B, 1)``, True throughout."""
        ids = torch.tensor([[self._number[text]] for text in texts])
        return ids, torch.ones_like(ids, dtype=torch.bool)
