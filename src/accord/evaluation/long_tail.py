"""Multi-label precision by how frequent a label is in training: the head, the tail, and labels nobody has shown.

As CLESS is measured (Rethmeier and Augenstein 2020): one average over all labels hides that rare ones are missed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from accord.errors import ShapeError
from accord.evaluation.embedder import check_finite
from accord.evaluation.metric import Metric, mean_metric
from accord.evaluation.ranking import area_metric, average_precision

Floats = NDArray[np.float64]


def bucketed_average_precision(
    scores: Tensor, target: ArrayLike, counts: ArrayLike, buckets: int = 5, groups: ArrayLike | None = None
) -> list[Metric]:
    """Average precision of the labels of each bucket, the frequent ones first; in percent.

    Labels with training rows are divided into buckets of as many labels each, by how many rows; those without make a
    bucket of their own. Labels that no scored row has are left out.

    Args:
        scores: ``(N, C)`` higher is likelier.
        target: ``(N, C)`` multi-hot truth.
        counts: ``(C,)`` training rows of each label.
        buckets: how many.
        groups: ``(N,)`` rows resampled together.

    Returns:
        For each bucket ``micro AP``, over all its pairs of row and label, whose interval is over rows, and ``macro
        AP``, the mean over its labels, whose interval is over labels. Chance is the share of true pairs.

    Raises:
        ShapeError: shapes that do not fit, no label with a positive row, or fewer than one bucket.
        DataError: scores are not finite.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.2, 0.1], [0.1, 0.8, 0.7]])
        >>> found = bucketed_average_precision(scores, [[1, 0, 0], [0, 1, 1]], [9, 1, 0], buckets=2)
        >>> [metric.name for metric in found if metric.name.startswith("macro")]
        ['macro AP, head (1)', 'macro AP, tail (2)', 'macro AP, unseen']
    """
    truth, frequency = np.asarray(target).astype(bool), np.asarray(counts)
    if scores.ndim != 2 or truth.shape != tuple(scores.shape) or frequency.shape != truth.shape[1:]:
        raise ShapeError(
            f"scores: shape {tuple(scores.shape)}, target: {truth.shape}, counts: {frequency.shape}; expected (N, C) "
            "for the first two and (C,) for the last"
        )
    if buckets < 1 or not truth.any():
        raise ShapeError(
            f"buckets = {buckets}, rows with a label: {int(truth.any(axis=1).sum())}; expected some of both"
        )
    check_finite("scores", scores)
    values, found = scores.detach().double().cpu().numpy(), []
    for name, labels in _buckets(frequency, np.asarray(truth.any(axis=0)), buckets):
        found += _of_bucket(name, values[:, labels], truth[:, labels], groups)
    return found


def label_precisions(scores: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Average precision ``(C,)`` of each label in [0, 1]; NaN without a positive row, equal scores are one threshold.

    >>> label_precisions(np.array([[0.9], [0.8], [0.1]]), np.array([[True], [False], [True]])).round(3)
    array([0.833])
    """
    found = []
    for column, positive in zip(scores.T, truth.T, strict=True):
        order = np.argsort(-column, kind="stable")
        last = np.flatnonzero(np.diff(column[order], append=-np.inf))  # of each run of equal scores
        hits = np.cumsum(positive[order])[last]
        found.append(average_precision(hits[None].astype(float), (last + 1 - hits)[None].astype(float))[0])
    return np.array(found)


def _buckets(frequency: NDArray[np.int64], there: NDArray[np.bool_], count: int) -> list[tuple[str, NDArray[np.int64]]]:
    """Names and labels of the buckets that are not empty."""
    seen = np.flatnonzero(there & (frequency > 0))
    ranked = seen[np.argsort(-frequency[seen], kind="stable")]
    names = [f"{place}" for place in range(1, count + 1)]
    if count > 1:
        names = [f"head ({names[0]})", *names[1:-1], f"tail ({names[-1]})"]
    parts = [*zip(names, np.array_split(ranked, count), strict=True)]
    return [(name, part) for name, part in [*parts, ("unseen", np.flatnonzero(there & (frequency == 0)))] if len(part)]


def _of_bucket(name: str, scores: Floats, truth: NDArray[np.bool_], groups: ArrayLike | None) -> list[Metric]:
    chance = float(100 * truth.mean())
    micro = area_metric(
        f"micro AP, {name}",
        average_precision,
        scores.ravel(),
        truth.ravel(),
        chance=chance,
        items=np.repeat(np.arange(len(truth)), truth.shape[1]),
        groups=groups,
    )
    return [micro, mean_metric(f"macro AP, {name}", label_precisions(scores, truth), chance=chance)]
