"""Open-set classification: rows of none of the classes are rejected by their confidence (CAPro, inference)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from accord.errors import DataError
from accord.evaluation.embedder import check_finite
from accord.evaluation.metric import Metric
from accord.evaluation.ranking import area_metric, auroc


@dataclass(frozen=True)
class OpenSet:
    """Rejection of unknown classes at every threshold on the largest softmax probability.

    Args:
        thresholds: ``(T,)``; a row whose largest probability is below is called unknown.
        known: ``(T,)`` percent of rows of known classes that are accepted and classified right.
        unknown: ``(T,)`` percent of rows of no known class that are rejected.
        separation: AUROC of the largest probability between known and unknown rows.
    """

    thresholds: NDArray[np.float64]
    known: NDArray[np.float64]
    unknown: NDArray[np.float64]
    separation: Metric

    def at(self, threshold: float) -> tuple[float, float]:
        """Known accuracy and unknown rejection, in percent, at the nearest swept threshold."""
        position = int(np.abs(self.thresholds - threshold).argmin())
        return float(self.known[position]), float(self.unknown[position])


def open_set_sweep(logits: Tensor, labels: ArrayLike, groups: ArrayLike | None = None) -> OpenSet:
    """Sweep 100 rejection thresholds from 0.01 to 0.99.

    Args:
        logits: ``(N, C)``.
        labels: ``(N,)`` true classes, -1 for rows of none of the classes.
        groups: ``(N,)`` rows resampled together.

    Raises:
        DataError: there are no unknown rows, or no known ones.

    Example:
        >>> import torch
        >>> sweep = open_set_sweep(torch.tensor([[4.0, 0.0], [0.0, 0.1]]), [0, -1])
        >>> sweep.at(0.75), sweep.separation.value
        ((100.0, 100.0), 100.0)
    """
    truth = np.asarray(labels, dtype=np.int64)
    outside = truth < 0
    if outside.all() or not outside.any():
        raise DataError(
            f"open-set sweep: {int(outside.sum())} of {len(truth)} rows belong to no class; "
            "it needs rows of known classes and rows labelled -1"
        )
    check_finite("logits", logits)
    top = logits.softmax(dim=1).max(dim=1)
    confidence, predicted = top.values.cpu().numpy(), top.indices.cpu().numpy()
    thresholds = np.linspace(0.01, 0.99, 100)
    accepted = confidence >= thresholds[:, None]  # (T, N)
    right = (predicted == truth) & ~outside
    return OpenSet(
        thresholds=thresholds,
        known=100 * (accepted & right)[:, ~outside].mean(axis=1),
        unknown=100 * (~accepted)[:, outside].mean(axis=1),
        separation=area_metric("known against unknown AUROC", auroc, confidence, ~outside, chance=50.0, groups=groups),
    )
