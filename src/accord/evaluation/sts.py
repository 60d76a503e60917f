"""Semantic textual similarity: how well cosines order pairs of texts as people do, by Spearman's correlation.

Benchmarks of several parts are scored over all pairs at once ("all", Gao et al. 2021, EMNLP, appendix B) or as the mean
over the parts; the two differ by several points, so that a number without its way to count says little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, eye_array
from torch import Tensor

from accord.errors import ShapeError
from accord.evaluation.bootstrap import bootstrap_totals, percentile_interval
from accord.evaluation.embedder import check_finite
from accord.evaluation.metric import Metric
from accord.functional.checks import check_choice, check_same_shape

Floats = NDArray[np.float64]
Aggregate = Literal["all", "mean"]


def sts_evaluate(
    e1: Tensor,
    e2: Tensor,
    gold: ArrayLike,
    subsets: Sequence[str] | None = None,
    aggregate: Aggregate = "all",
    groups: ArrayLike | None = None,
) -> list[Metric]:
    """Spearman's correlation, times 100, of the cosines of pairs with how alike people found them.

    Args:
        e1: ``(N, D)`` of the first texts, any norm.
        e2: ``(N, D)`` of the second texts.
        gold: ``(N,)`` in any unit, higher for texts that are more alike.
        subsets: the part of the benchmark that each pair is of.
        aggregate: over all pairs at once, or the mean over the parts.
        groups: ``(N,)`` pairs of equal value are resampled together.

    Returns:
        ``Spearman``, then that of each part where there are several. Chance is 0.

    Raises:
        ShapeError: not as many pairs as judgements, or fewer than two pairs.
        ValueError: an unknown way to count.
        DataError: embeddings are not finite.

    Example:
        >>> import torch
        >>> texts, others = torch.eye(3), torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 0, 0]])
        >>> [str(metric) for metric in sts_evaluate(texts, others, [5.0, 3.0, 1.0])][0][:14]
        'Spearman 100.0'
    """
    check_choice(("all", "mean"), aggregate=aggregate)
    check_same_shape(e1=e1, e2=e2)
    for name, side in {"e1": e1, "e2": e2}.items():
        check_finite(name, side)
    truth = np.asarray(gold, dtype=np.float64)
    if truth.shape != (len(e1),) or len(truth) < 2 or (subsets is not None and len(subsets) != len(truth)):
        raise ShapeError(f"gold has {len(truth)} judgements of {len(e1)} pairs: expected one each, of two at least")
    cosines = F.cosine_similarity(e1.double(), e2.double()).cpu().numpy().round(7)  # equal texts tie
    names = np.asarray(["" if subset is None else subset for subset in subsets or [""] * len(truth)])
    parts = [names == name for name in np.unique(names)]
    counted = parts if aggregate == "mean" else [np.ones(len(truth), dtype=np.bool_)]
    found = [_metric("Spearman", cosines, truth, counted, groups)]
    if len(parts) > 1:
        found += [_metric(f"Spearman ({name})", cosines, truth, [names == name], groups) for name in np.unique(names)]
    return found


def spearman(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Spearman's correlation of items that count several times each, ties sharing their mean rank.

    Args:
        x: ``(N,)``.
        y: ``(N,)``.
        weights: ``(R, N)`` how often each item counts, in each of R resamples.

    Returns:
        ``(R,)``; NaN where all of a side are equal.

    Example:
        >>> x = np.array([1.0, 2.0, 3.0])
        >>> spearman(x, -x, np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 1.0]]))
        array([-1., -1.])
    """
    left, right = (_ranks(side, weights) for side in (x, y))
    total = weights.sum(axis=1, keepdims=True)
    left -= (weights * left).sum(axis=1, keepdims=True) / total
    right -= (weights * right).sum(axis=1, keepdims=True) / total
    spread = np.sqrt((weights * left**2).sum(axis=1) * (weights * right**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((weights * left * right).sum(axis=1) / spread)


def _ranks(x: Floats, weights: Floats) -> Floats:
    """Mean rank ``(R, N)`` of each item among all, each as often as it counts."""
    values, member = np.unique(x, return_inverse=True)
    of_value = csr_array((np.ones(len(x)), (np.arange(len(x)), member)), shape=(len(x), len(values)))
    counts = np.asarray(weights @ of_value)  # (R, U)
    return np.asarray((np.cumsum(counts, axis=1) - counts / 2)[:, member])


def _metric(name: str, x: Floats, y: Floats, parts: Sequence[NDArray[np.bool_]], groups: Any) -> Metric:
    """The mean over parts, and its interval from resamples of all pairs."""

    def score(weights: Floats) -> Floats:
        return 100 * np.mean([spearman(x[part], y[part], weights[:, part]) for part in parts], axis=0)

    used = np.logical_or.reduce(parts)
    value = float(score(np.ones((1, len(x))))[0])
    samples = bootstrap_totals(csr_array(eye_array(len(x))), groups=groups, statistic=score)
    low, high = (None, None) if np.isnan(samples).all() else percentile_interval(samples)
    return Metric(name, value, low, high, 0.0, int(used.sum()), "")
