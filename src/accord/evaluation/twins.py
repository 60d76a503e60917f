"""Pairs of rows that are nearly alike: whether each caption picks its own row of the two, and each row its caption.

That is how MMVP asks what a model sees (Tong et al. 2024, CVPR, "Eyes Wide Shut?"), and in both directions Winoground
(Thrush et al. 2022, CVPR). Equal scores pick nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.evaluation.metric import Metric, mean_metric

CHANCE = {"text": 25.0, "rows": 25.0, "both": 100 / 6}  # percent, of scores that say nothing
_EITHER = 50.0


def pairs_of(groups: NDArray[np.str_]) -> NDArray[np.int64]:
    """Positions ``(P, 2)`` of the two rows of each group that has two, in the order of the first.

    >>> pairs_of(np.array(["a", "b", "a", "c", "b"])).tolist()
    [[0, 2], [1, 4]]
    """
    order = np.argsort(groups, kind="stable")
    _, start, count = np.unique(groups[order], return_index=True, return_counts=True)
    first = start[count == 2]
    pairs = np.stack([order[first], order[first + 1]], axis=1)
    return pairs[np.argsort(pairs[:, 0])]


def twin_metrics(rows: Tensor, texts: Tensor, modality: str, kinds: Sequence[str | None] = ()) -> list[Metric]:
    """Shares of pairs that are told apart.

    Args:
        rows: ``(P, 2, D)`` unit norm: the two of each pair, such as pictures.
        texts: ``(P, 2, D)`` their captions.
        modality: what rows are, for the names of the metrics.
        kinds: for each pair what its two differ in, or None; each is measured by itself as well.

    Returns:
        The share of pairs of which both captions pick their row, of which both rows pick their caption, of which all
        four do, and of captions that pick their row.

    Example:
        >>> rows = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> [metric.value for metric in twin_metrics(rows, rows, "image")]
        [100.0, 100.0, 100.0, 100.0]
    """
    scores = torch.einsum("pad,pbd->pab", texts, rows)  # captions by rows
    own, other = scores.diagonal(dim1=1, dim2=2), scores.flip(2).diagonal(dim1=1, dim2=2)  # of each caption
    by_text = own > other
    by_row = own > scores.flip(1).diagonal(dim1=1, dim2=2)
    found = by_text.all(dim=1).numpy()
    metrics = [
        mean_metric(f"pairs, text→{modality}", found, chance=CHANCE["text"]),
        mean_metric(f"pairs, {modality}→text", by_row.all(dim=1).numpy(), chance=CHANCE["rows"]),
        mean_metric("pairs, both ways", (by_text & by_row).all(dim=1).numpy(), chance=CHANCE["both"]),
        mean_metric(
            f"captions, text→{modality}",
            by_text.flatten().numpy(),
            chance=_EITHER,
            groups=np.repeat(np.arange(len(found)), 2),
        ),
    ]
    for kind in dict.fromkeys(kind for kind in kinds if kind is not None):
        of_it = np.array([one == kind for one in kinds])
        metrics.append(mean_metric(f"pairs, text→{modality}: {kind}", found[of_it], chance=CHANCE["text"]))
    return metrics
