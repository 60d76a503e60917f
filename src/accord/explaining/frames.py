"""A match explained by frames: with which frame of a clip each word of a text goes.

For methods that compare words with frames (the ability ``AlignsFrames``), such as HBI.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from accord.data.corpus import corpus_from_items
from accord.data.inputs import TextInput, VideoInput
from accord.data.loading.batches import to_device
from accord.errors import ConfigError
from accord.explaining.base import Explanation, Way
from accord.explaining.inputs import seen, strongest, words_of
from accord.methods.abilities import AlignsFrames
from accord.training.model import Model


@dataclass(frozen=True)
class FrameExplanation(Explanation):
    """With which frame each word goes.

    Args:
        frames: those that the encoder sees, in order.
        seconds: when each is shown.
        text: the words.
        words: those of the text that stand in ``map``, in order.
        map: ``(W, T)`` how much each word has to do with each frame, to be compared within a word.
    """

    frames: tuple[Image.Image, ...]
    seconds: tuple[float, ...]
    text: str
    words: tuple[str, ...]
    map: Tensor

    @property
    def columns(self) -> dict[str, str]:
        """A word, the number and second of its best frame, and how far it is above the word's mean, in deviations."""
        return {"word": "left", "frame": "right", "second": "right", "above mean": "right"}

    def rows(self) -> list[tuple[str, ...]]:
        """One line a word."""
        found: list[tuple[str, ...]] = []
        for word, values in zip(self.words, standing_out(self.map), strict=True):
            best = int(values.argmax())
            found.append((word, str(best + 1), f"{self.seconds[best]:.2f}", f"{float(values[best]):.1f}"))
        return found

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


def explain_frames(model: Model, clip: Any, text: str) -> FrameExplanation:
    """The frames of ``clip`` that each word of ``text`` goes with.

    Args:
        model: a model whose method compares words with frames, such as hbi.
        clip: path of a clip or of a folder of frames.
        text: words.

    Raises:
        ConfigError: the method does not compare words with frames, or the text is empty.
        DataError: the clip cannot be read.
    """
    able = model.able(AlignsFrames)
    if not text.strip():
        raise ConfigError("the text is empty: give the words whose match with the clip is to be explained")
    spec, words_spec = model.inputs["video"], model.inputs["text"]
    assert isinstance(spec, VideoInput)  # what compares words with frames reads clips
    assert isinstance(words_spec, TextInput)
    corpus = corpus_from_items("video", [clip])
    shown = corpus.sample(0, inputs={"video": spec})["video"]
    ids, mask = words_spec.tokenizer([text])
    batch = {**next(iter(model.loader(corpus, ("video",)))), "text": ids, "text_mask": mask}
    with torch.inference_mode():
        found = able.word_frame(to_device(batch, model.method.device))[0].float().cpu()[:, : len(shown)]  # (L, T)
    words = words_of(words_spec.tokenizer, text)
    return FrameExplanation(
        frames=tuple(seen(frame, spec.image) for frame in shown),
        seconds=shown.timeline.seconds,
        text=text,
        words=tuple(word.text for word in words),
        map=strongest(found, words) if words else found[:0],
    )


WAY = Way(
    "frames",
    "With which frame each word goes",
    AlignsFrames,
    lambda model, clip, text, corpus, k: explain_frames(model, clip, text),
    reads_text=True,
)
