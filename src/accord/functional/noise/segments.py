"""Pseudo-labels in time: confident windows of a sequence become labelled segments.

CiCo (Cheng et al. 2023, CVPR) labels the windows of sentences by a classifier of single signs, which was trained on
other data. Windows that overlap say the same: near ones are united, and those somewhat farther are suppressed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from accord.functional.checks import check_range, check_shape, check_share


@dataclass(frozen=True)
class Segment:
    """A part of a sequence with a label.

    Args:
        label: class index.
        start: its first step.
        end: the step after its last.
        score: probability of the class in its best window.
    """

    label: int
    start: int
    end: int
    score: float


def temporal_pseudo_labels(
    probabilities: Tensor,
    starts: Tensor | Sequence[int],
    window: int = 16,
    threshold: float = 0.6,
    merge: int = 3,
    suppress: int = 24,
) -> list[Segment]:
    """The segments of one sequence that a classifier of windows is sure of, the most confident first.

    Only windows whose best class has more than ``threshold`` count. Those of one class come by falling probability:
    the first opens a segment; one that starts at most ``merge`` steps from the windows of a segment is united with the
    nearest such; one that starts at most ``suppress`` steps from it is dropped; any other opens a segment.

    Args:
        probabilities: ``(W, C)`` of the classes, for each window.
        starts: ``(W,)`` first step of each window.
        window: steps of a window.
        threshold: probability that is not enough.
        merge: see above.
        suppress: likewise, at least ``merge``.

    Raises:
        ShapeError: not one start a window.
        ValueError: a threshold outside [0, 1], distances that are negative or the wrong way round.

    Example:
        >>> import torch
        >>> sure = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.5, 0.5], [0.8, 0.2], [0.1, 0.9]])
        >>> for found in temporal_pseudo_labels(sure, [0, 2, 9, 20, 60]):
        ...     print(found.label, found.start, found.end)
        0 0 18
        1 60 76
    """
    check_shape((None, None), probabilities=probabilities)
    check_shape((len(probabilities),), starts=_as_tensor(starts, probabilities))
    check_share(threshold=threshold)
    check_range(0, max(merge, 0), merge=merge)
    check_range(merge, max(merge, suppress), suppress=suppress)
    best = probabilities.detach().max(dim=1)
    scores, labels = best.values.tolist(), best.indices.tolist()
    places = _as_tensor(starts, probabilities).tolist()
    sure = [number for number, score in enumerate(scores) if score > threshold]
    spans: dict[int, list[_Span]] = {}
    for number in sorted(sure, key=lambda number: -scores[number]):
        _place(spans.setdefault(labels[number], []), int(places[number]), scores[number], merge, suppress)
    found = [
        Segment(label, span.first, span.last + window, span.score) for label, those in spans.items() for span in those
    ]
    return sorted(found, key=lambda segment: (-segment.score, segment.start))


@dataclass
class _Span:
    """The first and the last start of the windows of a segment."""

    first: int
    last: int
    score: float

    def distance(self, start: int) -> int:
        return max(self.first - start, start - self.last, 0)


def _place(spans: list[_Span], start: int, score: float, merge: int, suppress: int) -> None:
    """Unite a window with the segment that it is near to, drop it, or open a segment."""
    near = min(spans, key=lambda span: span.distance(start), default=None)
    if near is None or near.distance(start) > suppress:
        spans.append(_Span(start, start, score))
    elif near.distance(start) <= merge:
        near.first, near.last = min(near.first, start), max(near.last, start)


def _as_tensor(starts: Tensor | Sequence[int], like: Tensor) -> Tensor:
    return starts if isinstance(starts, Tensor) else like.new_tensor(list(starts))
