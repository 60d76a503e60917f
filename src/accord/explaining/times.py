"""A match explained in time: which step of a sequence, window or frame of a clip, speaks for which word of a text.

For methods that compare words with steps (the ability ``TimesWords``), such as CiCo and HBI.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from accord.data.corpus import Corpus, corpus_from_items
from accord.data.inputs import TextInput, VideoInput
from accord.data.loading.batches import to_device
from accord.errors import ConfigError
from accord.explaining.base import Explanation, Way
from accord.explaining.inputs import seen, strongest, words_of
from accord.methods.abilities import TimesWords
from accord.training.model import Model


@dataclass(frozen=True)
class TimeExplanation(Explanation):
    """When the words of a text are meant.

    Args:
        text: the words.
        words: those that the model reads, W.
        seconds: ``(N,)`` when each step begins.
        similarity: ``(W, N)`` of each word with each step, of its best token where it has several.
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


@dataclass(frozen=True)
class FrameExplanation(TimeExplanation):
    """The same where the steps are frames of a clip, which can be shown.

    Args:
        frames: those that the encoder sees, in order.
    """

    frames: tuple[Image.Image, ...]

    @property
    def columns(self) -> dict[str, str]:
        """A word, the number and second of its best frame, and how far it is above the word's mean, in deviations."""
        return {"word": "left", "frame": "right", "second": "right", "above mean": "right"}

    def rows(self) -> list[tuple[str, ...]]:
        """One line a word."""
        above = standing_out(self.similarity)
        return [
            (word, str(best + 1), f"{self.seconds[best]:.2f}", f"{above[at, best]:.1f}")
            for at, (word, best) in enumerate(zip(self.words, self.best, strict=True))
        ]

    def draw(self, path: str | Path) -> Path:
        """See :func:`accord.explaining.timelines.draw_frames`."""
        from accord.explaining.timelines import draw_frames

        return draw_frames(self, path)


def standing_out(map: Tensor) -> Tensor:
    """Each row ``(W, T)`` less its mean, over its standard deviation; 0 where all frames are alike.

    >>> standing_out(torch.tensor([[0.0, 2.0], [3.0, 3.0]]))
    tensor([[-1.,  1.],
            [ 0.,  0.]])
    """
    centred = map - map.mean(dim=1, keepdim=True)
    spread = centred.square().mean(dim=1, keepdim=True).sqrt()
    return torch.where(spread > 0, centred / spread.clamp(min=torch.finfo(map.dtype).tiny), 0.0)


def explain_times(model: Model, item: Any, text: str) -> TimeExplanation:
    """Which step of ``item`` speaks for each word of ``text``.

    Args:
        model: a model whose method compares words with steps, such as cico or hbi.
        item: path of a ``.npy`` file, of a clip or of a folder of frames, or an array; what the model reads beside
            texts.
        text: words.

    Returns:
        A :class:`FrameExplanation` where the steps are the frames of a clip.

    Raises:
        ConfigError: the method does not compare words with steps, or the text is empty.
        DataError: the item cannot be read.
    """
    able = model.able(TimesWords)
    if not text.strip():
        raise ConfigError("the text is empty: give the words whose match is to be explained")
    modality = next(name for name in model.method.needs if name != "text")
    spec = model.inputs["text"]
    assert isinstance(spec, TextInput)
    corpus = corpus_from_items(modality, [item])
    batch = next(iter(model.loader(corpus, (modality,))))
    ids, mask = spec.tokenizer([text])
    with torch.inference_mode():
        found = able.word_times(to_device({**batch, "text": ids, "text_mask": mask}, model.method.device))
    words, real = words_of(spec.tokenizer, text), found.mask[0].cpu()
    similarity, weights = (
        strongest(part, words)[:, real] if words else part[:0, real]
        for part in (values[0].float().cpu() for values in (found.similarity, found.weights))
    )
    seconds = found.seconds[0].cpu()[real]
    shown = (text, tuple(word.text for word in words), seconds, similarity, weights)
    frames = _frames_at(seconds, corpus, model.inputs[modality])
    return FrameExplanation(*shown, frames) if frames else TimeExplanation(*shown)


def _frames_at(seconds: Tensor, corpus: Corpus, spec: Any) -> tuple[Image.Image, ...]:
    """The frames that a clip's encoder sees, where the steps are these; none of anything else."""
    if not isinstance(spec, VideoInput):
        return ()
    clip = corpus.sample(0, inputs={"video": spec})["video"]
    times = torch.tensor(clip.timeline.seconds)
    if times.shape != seconds.shape or not torch.allclose(times, seconds, atol=1e-4):
        return ()
    return tuple(seen(frame, spec.image) for frame in clip)


WAY = Way(
    "times",
    "When each word is meant",
    TimesWords,
    lambda model, item, text, corpus, k: explain_times(model, item, text),
    reads_text=True,
)
