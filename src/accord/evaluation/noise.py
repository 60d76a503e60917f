"""Scores of a method's judgement of noisy pairs or labels against the hidden truth.

A row is *wrong* when its given label is not the true one; the truth -1 says that the row belongs to none of
the classes (out of set). The truth is used here only, never in training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accord.errors import ShapeError
from accord.evaluation.metric import Metric, mean_metric
from accord.evaluation.ranking import area_metric, auroc

if TYPE_CHECKING:
    from accord.methods.abilities import Verdicts

Flags = NDArray[np.bool_]


def noise_metrics(
    verdicts: Verdicts, given: ArrayLike, truth: ArrayLike, groups: ArrayLike | None = None
) -> list[Metric]:
    """What a method got right about the labels of its training rows.

    Args:
        verdicts: the method's judgement of N rows.
        given: ``(N,)`` class indices it was trained with.
        truth: ``(N,)`` true class indices, -1 for none of the classes.
        groups: ``(N,)`` rows resampled together.

    Returns:
        Purity of the trusted and kept rows; precision and recall of "judged noisy"; share of the wrong labels
        found and corrected, of the out-of-set rows dropped, and of the right labels harmed; AUROC of the
        score. The chance level is that of judging as many rows at random. Lines without a row to count are left out.

    Raises:
        ShapeError: the lengths differ.

    Example:
        >>> import torch
        >>> from accord.methods.abilities import Verdicts
        >>> judged = Verdicts(kept=torch.tensor([True, True, False]), score=torch.tensor([0.9, 0.8, 0.1]),
        ...                   label=torch.tensor([0, 1, 0]))
        >>> for metric in noise_metrics(judged, given=[0, 0, 0], truth=[0, 1, -1])[:4]:
        ...     print(metric.name, metric.value)
        purity of kept rows 100.0
        judged noisy: precision 100.0
        judged noisy: recall 100.0
        wrong labels found 100.0
    """
    before, true = np.asarray(given, dtype=np.int64), np.asarray(truth, dtype=np.int64)
    kept = _flags(verdicts.kept, len(before))
    after = before if verdicts.label is None else np.asarray(verdicts.label, dtype=np.int64)
    if not len(before) == len(true) == len(after):
        raise ShapeError(f"{len(before)} given labels, {len(true)} true, {len(after)} judged; expected equal lengths")
    wrong, fixable = before != true, (before != true) & (true >= 0)
    judged = ~kept | (after != before)
    right_after = after == true
    clean, flagged = 100 * (~wrong).mean(), 100 * judged.mean()
    lines: list[tuple[str, Flags, Flags, float | None]] = [
        ("purity of kept rows", kept, right_after, clean),
        ("judged noisy: precision", judged, wrong, 100 - clean),
        ("judged noisy: recall", wrong, judged, flagged),
        ("wrong labels found", fixable, judged, flagged),
        ("wrong labels corrected", fixable, right_after & kept, None),
        ("out-of-set rows dropped", true < 0, ~kept, 100 * (~kept).mean()),
        ("right labels harmed", ~wrong, judged, flagged),
    ]
    if verdicts.trusted is not None:
        trusted = _flags(verdicts.trusted, len(before))
        lines.insert(0, ("purity of trusted rows", trusted, ~wrong, clean))
    metrics = [_share(name, among, hit, chance, groups) for name, among, hit, chance in lines if among.any()]
    return metrics + _separation(verdicts.score, ~wrong, groups)


def pair_noise_metrics(verdicts: Verdicts, wrong: ArrayLike, groups: ArrayLike | None = None) -> list[Metric]:
    """:func:`noise_metrics` for pairs without classes, for example shuffled captions.

    Args:
        verdicts: the method's judgement of N pairs.
        wrong: ``(N,)`` bool, the pair does not belong together.
        groups: ``(N,)`` rows resampled together.

    Example:
        >>> import torch
        >>> from accord.methods.abilities import Verdicts
        >>> judged = Verdicts(kept=torch.tensor([True, False]), score=torch.tensor([0.9, 0.1]))
        >>> [metric.name for metric in pair_noise_metrics(judged, [False, True])][:3]
        ['purity of kept rows', 'judged noisy: precision', 'judged noisy: recall']
    """
    mismatched = np.asarray(wrong, dtype=bool)
    metrics = noise_metrics(verdicts, np.zeros(len(mismatched)), mismatched.astype(np.int64), groups)
    return [metric for metric in metrics if not metric.name.startswith("wrong labels")]


def _share(name: str, among: Flags, hit: Flags, chance: float | None, groups: Any) -> Metric:
    """Share of ``hit`` within ``among``."""
    mine = None if groups is None else np.asarray(groups)[among]
    return mean_metric(name, hit[among], chance=None if chance is None else float(chance), groups=mine)


def _separation(score: Any, right: Flags, groups: Any) -> list[Metric]:
    """How well the score ranks right rows above wrong ones; needs both."""
    values = np.asarray(score, dtype=np.float64)
    usable = np.isfinite(values)
    if right[usable].all() or not right[usable].any():
        return []
    mine = None if groups is None else np.asarray(groups)[usable]
    return [area_metric("score AUROC", auroc, values[usable], right[usable], chance=50.0, groups=mine)]


def _flags(values: Any, count: int) -> Flags:
    flags = np.asarray(values, dtype=bool)
    if flags.shape != (count,):
        raise ShapeError(f"verdicts: shape {flags.shape} for {count} rows; expected one flag per row")
    return flags
