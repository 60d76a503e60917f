"""A match explained in time: which step of a sequence, or window of a clip, speaks for which word of a text.

For methods that compare words with steps (the ability ``TimesWords``), such as CiCo.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.data.corpus import corpus_from_items
from accord.data.inputs import TextInput
from accord.data.loading.batches import to_device
from accord.errors import ConfigError
from accord.explaining.base import Explanation, Way
from accord.explaining.inputs import strongest, words_of
from accord.methods.abilities import TimesWords
from accord.training.model import Model


@dataclass(frozen=True)
class TimeExplanation(Explanation):
    """When the words of a text are meant.

    Args:
        text: the words.
        words: those that the model reads, W.
        seconds: ``(N,)`` when each step begins.
        similarity: ``(W, N)`` cosine of each word with each step, of its best token where it has several.
        weights: ``(W, N)`` how much of a word's attention each step has, likewise.
    """

    text: str
    words: tuple[str, ...]
    seconds: Tensor
    similarity: Tensor
    weights: Tensor

    @property
    def best(self) -> list[int]:
        """The strongest step of each word.

        >>> cosines, weights = torch.tensor([[0.1, 0.7]]), torch.ones(1, 2)
        >>> shown = TimeExplanation("hi", ("hi",), torch.tensor([0.0, 0.5]), cosines, weights)
        >>> shown.best, shown.rows()
        ([1], [('hi', '0.50', '0.70', '100%')])
        """
        return self.similarity.argmax(dim=1).tolist()

    @property
    def columns(self) -> dict[str, str]:
        """A word, the second at which its strongest step begins, its cosine with it, and its share of attention."""
        return {"word": "left", "second": "right", "cosine": "right", "attention": "right"}

    def rows(self) -> list[tuple[str, ...]]:
        """One line a word."""
        return [
            (word, f"{self.seconds[step]:.2f}", f"{self.similarity[at, step]:.2f}", f"{self.weights[at, step]:.0%}")
            for at, (word, step) in enumerate(zip(self.words, self.best, strict=True))
        ]

    def draw(self, path: str | Path) -> Path:
        """See :func:`accord.explaining.timelines.draw_times`."""
        from accord.explaining.timelines import draw_times

        return draw_times(self, path)


def explain_times(model: Model, item: Any, text: str) -> TimeExplanation:
    """Which step of ``item`` speaks for each word of ``text``.

    Args:
        model: a model whose method compares words with steps, such as cico.
        item: path of a ``.npy`` file or of a clip, or an array; what the model reads beside texts.
        text: words.

    Raises:
        ConfigError: the method does not compare words with steps, or the text is empty.
        DataError: the item cannot be read.
    """
    able = model.able(TimesWords)
    if not text.strip():
        raise ConfigError("the text is empty: give the words whose match is to be explained")
    modality = next(name for name in model.inputs if name != "text")
    spec = model.inputs["text"]
    assert isinstance(spec, TextInput)
    batch = next(iter(model.loader(corpus_from_items(modality, [item]), (modality,))))
    ids, mask = spec.tokenizer([text])
    with torch.inference_mode():
        found = able.word_times(to_device({**batch, "text": ids, "text_mask": mask}, model.method.device))
    words, real = words_of(spec.tokenizer, text), found.mask[0].cpu()
    parts = [values[0].cpu() for values in (found.similarity, found.weights)]
    similarity, weights = (strongest(part, words)[:, real] if words else part[:0, real] for part in parts)
    return TimeExplanation(text, tuple(word.text for word in words), found.seconds[0].cpu()[real], similarity, weights)


WAY = Way(
    "times",
    "When each word is meant",
    TimesWords,
    lambda model, item, text, corpus, k: explain_times(model, item, text),
    reads_text=True,
)
