"""What explanations of a picture and a text have in common: the batch, the words, and the places of patches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from accord.data.augmenting.crops import centre_crop
from accord.data.augmenting.pixels import normalise
from accord.data.corpus import corpus_from_items
from accord.data.inputs import ImageInput, TextInput
from accord.data.loading.batches import to_device
from accord.data.loading.features import Features
from accord.errors import ConfigError
from accord.methods.base import Batch
from accord.training.model import Model

_SHOWN = 192  # side of a picture that is looked at, pixels
_PUNCTUATION = ".,;:!?\"'()[]{}“”‘’«»…"


@dataclass(frozen=True)
class Word:
    """A word of a text and where its tokens are.

    Args:
        text: as it stands in the text, without punctuation at its ends.
        tokens: positions in the sequence of tokens.
    """

    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """The places of the patches of a picture, row by row.

    Args:
        rows: of patches.
        columns: of patches.

    Example:
        >>> Grid(3, 2).box(3)
        (0.5, 0.3333333333333333, 1.0, 0.6666666666666666)
    """

    rows: int
    columns: int

    @classmethod
    @torch.inference_mode()
    def of(cls, model: Model, pixels: Tensor) -> Grid:
        """Where the model's image encoder has its patches in pictures ``(B, 3, H, W)`` of this size.

        Raises:
            ConfigError: the places are not known.
        """
        features: Features = model.method.encoders["image"](pixels[:1])
        grid = features.stream().grid
        if grid is None or len(grid) != 2:
            raise ConfigError(
                f"the image encoder gives {features.sequence()[0].shape[1]} tokens without saying how they lie, so "
                "nothing can be pointed at; train with an encoder that gives patches with their grid, such as tiny_vit"
            )
        return cls(*grid)

    def box(self, position: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of a patch, relative to the sides of what the encoder sees."""
        row, column = divmod(position, self.columns)
        return column / self.columns, row / self.rows, (column + 1) / self.columns, (row + 1) / self.rows


def pair_batch(model: Model, image: str | Path | Image.Image, text: str) -> tuple[Batch, Image.Image]:
    """A batch of one picture and its text on the model's device, and the picture as the encoder sees it.

    Args:
        model: a model of pictures and texts.
        image: path or picture.
        text: words.

    Raises:
        ConfigError: the text is empty, or the model does not take both.
        DataError: the picture cannot be read.
    """
    if not text.strip():
        raise ConfigError("the text is empty: give the words whose match with the picture is to be explained")
    inputs = model.inputs
    spec, words = inputs.get("image"), inputs.get("text")
    if not isinstance(spec, ImageInput) or not isinstance(words, TextInput):
        raise ConfigError(f"the model takes {', '.join(inputs)}; explanations need one of pictures and texts")
    picture = corpus_from_items("image", [image]).sample(0, inputs={"image": spec})["image"]
    ids, mask = words.tokenizer([text])
    batch = {"image": as_pixels(picture, spec), "text": ids, "text_mask": mask}
    return to_device(batch, model.method.device), seen(picture, spec)


def as_pixels(picture: Image.Image, spec: ImageInput) -> Tensor:
    """A picture as evaluation feeds it, ``(1, 3, H, W)``."""
    return normalise(centre_crop(picture, spec), spec)[None]


def seen(picture: Image.Image, spec: ImageInput, side: int = _SHOWN) -> Image.Image:
    """The part of a picture that the encoder sees, at a size for people."""
    pixels = centre_crop(picture, replace(spec, size=side))
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def words_of(tokenizer: Any, text: str) -> list[Word]:
    """The words of a text, split at spaces, with the tokens that each is made of; without what was cut off.

    Args:
        tokenizer: that of the text encoder.
        text: the text as the tokenizer gets it.

    Raises:
        ConfigError: the tokenizer does not say which characters a token stands for.

    Example:
        >>> from accord.encoders.tokenizer import JsonTokenizer, train_bpe
        >>> tokenizer = JsonTokenizer(train_bpe(["a red fish"], vocabulary=290, length=8))
        >>> words_of(tokenizer, "Red, fish")
        [Word(text='Red', tokens=(1, 2)), Word(text='fish', tokens=(3,))]
    """
    if not hasattr(tokenizer, "spans"):
        raise ConfigError("the text encoder's tokenizer does not say which characters a token stands for")
    spans = tokenizer.spans(text)
    found, end = [], 0
    for word in text.split():
        start = text.index(word, end)
        end = start + len(word)
        tokens = tuple(place for place, (left, right) in enumerate(spans) if left < end and right > start)
        if tokens and word.strip(_PUNCTUATION):
            found.append(Word(word.strip(_PUNCTUATION), tokens))
    return found


def strongest(values: Tensor, words: list[Word]) -> Tensor:
    """The largest value among the tokens of each word: ``(L, ...)`` to ``(W, ...)``.

    >>> strongest(torch.tensor([0.0, 3.0, 5.0]), [Word("a", (0, 1)), Word("b", (2,))])
    tensor([3., 5.])
    """
    return torch.stack([values[list(word.tokens)].amax(dim=0) for word in words])
