"""``events``: whether the steps in which something happens score higher than the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from accord.evaluation.metric import Metric
from accord.evaluation.needs import Can, Rows, Subjects
from accord.evaluation.ranked import curve_points, pr_metric
from accord.evaluation.sections import Curves
from accord.evaluation.task import Options, Task
from accord.functional import snippets_to_frames
from accord.methods.abilities import ScoresMoments, Timeline

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.methods.base import Batch
    from accord.training.model import Model


class EventsOptions(Options):
    """Options of the task."""

    frames: int = Field(16, ge=1, description="parts of a step, each with a truth of its own")
    crops: bool = Field(False, description="average the scores of the rows of a group: crops of one recording")


@dataclass(frozen=True)
class Frames:
    """The frames of all rows, one after the other.

    Args:
        truth: ``(F,)`` bool, whether something happens.
        scores: ``(F,)`` of all streams together.
        streams: modality -> ``(F,)``.
        row: ``(F,)`` which recording each is of.
    """

    truth: NDArray[np.bool_]
    scores: NDArray[np.float64]
    streams: dict[str, NDArray[np.float64]]
    row: NDArray[np.int64]


def run(model: Model, prepared: Prepared, options: EventsOptions) -> list[Metric]:
    """Average precision over frames, of all streams together and of each by itself; chance is the share of events."""
    found, groups = _found(model, prepared, options)
    parts = {"AP": found.scores, **{f"AP of {name}": scores for name, scores in found.streams.items()}}
    return [pr_metric(name, found.truth, scores, groups) for name, scores in parts.items()]


def shows(model: Model, prepared: Prepared, options: EventsOptions) -> list[Curves]:
    """Precision over recall."""
    found, _ = _found(model, prepared, options)
    if not found.truth.any():
        return []
    parts = {"all streams": found.scores, **found.streams}
    lines = {name: curve_points(found.truth, scores) for name, scores in parts.items()}
    lead = "How much of what is called an event is one, down to the score that finds so much of the events."
    return [Curves(lead, lines, x="percent of events found", y="percent right", title="When something happens")]


def _found(model: Model, prepared: Prepared, options: EventsOptions) -> tuple[Frames, NDArray[Any]]:
    """All frames, and the group of each: recordings are resampled as wholes, those of one group together."""
    name = f"events, {options.frames}, {options.crops}"
    return model.once(prepared.test, name, lambda: _asked(model, prepared, options))


def _asked(model: Model, prepared: Prepared, options: EventsOptions) -> tuple[Frames, NDArray[Any]]:
    test = prepared.test.having(*model.method.subjects)
    test = test.select(np.flatnonzero(test.has_target("moments")))
    able = model.able(ScoresMoments)

    def of_batch(batch: Batch) -> list[Frames]:
        answers = able.score_moments(batch)
        truths = zip(batch["moments"], batch["moment_present"], batch["index"].tolist(), strict=True)
        return [
            _frames(answer, moments[present].cpu(), row, options.frames)
            for answer, (moments, present, row) in zip(answers, truths, strict=True)
        ]

    rows = [row for part in model.over_batches(test, of_batch, targets=("moments",)) for row in part]
    groups = test.groups()
    if options.crops and groups is not None:
        rows = [_mean([row for row in rows if groups[row.row[0]] == name]) for name in dict.fromkeys(groups)]
    if not rows:
        return Frames(np.zeros(0, bool), np.zeros(0), {}, np.zeros(0, int)), np.zeros(0)
    found = _joined(rows)
    return found, found.row if groups is None else groups[found.row]


def _frames(answer: Timeline, moments: Tensor, row: int, parts: int) -> Frames:
    """The frames of one row: its steps cut into equal parts, each true where its middle lies in a moment."""
    start, end = answer.spans.cpu().double().unbind(dim=1)
    middle = start[:, None] + (end - start)[:, None] * (torch.arange(parts) + 0.5) / parts  # (T, parts)
    middle = middle.flatten()[:, None]
    truth = ((middle >= moments[:, 0]) & (middle < moments[:, 1])).any(dim=1)

    def each(scores: Tensor) -> NDArray[np.float64]:
        return np.asarray(snippets_to_frames(scores.cpu().double(), parts).numpy())

    streams = {name: each(scores) for name, scores in answer.streams.items()}
    return Frames(truth.numpy(), each(answer.scores), streams, np.full(len(truth), row))


def _mean(crops: list[Frames]) -> Frames:
    """One recording of several crops: their mean probabilities, over the frames that all have."""
    count = min(len(crop.truth) for crop in crops)

    def mean(values: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.asarray(np.mean([one[:count] for one in values], axis=0))

    first = crops[0]
    streams = {name: mean([crop.streams[name] for crop in crops]) for name in first.streams}
    return Frames(first.truth[:count], mean([crop.scores for crop in crops]), streams, first.row[:count])


def _joined(rows: list[Frames]) -> Frames:
    streams = {name: np.concatenate([row.streams[name] for row in rows]) for name in rows[0].streams}
    truth, scores, row = (np.concatenate([getattr(one, part) for one in rows]) for part in ("truth", "scores", "row"))
    return Frames(truth, scores, streams, row)


TASK = Task(
    "events",
    measures="area under precision and recall of the frames in which something happens, of all streams and of each",
    needs=(Can(ScoresMoments), Subjects(), Rows("moments", "duration")),
    order=25,
    options=EventsOptions,
    run=run,
    shows=shows,
)
