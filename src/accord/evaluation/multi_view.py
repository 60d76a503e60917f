"""Clips looked at several times: at other moments and at other places of the frame, whose answers are summed.

The protocol of video recognition, 4 clips × 3 crops (Ni et al. 2022, ECCV; Tu et al. 2023, ICCV). Of frozen embeddings,
which are probed (masked autoencoders), it is the mean that counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from accord.data.inputs import VideoInput
from accord.errors import ConfigError
from accord.evaluation.embedder import Embedder
from accord.evaluation.task import Options
from accord.methods.abilities import Classifies

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.training.model import Model


def multi_view_predict(logits: Tensor) -> Tensor:
    """The sum ``(B, K)`` over V views of the softmax of their logits ``(V, B, K)``.

    A view that is sure outweighs several that waver, which a mean of logits would not say.

    Example:
        >>> multi_view_predict(torch.tensor([[[9.0, 0.0]], [[0.0, 0.1]], [[0.0, 0.1]]])).argmax(dim=1)
        tensor([0])
    """
    return logits.float().softmax(dim=-1).sum(dim=0)


def view_inputs(spec: VideoInput, clips: int, crops: int) -> Iterator[VideoInput]:
    """What an encoder is fed in each of ``clips × crops`` views of a clip.

    Clips see frames that are spread evenly over each segment, the same at every evaluation; crops are squares along the
    longer side of the frame, as large as the shorter one allows. One of either is the usual view.

    Example:
        >>> [(view.moment, view.image.place) for view in view_inputs(VideoInput(), 2, 1)]
        [(0.25, None), (0.75, None)]
        >>> [(view.moment, view.image.place) for view in view_inputs(VideoInput(), 1, 3)]
        [(0.5, 0.0), (0.5, 0.5), (0.5, 1.0)]
    """
    for clip in range(clips):
        for crop in range(crops):
            place = None if crops == 1 else crop / (crops - 1)
            yield replace(spec, moment=(clip + 0.5) / clips, image=replace(spec.image, place=place))


def multi_view_scores(model: Model, corpus: Corpus, clips: int = 1, crops: int = 1) -> Tensor:
    """Scores ``(N, K)`` of the classes of a method of clips: :func:`multi_view_predict` over views of every row.

    Args:
        model: classifies clips.
        corpus: the rows.
        clips: moments at which a clip is looked at.
        crops: places of the frame.

    Raises:
        ConfigError: the method has no classifier, or does not look at clips.
    """
    able = model.able(Classifies)
    views = [
        torch.cat(model.over_batches(corpus, lambda batch: able.classify(batch).float().cpu(), inputs={"video": view}))
        for view in view_inputs(_clip_input(model, "classification", clips, crops), clips, crops)
    ]
    return multi_view_predict(torch.stack(views))


class ViewOptions(Options):
    """Options of tasks that look at embeddings."""

    clips: int = Field(1, ge=1, description="moments at which a clip is looked at, whose embeddings are averaged")
    crops: int = Field(1, ge=1, description="places along the longer side of its frames, likewise")


@dataclass(frozen=True)
class SeenSeveralTimes(Embedder):
    """A model of clips whose embeddings of rows are means over views of every row.

    Args:
        model: embeds clips.
        task: whose options say so.
        clips: moments at which a clip is looked at.
        crops: places of the frame.
    """

    model: Model
    task: str
    clips: int
    crops: int

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those of the model."""
        return self.model.modalities

    def embed(self, **items: Any) -> Tensor:
        """Items as the model sees them, once."""
        return self.model.embed(**items)

    def embed_corpus(self, corpus: Corpus, modality: str) -> Tensor:
        """The means ``(N, D)`` of unit-norm embeddings, unit norm.

        Raises:
            ConfigError: it is not clips that are embedded.
        """
        spec = _clip_input(self.model, self.task, self.clips, self.crops, modality)

        def mean() -> Tensor:
            ask = partial(self.model.embed_batch, modality=modality)
            views = [
                torch.cat(self.model.over_batches(corpus, ask, inputs={modality: view}))
                for view in view_inputs(spec, self.clips, self.crops)
            ]
            return F.normalize(torch.stack(views).mean(dim=0), dim=1)

        return self.model.once(corpus, f"{modality} in {self.clips} x {self.crops} views", mean)


def seen(model: Model, task: str, options: ViewOptions) -> Embedder:
    """The model, or one that looks as often as the options of a task say."""
    once = options.clips == options.crops == 1
    return model if once else SeenSeveralTimes(model, task, options.clips, options.crops)


def _clip_input(model: Model, task: str, clips: int, crops: int, modality: str = "video") -> VideoInput:
    """What the model's encoder of clips is fed.

    Raises:
        ConfigError: it looks at something else.
    """
    spec = model.inputs.get(modality)
    if isinstance(spec, VideoInput):
        return spec
    raise ConfigError(
        f"{task}.clips = {clips}, crops = {crops}: these are views of clips, and method {model.method.name} looks at "
        f"{' and '.join(model.inputs)}: leave them out"
    )
