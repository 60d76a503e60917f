"""Retrieval among three and more modalities: one finds all others together, they find it, and two find the third."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.errors import DataError
from accord.evaluation.metric import Metric, mean_metric
from accord.evaluation.retrieval import KS, rank_queries

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.training.artifact import Model

_BLOCK = 256  # queries scored at a time


def evaluate_joint(model: Model, corpus: Corpus) -> list[Metric]:
    """Recall of every modality from all others and of all others from it, by the method's own joint score.

    Args:
        model: embeds three modalities of the corpus or more.
        corpus: of its rows those count that have all of these modalities; of a text the first caption.

    Returns:
        ``text→image+audio R@1`` and so on; with more than three modalities also from each pair to each other one.

    Raises:
        DataError: fewer than three modalities, or no row that has them all.
    """
    names = [name for name in model.modalities if name in corpus.modalities]
    whole = corpus.having(*names)
    if len(names) < 3 or not len(whole):
        raise DataError(f"{corpus.name}: {len(whole)} rows with {', '.join(names)}; expected three modalities")
    z = {name: model.embed_corpus(whole, name) for name in names}
    groups = whole.groups()
    return [metric for asked, found in _directions(names) for metric in _recalls(model, z, asked, found, groups)]


def _directions(names: list[str]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    for name in names:
        others = tuple(other for other in names if other != name)
        yield (name,), others
        yield others, (name,)
    for pair in combinations(names, 2) if len(names) > 3 else ():
        for name in names:
            if name not in pair:
                yield pair, (name,)


def _recalls(
    model: Model,
    z: Mapping[str, Tensor],
    asked: tuple[str, ...],
    found: tuple[str, ...],
    groups: NDArray[np.str_] | None,
) -> list[Metric]:
    """Recall at each cut-off in one direction; row i is the one right answer to query i."""
    rows = len(z[asked[0]])
    candidates = {name: z[name] for name in found}
    blocks = [
        model.joint({name: z[name][start : start + _BLOCK] for name in asked}, candidates)
        for start in range(0, rows, _BLOCK)
    ]
    ranks = rank_queries(torch.cat(blocks), [[row] for row in range(rows)]).rank
    name = f"{'+'.join(asked)}→{'+'.join(found)}"
    return [
        mean_metric(f"{name} R@{k}", ranks <= k, chance=100 * min(1.0, k / rows), groups=groups) for k in KS if k < rows
    ]
