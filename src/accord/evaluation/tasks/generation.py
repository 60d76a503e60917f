"""``generation``: whether what a method makes looks, in the eyes of another model, like the rows that were held out.

No figure of the literature is met by it, since those are all seen by one network (Inception, CLIP); it compares methods
that were seen by the same eyes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from pydantic import Field
from torch import Tensor

from accord.data.inputs import VideoInput
from accord.errors import ConfigError
from accord.evaluation.metric import Metric, mean_metric
from accord.evaluation.needs import Can, Makes, Subjects
from accord.evaluation.sections import Example, Item, Picture, Retrieval
from accord.evaluation.task import Options, Task
from accord.functional import frechet_distance
from accord.methods.abilities import Generates

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.data.recipe import Prepared
    from accord.methods.base import Batch
    from accord.training.model import Model

Seen = TypeVar("Seen")
Things = list[list[Image.Image]]  # the frames of each; a picture has one
Eyes = Callable[[list[Image.Image]], Tensor]  # pictures -> vectors (N, D)
CELLS = 8  # a side of what is looked at without an encoder
_SHOWN = 12  # in the report
_TOGETHER = 64  # rows that are looked at together


class GenerationOptions(Options):
    """Options of the task."""

    encoder: str | None = Field(
        None,
        description="run, or bundle such as clip:FOLDER, by whose vectors pictures are compared; none: by the colours "
        "of 8 x 8 cells",
    )
    seed: int = Field(0, ge=0, description="what is random in making things hangs on")


def run(model: Model, prepared: Prepared, options: GenerationOptions) -> list[Metric]:
    """How far the things made lie from the held-out ones, and how well they fit their texts."""
    judge = None if options.encoder is None else _judge(model, options.encoder)
    eyes: Eyes = _colours if judge is None else lambda pictures: judge.embed(images=pictures)
    test, kind = _rows(model, prepared), model.able(Generates).makes
    made = _made(model, test, options.seed, partial(_seen, eyes))  # N of (T, D)
    frames = len(made[0]) if made else 1
    real = _looked_at(test, kind, eyes, frames)
    metrics = [_distance("relative Fréchet distance", made, real)]
    known = prepared.reference.having(kind)
    if len(known):
        drawn = np.random.default_rng(options.seed).permutation(len(known))[: len(test)]
        trained = _looked_at(known.select(np.sort(drawn)), kind, eyes, frames)
        metrics.append(_distance("relative Fréchet distance (training rows)", trained, real))
    if kind == "video":
        metrics += [_steadiness("frame agreement", made), _steadiness("frame agreement (held-out rows)", real)]
    if judge is not None and "text" in judge.modalities and "text" in test.modalities:
        texts = judge.embed_corpus(test, "text")
        metrics += [_fit("text agreement", made, texts), _fit("text agreement (held-out rows)", real, texts)]
    return metrics


def shows(model: Model, prepared: Prepared, options: GenerationOptions) -> list[Retrieval]:
    """Rows, and what is made for them; of a clip the first frame."""
    test = _rows(model, prepared)
    test = test.select(range(min(_SHOWN, len(test))))
    made = _made(model, test, options.seed, lambda things: [Picture.of(thing[0], "made by it") for thing in things])
    examples = [Example(Item(row=row), (Item(picture, text="made"),)) for row, picture in enumerate(made)]
    lead = "Held-out rows, and beside each what the model makes for it."
    return [Retrieval(lead, tuple(examples), title="Made", corpus=test)] if examples else []


def _rows(model: Model, prepared: Prepared) -> Corpus:
    return prepared.test.having(*model.method.subjects, model.able(Generates).makes)


def _judge(model: Model, name: str) -> Model:
    judge = model.beside(name)
    if "image" not in judge.modalities:
        embedded = ", ".join(judge.modalities) or "nothing"
        raise ConfigError(f"generation.encoder = {name!r} embeds {embedded}: name one that embeds image")
    return judge


def _made(model: Model, test: Corpus, seed: int, look: Callable[[Things], Sequence[Seen]]) -> list[Seen]:
    """What is seen of the thing made for each row."""
    from torchvision.transforms.v2.functional import to_pil_image

    able = model.able(Generates)

    def of_batch(batch: Batch) -> Sequence[Seen]:
        first = int(batch["index"][0])  # else the same noise would be drawn for every batch
        made = able.generate(batch, seed=seed + first)[able.makes].float().cpu()  # (B, 3, H, W) or (B, T, 3, H, W)
        return look([[to_pil_image(frame) for frame in thing.view(-1, *thing.shape[-3:])] for thing in made])

    return [thing for part in model.over_batches(test, of_batch) for thing in part]


def _looked_at(corpus: Corpus, kind: str, eyes: Eyes, frames: int) -> list[Tensor]:
    """What is seen of the rows themselves, of as many frames of a clip."""
    fed = {"video": VideoInput(frames=frames)}
    vectors: list[Tensor] = []
    for start in range(0, len(corpus), _TOGETHER):
        rows = range(start, min(start + _TOGETHER, len(corpus)))
        shown = [corpus.sample(row, (kind,), fed)[kind] for row in rows]
        vectors += _seen(eyes, [[thing] if kind == "image" else list(thing) for thing in shown])
    return vectors


def _seen(eyes: Eyes, things: Things) -> Sequence[Tensor]:
    """Vectors ``(T, D)`` of the frames of each thing; a picture has one."""
    return eyes([frame for thing in things for frame in thing]).split([len(thing) for thing in things])


def _colours(pictures: list[Image.Image]) -> Tensor:
    """The mean colours ``(N, D)`` of the cells of the square in the middle, in [0, 1]."""
    small = [ImageOps.fit(picture, (CELLS, CELLS), Image.Resampling.BOX) for picture in pictures]
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in small]).reshape(len(small), -1) / 255)


def _distance(name: str, things: list[Tensor], real: list[Tensor]) -> Metric:
    """The Fréchet distance in percent of how far real ones lie apart (their total variance).

    0 where mean and covariance are the same, 100 of one average thing made again and again.
    """
    if min(len(things), len(real)) < 2:
        return Metric(name, np.nan, None, None, 100.0, len(things))
    made, truth = torch.cat(things).double(), torch.cat(real).double()
    value = 100 * frechet_distance(made, truth) / truth.var(dim=0).sum()
    return Metric(name, float(value), None, None, 100.0, len(things))


def _steadiness(name: str, clips: list[Tensor]) -> Metric:
    """The mean cosine of a frame with the next one, times 100."""
    steady = [F.cosine_similarity(clip[:-1], clip[1:]).mean().item() for clip in clips if len(clip) > 1]
    return replace(mean_metric(name, steady, chance=None), unit="")


def _fit(name: str, things: list[Tensor], texts: Tensor) -> Metric:
    """The mean cosine of a thing's frames with its text, times 100; chance is that with the texts of other rows."""
    cosines = torch.stack([thing.mean(dim=0) for thing in things]) @ texts.T  # (N, N)
    own, others = cosines.diagonal(), max(1, len(cosines) - 1)
    foreign = 100 * float(((cosines.sum(dim=1) - own) / others).mean())
    return replace(mean_metric(name, own, chance=foreign), unit="")


TASK = Task(
    "generation",
    measures="Fréchet distance of what a method makes from held-out rows, in the space of a model that is named; if "
    "that embeds text, agreement with the row's text; of clips, of each frame with the next",
    needs=(Can(Generates), Subjects(), Makes()),
    order=26,
    options=GenerationOptions,
    run=run,
    shows=shows,
)
