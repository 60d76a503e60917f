"""Multi-label metrics as CAPro's code computes them (Qin et al. 2023), under the paper's names.

They differ from the usual pooled ones: ``C-`` averages over classes, ``O-`` averages over *samples*, and ``mAP`` is
the *micro* average precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from accord.errors import ShapeError
from accord.evaluation.embedder import check_finite
from accord.evaluation.metric import Metric, ratio_metric
from accord.evaluation.ranking import area_metric, average_precision

_EPSILON = 1e-4  # in the code's denominators


def multilabel_metrics(scores: Tensor, target: ArrayLike, k: int = 3, groups: ArrayLike | None = None) -> list[Metric]:
    """In percent: C-P, C-R, C-F1, O-P, O-R, O-F1 at the top k, and mAP.

    Args:
        scores: ``(N, C)`` probabilities or logits; the k highest of a row are its predictions.
        target: ``(N, C)`` multi-hot truth.
        k: predictions a row, at most C.
        groups: ``(N,)`` rows resampled together.

    Returns:
        Seven metrics in that order. Chance is what k random classes a row and a random order would give.

    Raises:
        ShapeError: shapes differ or k is out of range.
        DataError: scores are not finite.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
        >>> metrics = multilabel_metrics(scores, [[1, 0], [0, 1]], k=1)
        >>> [f"{metric.name} {metric.value:.0f}" for metric in metrics]
        ['C-P 100', 'C-R 100', 'C-F1 100', 'O-P 100', 'O-R 100', 'O-F1 100', 'mAP 100']
    """
    truth = np.asarray(target).astype(bool)
    if scores.ndim != 2 or truth.shape != tuple(scores.shape):
        raise ShapeError(f"scores: shape {tuple(scores.shape)}, target: {truth.shape}; expected (N, C) for both")
    classes = truth.shape[1]
    if not 1 <= k <= classes:
        raise ShapeError(f"k = {k}: expected 1 to {classes}, the number of classes")
    check_finite("scores", scores)
    top = scores.argsort(dim=1, descending=True, stable=True)[:, :k].cpu().numpy()
    chosen = np.zeros_like(truth)
    np.put_along_axis(chosen, top, True, axis=1)
    prevalence, share = 100 * truth.mean(), 100 * k / classes
    chances = (prevalence, share, 2 * prevalence * share / max(prevalence + share, 1e-12))
    by_class = np.concatenate([chosen & truth, chosen, truth], axis=1)  # (N, 3C)
    by_sample = _sample_parts(chosen, truth)
    return [
        *_triple("C", by_class, _class_wise, chances, groups),
        *_triple("O", by_sample, _sample_wise, chances, groups),
        _micro_map(scores, truth, groups),
    ]


def _triple(letter: str, parts: Any, pair: Any, chances: Sequence[float], groups: Any) -> list[Metric]:
    """Precision, recall and their F1 from one function ``totals -> (precision, recall)``."""

    def f1(totals: Any) -> Any:
        precision, recall = pair(totals)
        return 2 * precision * recall / np.maximum(precision + recall, 1e-12)

    ratios = (lambda totals: pair(totals)[0], lambda totals: pair(totals)[1], f1)
    return [
        ratio_metric(f"{letter}-{name}", parts, ratio, chance=chance, groups=groups)
        for name, ratio, chance in zip(("P", "R", "F1"), ratios, chances, strict=True)
    ]


def _class_wise(totals: NDArray[np.float64]) -> tuple[Any, Any]:
    hits, chosen, true = np.split(totals, 3, axis=1)
    precision, recall = hits / (chosen + _EPSILON), hits / (true + _EPSILON)
    return 100 * precision.mean(axis=1), 100 * recall.mean(axis=1)


def _sample_parts(chosen: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    hits = (chosen & truth).sum(axis=1)
    precision = hits / (chosen.sum(axis=1) + _EPSILON)
    recall = hits / (truth.sum(axis=1) + _EPSILON)
    return np.stack([precision, recall, np.ones(len(hits))], axis=1)  # (N, 3)


def _sample_wise(totals: NDArray[np.float64]) -> tuple[Any, Any]:
    return 100 * totals[:, 0] / totals[:, 2], 100 * totals[:, 1] / totals[:, 2]


def _micro_map(scores: Tensor, truth: NDArray[np.bool_], groups: ArrayLike | None) -> Metric:
    return area_metric(
        "mAP",
        average_precision,
        scores.detach().cpu().numpy().ravel(),
        truth.ravel(),
        chance=float(100 * truth.mean()),
        items=np.repeat(np.arange(len(truth)), truth.shape[1]),
        groups=groups,
    )
