"""Clips looked at several times: at other moments and at other places of the frame, whose answers are summed.

The protocol of video recognition, 4 clips × 3 crops (Ni et al. 2022, ECCV; Tu et al. 2023, ICCV).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from accord.data.inputs import VideoInput
from accord.errors import ConfigError
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
    able, spec = model.able(Classifies), model.inputs.get("video")
    if not isinstance(spec, VideoInput):
        read = " and ".join(model.inputs)
        raise ConfigError(
            f"classification.clips = {clips}, crops = {crops}: these are views of clips, and method "
            f"{model.method.name} looks at {read}: leave them out"
        )
    views = [
        torch.cat(model.over_batches(corpus, lambda batch: able.classify(batch).float().cpu(), inputs={"video": view}))
        for view in view_inputs(spec, clips, crops)
    ]
    return multi_view_predict(torch.stack(views))
