"""``moments``: whether the spans that a method finds for a sentence are those that people marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from accord.evaluation.metric import Metric, mean_metric
from accord.evaluation.needs import Can, Rows, Subjects
from accord.evaluation.sections import Curves
from accord.evaluation.task import Options, Task
from accord.functional import temporal_iou
from accord.methods.abilities import FindsMoments

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.methods.base import Batch
    from accord.training.model import Model


class MomentsOptions(Options):
    """Options of the task."""

    at: tuple[int, ...] = Field(
        (1, 5), min_length=1, description="how many of the likeliest spans may hold the right one"
    )
    thresholds: tuple[float, ...] = Field((0.3, 0.5, 0.7), min_length=1, description="IoU from which a span is right")


def run(model: Model, prepared: Prepared, options: MomentsOptions) -> list[Metric]:
    """Recalls, and how far the likeliest span overlaps."""
    iou, groups = _overlaps(model, prepared, max(options.at))
    found = [
        mean_metric(f"R@{at} IoU {least:g}", iou[:, :at].max(axis=1) >= least, chance=None, groups=groups)
        for at in options.at
        for least in options.thresholds
    ]
    return [*found, mean_metric("mean IoU", iou[:, 0], chance=None, groups=groups)]


def shows(model: Model, prepared: Prepared, options: MomentsOptions) -> list[Curves]:
    """Recall over the overlap that is asked for."""
    iou, _ = _overlaps(model, prepared, max(options.at))
    if not len(iou):
        return []
    asked = np.arange(0.05, 1.0, 0.05)
    lines = {
        f"among the first {at}" if at > 1 else "the likeliest": [
            (float(least), 100 * float((iou[:, :at].max(axis=1) >= least).mean())) for least in asked
        ]
        for at in options.at
    }
    lead = "Sentences whose moment is found, over the least IoU that counts as found."
    return [Curves(lead, lines, x="IoU", y="percent of sentences", title="Moments")]


def _overlaps(model: Model, prepared: Prepared, most: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """IoU ``(n, most)`` of the spans found for each sentence with its moment, and the group of its row ``(n,)``.

    Where fewer spans are found, the others are 0.
    """
    return model.once(prepared.test, f"moments, {most}", lambda: _asked(model, prepared, most))


def _asked(model: Model, prepared: Prepared, most: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    test = prepared.test.having(*model.method.subjects)
    test = test.select(np.flatnonzero(test.has_target("moments")))
    able = model.able(FindsMoments)

    def of_batch(batch: Batch) -> tuple[Tensor, Tensor]:
        there = batch["moment_present"]  # (B, S)
        answers = able.find_moments(batch)
        found = torch.zeros(int(there.sum()), most)
        row = 0
        for answer, moments, present in zip(answers, batch["moments"], there, strict=True):
            iou = temporal_iou(answer.spans[:, :most], moments[present][:, None])[..., 0]  # (S, at most `most`)
            found[row : row + len(iou), : iou.shape[1]] = iou.cpu()
            row += len(iou)
        return found, batch["index"][there.nonzero()[:, 0]].cpu()

    parts = model.over_batches(test, of_batch, targets=("moments",))
    if not parts:
        return np.zeros((0, most), dtype=np.float32), np.zeros(0)
    overlaps, rows = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    groups = test.groups()
    return overlaps, rows if groups is None else groups[rows]


TASK = Task(
    "moments",
    measures="recall of the moment of each sentence among the likeliest spans, at an IoU; mean IoU of the likeliest",
    needs=(Can(FindsMoments), Subjects(), Rows("moments", "moment_text")),
    order=24,
    options=MomentsOptions,
    run=run,
    shows=shows,
)
