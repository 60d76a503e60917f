"""Retrieval among three and more modalities: one finds all others together, they find it, and two find the third."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.errors import ConfigError, DataError
from accord.evaluation.metric import Metric, mean_metric
from accord.evaluation.retrieval import KS, Ranks, Rescore, rank_queries, rerank_queries
from accord.methods.abilities import RescoresTuples

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.data.loading.tokens import TokenRows
    from accord.methods.abilities import RescoresTuples
from accord.training.model import Model

RERANKED = " (re-ranked)"
_BLOCK = 256  # queries scored at a time


def evaluate_joint(model: Model, corpus: Corpus, candidates: int = 0) -> list[Metric]:
    """Recall of every modality from all others and of all others from it, by the method's own joint score.

    Args:
        model: embeds three modalities of the corpus or more.
        corpus: of its rows those count that have all of these modalities; of a text the first caption.
        candidates: for a model with a matching head, how many items it scores for each query; each is a pass over the
            tokens of a whole tuple.

    Returns:
        ``text→image+audio R@1`` and so on; with more than three modalities also from each pair to each other one. Of a
        model with a matching head then ``… (re-ranked)``, between its anchor and all others.

    Raises:
        ConfigError: a negative number of candidates.
        DataError: fewer than three modalities, or no row that has them all.
    """
    if candidates < 0:
        raise ConfigError(f"candidates = {candidates}: expected at least 0")
    names = [name for name in model.modalities if name in corpus.modalities]
    whole = corpus.having(*names)
    if len(names) < 3 or not len(whole):
        raise DataError(f"{corpus.name}: {len(whole)} rows with {', '.join(names)}; expected three modalities")
    second = RescoresTuples.of(model.method) if candidates and set(names) == set(model.modalities) else None
    head = second.anchor if second else None
    tokens = {name: model.tokens_corpus(whole, name) for name in names} if head else {}
    z = {name: tokens[name].pooled if tokens else model.embed_corpus(whole, name) for name in names}
    groups, metrics = whole.groups(), list[Metric]()
    for asked, found in _directions(names):
        scores, name = _scores(model, z, asked, found), f"{'+'.join(asked)}→{'+'.join(found)}"
        metrics += _recalls(name, rank_queries(scores, _own(scores)), groups)
        if head and (head,) in (asked, found):
            again = _by_head(model, head, tokens, asked == (head,))
            metrics += _recalls(name, rerank_queries(scores, _own(scores), again, candidates), groups, RERANKED)
    return metrics


def _directions(names: list[str]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    for name in names:
        others = tuple(other for other in names if other != name)
        yield (name,), others
        yield others, (name,)
    for pair in combinations(names, 2) if len(names) > 3 else ():
        for name in names:
            if name not in pair:
                yield pair, (name,)


def _scores(model: Model, z: Mapping[str, Tensor], asked: tuple[str, ...], found: tuple[str, ...]) -> Tensor:
    """Joint scores ``(N, N)`` of every query with every candidate, a block of queries at a time."""
    candidates = {name: z[name] for name in found}
    blocks = [
        model.score_tuples({name: z[name][start : start + _BLOCK] for name in asked}, candidates)
        for start in range(0, len(z[asked[0]]), _BLOCK)
    ]
    return torch.cat(blocks)


def _by_head(model: Model, head: str, tokens: Mapping[str, TokenRows], by_anchor: bool) -> Rescore:
    """The matching head as second stage, for queries by its anchor or by all others."""
    anchor, others = tokens[head], {name: rows for name, rows in tokens.items() if name != head}

    def score(query: int, items: Tensor) -> Tensor:
        repeated = torch.full_like(items, query)
        ours, theirs = (repeated, items) if by_anchor else (items, repeated)
        return model.rescore_tuples(anchor.padded(ours), {name: rows.padded(theirs) for name, rows in others.items()})

    return score


def _own(scores: Tensor) -> list[list[int]]:
    """Row i is the one right answer to query i."""
    return [[row] for row in range(len(scores))]


def _recalls(name: str, ranks: Ranks, groups: NDArray[np.str_] | None, stage: str = "") -> list[Metric]:
    """Recall at each cut-off in one direction."""
    rank, rows = ranks.rank, len(ranks.rank)
    return [
        mean_metric(f"{name} R@{k}{stage}", rank <= k, chance=100 * min(1.0, k / rows), groups=groups)
        for k in KS
        if k < rows
    ]
