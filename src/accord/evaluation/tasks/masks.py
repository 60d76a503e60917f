"""``masks``: the classes that a method which learns from masks gives to pixels, against the masks of other pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from accord.evaluation.dense import iou_of_counts
from accord.evaluation.metric import Metric, ratio_metric
from accord.evaluation.needs import Can, Rows, Taught
from accord.evaluation.sections import Confusion
from accord.evaluation.task import Options, Task
from accord.methods.abilities import Segments

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.data.recipe import Prepared
    from accord.methods.base import Batch
    from accord.training.model import Model


def run(model: Model, prepared: Prepared, options: Options) -> list[Metric]:
    """Mean IoU of the classes that occur, and the share of pixels that are right."""
    test = _marked(prepared)
    counts = _confusions(model, prepared)  # (N, C, C)
    both, true, found = counts.diagonal(axis1=1, axis2=2), counts.sum(axis=2), counts.sum(axis=1)
    right = np.stack([both.sum(axis=1), true.sum(axis=1)], axis=1)
    groups = test.groups()
    return [
        iou_of_counts("mIoU", both, found, true, groups),
        ratio_metric("pixel accuracy", right, lambda sums: 100 * sums[:, 0] / sums[:, 1], chance=None, groups=groups),
    ]


def shows(model: Model, prepared: Prepared, options: Options) -> list[Confusion]:
    """What is taken for what, in pixels."""
    counts = _confusions(model, prepared).sum(axis=0)
    names = _names(prepared.test, len(counts))
    return [Confusion(names, counts.tolist(), title="Pixels")] if len(names) > 1 else []


def _marked(prepared: Prepared) -> Corpus:
    test = prepared.test.having("image")
    return test.select(np.flatnonzero(test.has_target("mask")))


def _confusions(model: Model, prepared: Prepared) -> NDArray[np.int64]:
    """Pixels ``(N, C, C)`` of each row, of a class and taken for a class; where masks say nothing, none are counted."""
    return model.once(prepared.test, "masks", lambda: _counted(model, _marked(prepared)))


def _counted(model: Model, test: Corpus) -> NDArray[np.int64]:
    able = model.able(Segments)

    def of_batch(batch: Batch) -> NDArray[np.int64]:
        truth = batch["segmentation"]  # (B, H, W)
        found = able.segment(batch, (truth.shape[1], truth.shape[2]))
        count = 1 + int(max(truth.max(), found.max()))
        row = torch.arange(len(truth), device=truth.device)[:, None, None]
        places = ((row * count + truth) * count + found)[truth >= 0]
        return np.asarray(torch.bincount(places, minlength=len(truth) * count**2).view(-1, count, count).cpu())

    parts = model.over_batches(test, of_batch, targets=("mask",))
    count = max([len(test.mask_classes), *(part.shape[1] for part in parts)])
    padded = [np.pad(part, ((0, 0), *[(0, count - part.shape[1])] * 2)) for part in parts]
    return np.concatenate(padded) if padded else np.zeros((0, count, count), dtype=np.int64)


def _names(test: Corpus, count: int) -> tuple[str, ...]:
    named: Sequence[str] = test.mask_classes or ("background",)
    return (*named, *(str(number) for number in range(len(named), count)))


TASK = Task(
    "masks",
    measures="mIoU and pixel accuracy of the classes that a method which learns from masks gives to pixels",
    needs=(Can(Segments), Taught("mask"), Rows("image", "mask")),
    order=16,
    run=run,
    shows=shows,
)
