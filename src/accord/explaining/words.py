"""A match explained by words: where in a picture each word of a text is seen.

For methods that compare words with patches (the ability ``LocatesWords``), such as FILIP.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from accord.data.inputs import TextInput
from accord.explaining.base import Explanation, Way
from accord.explaining.inputs import Grid, pair_batch, strongest, words_of
from accord.methods.abilities import LocatesWords
from accord.training.model import Model


@dataclass(frozen=True)
class WordMap:
    """Where a word is seen.

    Args:
        word: as it stands in the text.
        heat: ``(h, w)`` cosine of the word with each patch, of its best token where it has several.
    """

    word: str
    heat: Tensor

    @property
    def best(self) -> tuple[int, int]:
        """Row and column of the patch that it likes best.

        >>> WordMap("cat", torch.tensor([[0.1, 0.7], [0.2, 0.3]])).best
        (0, 1)
        """
        row, column = divmod(int(self.heat.argmax()), self.heat.shape[1])
        return row, column


@dataclass(frozen=True)
class WordExplanation(Explanation):
    """Where the words of a text are in a picture.

    Args:
        picture: as the encoder sees it.
        text: the words.
        maps: one for each word, in the order of the text.
    """

    picture: Image.Image
    text: str
    maps: tuple[WordMap, ...]

    @property
    def columns(self) -> dict[str, str]:
        """A word, row and column of its best patch, and its cosine there."""
        return {"word": "left", "row": "right", "column": "right", "cosine": "right"}

    def rows(self) -> list[tuple[str, ...]]:
        """One line a word."""
        places = [(word, *word.best) for word in self.maps]
        return [(word.word, str(row + 1), str(at + 1), f"{float(word.heat.max()):.2f}") for word, row, at in places]

    def draw(self, path: str | Path) -> Path:
        """See :func:`accord.explaining.figure.draw_words`."""
        from accord.explaining.figure import draw_words

        return draw_words(self, path)


def explain_words(model: Model, image: str | Path | Image.Image, text: str) -> WordExplanation:
    """The map of every word of ``text`` over the patches of ``image``.

    Args:
        model: a model whose method compares words with patches, such as filip.
        image: path or picture.
        text: words.

    Raises:
        ConfigError: the method does not compare words with patches, the text is empty, or the places of the image
            tokens are not known.
        DataError: the picture cannot be read.
    """
    able = model.able(LocatesWords)
    batch, picture = pair_batch(model, image, text)
    with torch.inference_mode():
        similarity = able.word_patch(batch)[0].cpu()  # (L, N)
    grid = Grid.of(model, batch["image"])
    spec = model.inputs["text"]
    assert isinstance(spec, TextInput)
    words = words_of(spec.tokenizer, text)
    heat = strongest(similarity, words) if words else similarity[:0]
    maps = [WordMap(word.text, one.reshape(grid.rows, grid.columns)) for word, one in zip(words, heat, strict=True)]
    return WordExplanation(picture, text, tuple(maps))


WAY = Way(
    "words",
    "Where each word is seen",
    LocatesWords,
    lambda model, image, text, corpus, k: explain_words(model, image, text),
    reads_text=True,
)
