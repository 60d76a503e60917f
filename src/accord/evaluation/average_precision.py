"""Average precision of things that were found in pictures or clips, as COCO and YouTube-VIS count it.

In every row the surest guess takes the thing of its class that it overlaps most, if it overlaps it enough and nothing
surer has taken it. Guesses of one class are then read from the surest on: precision and recall as they go, over all
rows. Pictures and clips differ only in what an overlap is; a box or mask that moves is compared over all frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack
from torch import Tensor

from accord.evaluation.bootstrap import bootstrap_totals, percentile_interval
from accord.evaluation.metric import Metric
from accord.evaluation.sections import Curves

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.methods.base import Batch

Floats = NDArray[np.float64]

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # IoU that is enough, of COCO
MOST = 100  # guesses of a row that count, the surest
_RECALLS = np.linspace(0, 1, 101)  # at which COCO reads the precision
_NAMES = ("AP", "AP50", "AP75", "AR1", "AR10")


@dataclass(frozen=True)
class Guesses:
    """What was found in one row, beside what is there.

    Args:
        overlap: ``(n, m)`` intersection over union of each guess with each thing.
        scores: ``(n,)``, higher is surer.
        labels: ``(n,)`` class of each guess.
        truth: ``(m,)`` class of each thing.
    """

    overlap: Floats
    scores: Floats
    labels: NDArray[np.int64]
    truth: NDArray[np.int64]


def average_precision(what: str, rows: Sequence[Guesses], groups: NDArray[Any] | None = None) -> list[Metric]:
    """AP over IoU 0.5 to 0.95, AP at 0.5 and at 0.75, and recall with one and ten guesses a row and class, in percent.

    All are means over the classes of which there is a thing (Lin et al. 2014, the COCO evaluation); 95 % intervals by
    drawing rows anew.

    Args:
        what: stands before each name.
        rows: one each picture or clip.
        groups: ``(N,)`` rows of equal value are drawn together.

    Example:
        >>> found = Guesses(np.array([[0.8], [0.1]]), np.array([0.9, 0.3]), np.zeros(2, int), np.zeros(1, int))
        >>> [round(metric.value, 1) for metric in average_precision("box", [found])]
        [70.0, 100.0, 100.0, 70.0, 70.0]
    """
    names = [f"{what} {name}" for name in _NAMES]
    if not any(len(row.truth) for row in rows):
        return [Metric(name, np.nan, None, None, None, 0) for name in names]
    ranked = _Ranked(rows)
    values = ranked.measured(ranked.parts.sum(axis=0)[None])[0]
    samples = bootstrap_totals(ranked.parts, groups=groups, statistic=ranked.measured)
    intervals = [percentile_interval(column) for column in samples.T]
    return [
        Metric(name, float(value), *interval, None, ranked.things)
        for name, value, interval in zip(names, values, intervals, strict=True)
    ]


def precision_curves(found: dict[str, Sequence[Guesses]], title: str) -> list[Curves]:
    """Precision over recall at IoU 0.5, of every way to compare; a mean over classes."""
    lines = {what: _Ranked(rows).curve() for what, rows in found.items() if any(len(row.truth) for row in rows)}
    lead = "How many guesses are right, down to the one that finds so many of the things: mean over classes, IoU 0.5."
    drawn = Curves(lead, lines, x="percent of things found", y="percent of guesses right", title=title)
    return [drawn] if lines else []


def box_overlap(first: Tensor, second: Tensor) -> Floats:
    """Intersection over union ``(n, m)`` of boxes that move: both areas are summed over the frames.

    Args:
        first: ``(n, T, 4)`` x0, y0, x1, y1; of a picture T is 1, and a box that is not there is all 0.
        second: ``(m, T, 4)``.

    Example:
        >>> moving = torch.tensor([[[0.0, 0.0, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0]]])  # there in the first of two frames
        >>> box_overlap(moving, torch.tensor([[[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]])).tolist()
        [[0.5]]
    """
    first, second = first.cpu().double(), second.cpu().double()
    start = torch.maximum(first[:, None, :, :2], second[None, :, :, :2])
    end = torch.minimum(first[:, None, :, 2:], second[None, :, :, 2:])
    both = (end - start).clamp(min=0).prod(dim=3).sum(dim=2)  # (n, m)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(dim=2).sum(dim=1) for boxes in (first, second)]
    return _share(both, areas[0][:, None] + areas[1] - both)


def mask_overlap(first: Tensor, second: Tensor) -> Floats:
    """Intersection over union ``(n, m)`` of masks ``(n, ..., H, W)`` and ``(m, ..., H, W)`` over all their pixels.

    >>> mask_overlap(torch.tensor([[[True, True, False]]]), torch.tensor([[[False, True, False]]])).tolist()
    [[0.5]]
    """
    first, second = first.flatten(1).float(), second.flatten(1).float()
    both = first @ second.T
    return _share(both, first.sum(dim=1)[:, None] + second.sum(dim=1) - both)


def _share(both: Tensor, either: Tensor) -> Floats:
    both, either = both.cpu().double(), either.cpu().double()  # double on the CPU: not every device has it
    return np.asarray((both / either.clamp(min=1e-12)).numpy())


def classes_as(corpus: Corpus, classes: Sequence[str]) -> NDArray[np.int64]:
    """What a method of ``classes`` would call each of the classes of things in a corpus; unknown ones come after."""
    known = list(classes) + [name for name in corpus.instance_classes if name not in classes]
    return np.array([known.index(name) for name in corpus.instance_classes], dtype=np.int64)


def looked_for(batch: Batch, row: int, places: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.int64]]:
    """Which things of a row of a batch are looked for ``(M,)``, and the class of each of those.

    Args:
        batch: has the entries of boxes, instances or tracks.
        row: of the batch.
        places: what the method calls each class (:func:`classes_as`). Where there are classes, a thing without one is
            not looked for; where there are none, all things are of one class.
    """
    there, labels = batch["instance_present"][row], batch["instance_label"][row]
    if not len(places):
        return there, np.zeros(int(there.sum()), dtype=np.int64)
    there = there & (labels >= 0)
    return there, places[labels[there].cpu().numpy()]


class _Ranked:
    """The guesses of all rows, class by class and the surest first, and which of them are right.

    There is at least one thing.
    """

    def __init__(self, rows: Sequence[Guesses]) -> None:
        truth, matched = np.concatenate([row.truth for row in rows]), [_matched(row) for row in rows]
        self.classes, self.things = np.unique(truth), len(truth)
        number = np.repeat(np.arange(len(rows)), [len(row.scores) for row in matched])
        labels, scores, place, right = (
            np.concatenate([getattr(row, name) for row in matched]) for name in ("labels", "scores", "place", "right")
        )
        order = np.lexsort((-scores, labels))
        order = order[np.isin(labels[order], self.classes)]
        self.right, self.place = right[order], place[order]
        self.spans = np.searchsorted(labels[order], [self.classes, self.classes + 1]).T  # (C, 2)
        count = len(order)
        drawn = csr_array((np.ones(count), (number[order], np.arange(count))), shape=(len(rows), count))
        things = np.stack([(row.truth[:, None] == self.classes).sum(axis=0) for row in rows])  # (N, C)
        self.parts = csr_array(hstack([drawn, csr_array(things, dtype=np.float64)]))  # (N, guesses + C)

    def measured(self, totals: Floats) -> Floats:
        """The five numbers ``(R, 5)`` from how often each guess was drawn and how many things of each class."""
        found = np.stack([self._of_class(totals, place) for place in range(len(self.classes))])  # (C, R, 5)
        there = totals[:, -len(self.classes) :].T > 0  # (C, R)
        with np.errstate(invalid="ignore"):  # nothing was drawn: undefined
            return np.asarray(100 * (np.where(there[..., None], found, 0).sum(axis=0) / there.sum(axis=0)[:, None]))

    def curve(self) -> list[tuple[float, float]]:
        """Precision at 101 recalls, in percent, at the first threshold."""
        totals = self.parts.sum(axis=0)[None]
        at_recalls = np.zeros(len(_RECALLS))
        for place in range(len(self.classes)):
            precision, counts = self._stairs(totals, place, 0)
            read = np.repeat(precision[0], counts[0])
            at_recalls[: len(read)] += read / len(self.classes)
        return [(float(100 * at), float(100 * value)) for at, value in zip(_RECALLS, at_recalls, strict=True)]

    def _of_class(self, totals: Floats, place: int) -> Floats:
        """AP, AP50, AP75, AR1 and AR10 ``(R, 5)`` of one class, in [0, 1]."""
        stairs = [self._stairs(totals, place, threshold) for threshold in range(len(THRESHOLDS))]
        of_threshold = [(precision * counts).sum(axis=1) / len(_RECALLS) for precision, counts in stairs]
        start, end = self.spans[place]
        things = np.maximum(totals[:, place - len(self.classes)], 1)
        within = [(self.place[start:end] < most)[:, None] * self.right[start:end] for most in (1, 10)]  # (n, K)
        recalls = [(totals[:, start:end] @ hits).mean(axis=1) / things for hits in within]
        return np.stack([np.mean(of_threshold, axis=0), of_threshold[0], of_threshold[5], *recalls], axis=1)

    def _stairs(self, totals: Floats, place: int, threshold: int) -> tuple[Floats, NDArray[np.int64]]:
        """The best precision from each guess of a class on ``(R, n)``, and how many of the recalls are read there."""
        start, end = self.spans[place]
        weights, things = totals[:, start:end], totals[:, [place - len(self.classes)]]
        right = np.cumsum(weights * self.right[start:end, threshold], axis=1)
        precision = right / np.maximum(np.cumsum(weights, axis=1), 1)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        reached = np.searchsorted(_RECALLS, right / np.maximum(things, 1), side="right")
        return best, np.diff(reached, axis=1, prepend=0)


@dataclass(frozen=True)
class _Matched:
    """The guesses of a row that count, the surest first: class, score, place in its class, right at each threshold."""

    labels: NDArray[np.int64]
    scores: Floats
    place: NDArray[np.int64]
    right: NDArray[np.bool_]


def _matched(row: Guesses) -> _Matched:
    order = np.argsort(-row.scores, kind="stable")[:MOST]
    labels, truth = row.labels[order], row.truth
    free = np.ones((len(THRESHOLDS), len(truth)), dtype=np.bool_)
    right = np.zeros((len(order), len(THRESHOLDS)), dtype=np.bool_)
    place = np.array([(labels[:rank] == label).sum() for rank, label in enumerate(labels)], dtype=np.int64)
    for rank, guess in enumerate(order if len(truth) else ()):
        overlap = np.where(free & (truth == labels[rank]), row.overlap[guess], -1.0)  # (K, m)
        best = overlap.argmax(axis=1)
        right[rank] = overlap[np.arange(len(best)), best] >= THRESHOLDS - 1e-10
        free[right[rank], best[right[rank]]] = False
    return _Matched(labels, row.scores[order], place, right)
