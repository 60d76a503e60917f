"""Retrieval between two modalities: recall@K, median rank, mean recall and rsum, in both directions.

The rank of a query is that of its best correct item, and only items that score strictly higher push it down;
recall is in percent. Scores are made in blocks, never as one N × M matrix. Because ties are free, a collapsed model
would look perfect; the share of tied queries is therefore reported beside.

A model with a second stage is measured as it is used: whole embeddings choose candidates, which are then scored token
by token, in either direction by that direction's own score. The first stage alone is reported beside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln
from torch import Tensor

from accord.errors import ConfigError, DataError, ShapeError
from accord.evaluation.bootstrap import bootstrap_interval, bootstrap_totals, percentile_interval
from accord.evaluation.embedder import Embedder, Rescorer, by_joint_score, check_finite, rescorer
from accord.evaluation.metric import Metric, mean_metric
from accord.evaluation.needs import beside_text

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.data.loading.tokens import TokenRows

KS = (1, 5, 10)
CANDIDATES = 128  # items of the gallery that a second stage scores for each query
FIRST_STAGE = " (first stage)"
Matches = Sequence[Sequence[int]]
Rescore = Callable[[int, Tensor], Tensor]  # a query and its candidates (C,) -> their scores (C,)
_CELLS = 1 << 23  # scores held at once: 32 MiB in float32


def retrieval_metrics(
    sim: Tensor | tuple[Tensor, Tensor],
    img2txt: Matches,
    txt2img: Matches | None = None,
    *,
    ks: Sequence[int] = KS,
    groups: ArrayLike | None = None,
    names: tuple[str, str] = ("image", "text"),
) -> list[Metric]:
    """Recall@K and median rank of both directions, mean recall and rsum.

    Args:
        sim: ``(N, M)`` scores of N images against M texts, or the two embeddings ``(N, D)`` and ``(M, D)``.
        img2txt: for each image the positions of its texts.
        txt2img: for each text the positions of its images; None inverts ``img2txt``.
        ks: cut-offs of the recalls.
        groups: ``(N,)`` images that are not independent, resampled together with their texts.
        names: what the two sides are called in the metrics' names.

    Returns:
        Metrics ``image→text R@1`` … ``mean recall`` and ``rsum``.

    Raises:
        ShapeError: sizes disagree, a query has no correct item, or a position lies outside the other side.
        DataError: embeddings are not finite.

    Example:
        >>> scores = torch.tensor([[0.9, 0.1], [0.2, 0.3]])
        >>> [metric.value for metric in retrieval_metrics(scores, [[0], [1]], ks=(1,))][:2]
        [100.0, 1.0]
    """
    columns = sim.shape[1] if isinstance(sim, Tensor) else len(sim[1])
    back = invert(img2txt, columns) if txt2img is None else txt2img
    there = rank_queries(sim, img2txt)
    again = rank_queries(sim.T if isinstance(sim, Tensor) else (sim[1], sim[0]), back)
    return _both_directions((there, again), (img2txt, back), ks, groups, names)


def _both_directions(
    ranks: tuple[Ranks, Ranks],
    matches: tuple[Matches, Matches],
    ks: Sequence[int],
    groups: ArrayLike | None,
    names: tuple[str, str],
) -> list[Metric]:
    """The metrics of both directions from the ranks of their queries."""
    (there, again), (img2txt, back) = ranks, matches
    rows, columns = len(img2txt), len(back)
    image_groups = np.arange(rows) if groups is None else np.asarray(groups)
    # A text is resampled with its first image, so that both directions of one image stand or fall together.
    text_groups = image_groups[np.array([images[0] for images in back], dtype=np.int64)]
    sides = [
        Direction(f"{names[0]}→{names[1]}", there, [len(hits) for hits in img2txt], columns, image_groups),
        Direction(f"{names[1]}→{names[0]}", again, [len(hits) for hits in back], rows, text_groups),
    ]
    return [metric for side in sides for metric in side.metrics(ks)] + summed_recalls(sides, ks)


@dataclass(frozen=True)
class Ranks:
    """Outcome of each query.

    Args:
        rank: ``(Q,)`` rank of the best correct item, from 1.
        tied: ``(Q,)`` bool, a wrong item has exactly the score of the best correct one.
    """

    rank: NDArray[np.int64]
    tied: NDArray[np.bool_]


def rank_queries(sim: Tensor | tuple[Tensor, Tensor], correct: Matches) -> Ranks:
    """Rank of each query's best correct item, in blocks of queries.

    Args:
        sim: ``(Q, G)`` scores, or query ``(Q, D)`` and gallery ``(G, D)`` embeddings.
        correct: for each query the positions of its correct items, at least one.

    Raises:
        ShapeError: sizes disagree, or a query has no correct item.
        DataError: scores or embeddings are not finite.

    Example:
        >>> rank_queries(torch.tensor([[0.1, 0.5, 0.5, 0.9]]), [[1]])
        Ranks(rank=array([2]), tied=array([ True]))
    """
    scores, queries, gallery = _scorer(sim)
    owner, item = _flatten(correct, queries, gallery)
    ranks, tied = torch.empty(queries, dtype=torch.int64), torch.empty(queries, dtype=torch.bool)
    block = max(1, _CELLS // max(gallery, 1))
    for start in range(0, queries, block):
        stop = min(start + block, queries)
        score = scores(start, stop)  # (b, G)
        mine = (owner >= start) & (owner < stop)
        row, column = owner[mine] - start, item[mine]
        best = score.new_full((stop - start,), -torch.inf)
        best = best.scatter_reduce(0, row, score[row, column], "amax")
        level = (score == best[:, None]).sum(dim=1)
        level -= torch.zeros_like(level).index_add(0, row, (score[row, column] == best[row]).long())
        ranks[start:stop] = 1 + (score > best[:, None]).sum(dim=1)
        tied[start:stop] = level > 0
    return Ranks(ranks.numpy(), tied.numpy())


def rerank_queries(
    sim: Tensor | tuple[Tensor, Tensor], correct: Matches, score: Rescore, candidates: int = CANDIDATES
) -> Ranks:
    """Rank of each query's best correct item after the best of a first stage were scored once more.

    Candidates stand before all other items. A query whose candidates hold no correct item keeps the rank of the first
    stage, which lies behind them.

    Args:
        sim: scores of the first stage, or its embeddings, as :func:`rank_queries` takes them.
        correct: for each query the positions of its correct items, at least one.
        score: ``(query, items (C,)) -> (C,)``, the second stage.
        candidates: items C that are scored again, at most the gallery.

    Raises:
        ShapeError: sizes disagree, or a query has no correct item.
        DataError: scores or embeddings are not finite.

    Example:
        >>> first = torch.tensor([[0.9, 0.8, 0.1]])
        >>> rerank_queries(first, [[1]], lambda query, items: (items == 1).float(), candidates=2).rank
        array([1])
        >>> rerank_queries(first, [[2]], lambda query, items: (items == 1).float(), candidates=2).rank
        array([3])
    """
    first = rank_queries(sim, correct)
    scores, queries, gallery = _scorer(sim)
    count = min(candidates, gallery)
    rank, tied = np.maximum(first.rank, count + 1), first.tied.copy()
    block = max(1, _CELLS // max(gallery, 1))
    for start in range(0, queries, block):
        chosen = scores(start, min(start + block, queries)).topk(count).indices  # (b, C)
        for query, items in enumerate(chosen, start):
            again = score(query, items)
            check_finite("scores of the second stage", again[:, None])
            right = torch.isin(items, torch.tensor(correct[query]))
            if bool(right.any()):
                best = again[right].max()
                rank[query] = 1 + int((again > best).sum())
                tied[query] = bool(((again == best) & ~right).any())
    return Ranks(rank, tied)


@dataclass(frozen=True)
class Direction:
    """One direction of retrieval: its ranks and what guessing would give.

    Args:
        name: e.g. ``"image→text"``.
        ranks: outcome of each query.
        correct: number of correct items of each query.
        gallery: number of items searched.
        groups: ``(Q,)`` queries resampled together.
    """

    name: str
    ranks: Ranks
    correct: Sequence[int]
    gallery: int
    groups: NDArray[np.generic]

    def metrics(self, ks: Sequence[int]) -> list[Metric]:
        """Recall at each K, the median rank and the share of tied queries."""
        recalls = [
            mean_metric(
                f"{self.name} R@{k}",
                self.ranks.rank <= k,
                chance=chance_recall(self.correct, self.gallery, k),
                groups=self.groups,
            )
            for k in ks
        ]
        low, high = bootstrap_interval(self.ranks.rank, groups=self.groups, statistic="median")
        guess = float(chance_median_rank(self.correct, self.gallery))
        rank = self.ranks.rank
        median = Metric(f"{self.name} median rank", float(np.median(rank)), low, high, guess, len(rank), "")
        ties = mean_metric(f"{self.name} tied queries", self.ranks.tied, chance=None, groups=self.groups)
        return [*recalls, median, ties]


def summed_recalls(sides: Sequence[Direction], ks: Sequence[int]) -> list[Metric]:
    """Mean recall and rsum over both directions, resampled jointly by group."""
    parts, groups = [], []
    width = len(ks) + 1  # hits at each K, and the number of queries
    for position, side in enumerate(sides):
        block = np.zeros((len(side.ranks.rank), width * len(sides)))
        hits = side.ranks.rank[:, None] <= np.asarray(ks)
        block[:, position * width : (position + 1) * width] = np.column_stack([hits, np.ones(len(hits))])
        parts.append(block)
        groups.append(side.groups)
    items = np.concatenate(parts)

    def recalls(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        each = totals.reshape(len(totals), len(sides), width)
        with np.errstate(invalid="ignore"):
            return np.asarray(100 * each[..., :-1] / each[..., -1:])  # (R, directions, K)

    value = recalls(items.sum(axis=0, keepdims=True))[0]
    samples = recalls(bootstrap_totals(items, groups=np.concatenate(groups)))
    chance = [chance_recall(side.correct, side.gallery, k) for side in sides for k in ks]
    mean = Metric(
        "mean recall",
        float(value.mean()),
        *percentile_interval(samples.mean(axis=(1, 2))),
        float(np.mean(chance)),
        len(items),
    )
    total = Metric(
        "rsum",
        float(value.sum()),
        *percentile_interval(samples.sum(axis=(1, 2))),
        float(np.sum(chance)),
        len(items),
        "",
    )
    return [mean, total]


def chance_recall(correct: Sequence[int], gallery: int, k: int) -> float:
    """Expected recall@K, in percent, of a random order of the gallery.

    ``1 - C(G - m, K) / C(G, K)`` with G items, m of them correct for the query, averaged over the queries.

    >>> round(chance_recall([1], 100, 10), 6)
    10.0
    >>> chance_recall([2], 4, 3)
    100.0
    """
    right, count = np.unique(np.asarray(correct), return_counts=True)
    k = min(k, gallery)
    wrong = gallery - right
    possible = wrong >= k  # otherwise K items cannot all be wrong
    safe = np.where(possible, wrong, k)
    missed = gammaln(safe + 1) - gammaln(safe - k + 1) - gammaln(gallery + 1) + gammaln(gallery - k + 1)
    hit = np.where(possible, 1 - np.exp(missed), 1.0)
    return float(100 * (hit * count).sum() / count.sum())


def chance_median_rank(correct: Sequence[int], gallery: int) -> int:
    """The smallest K at which a random order has a recall of at least one half.

    >>> chance_median_rank([1, 1], 100)
    50
    """
    low, high = 1, gallery
    while low < high:
        middle = (low + high) // 2
        if chance_recall(correct, gallery, middle) >= 50 - 1e-9:
            high = middle
        else:
            low = middle + 1
    return low


def retrieve_examples(
    sim: Tensor | tuple[Tensor, Tensor], k: int = 5, score: Rescore | None = None, candidates: int = CANDIDATES
) -> tuple[Tensor, Tensor]:
    """The k best gallery items of each query, best first, in the order that :func:`evaluate_retrieval` measures.

    Args:
        sim: ``(Q, G)`` scores, or query ``(Q, D)`` and gallery ``(G, D)`` embeddings.
        k: how many; at most G are returned.
        score: a second stage, which orders the first ``candidates`` once more, see :func:`rerank_queries`.
        candidates: items that it scores for each query; with a second stage at most so many are returned.

    Returns:
        Scores and positions, both ``(Q, k)``.

    Example:
        >>> retrieve_examples((torch.tensor([[1.0, 0.0]]), torch.eye(2)), k=1)
        (tensor([[1.]]), tensor([[0]]))
    """
    scores, queries, gallery = _scorer(sim)
    count = min(k if score is None else candidates, gallery)
    block = max(1, _CELLS // max(gallery, 1))
    found = [scores(start, min(start + block, queries)).topk(count) for start in range(0, queries, block)]
    values, positions = torch.cat([top.values for top in found]), torch.cat([top.indices for top in found])
    if score is None:
        return values, positions
    again = torch.stack([score(query, items) for query, items in enumerate(positions)])
    best = again.topk(min(k, count))
    return best.values, positions.gather(1, best.indices)


def invert(matches: Matches, size: int) -> list[list[int]]:
    """Turn "texts of each image" into "images of each text".

    >>> invert([[0, 1], [1]], 2)
    [[0], [0, 1]]
    """
    back: list[list[int]] = [[] for _ in range(size)]
    for source, targets in enumerate(matches):
        for target in targets:
            if not 0 <= target < size:
                raise ShapeError(f"img2txt[{source}] names item {target}; expected positions from 0 to {size - 1}")
            back[target].append(source)
    return back


def distinct_texts(captions: Sequence[Sequence[str]]) -> tuple[list[str], list[list[int]]]:
    """Each different caption once, and for each row the positions of its captions.

    Rows that share a caption are all correct for it, so that a duplicate never counts as a miss.

    >>> distinct_texts([["a cat"], ["a dog", "a cat"]])
    (['a cat', 'a dog'], [[0], [1, 0]])
    """
    position: dict[str, int] = {}
    matches = [[position.setdefault(text, len(position)) for text in texts] for texts in captions]
    return list(position), matches


def evaluate_retrieval(
    model: Embedder,
    corpus: Corpus,
    modality: str | None = None,
    ks: Sequence[int] = KS,
    candidates: int = CANDIDATES,
) -> list[Metric]:
    """Retrieval between ``modality`` and text over a corpus, with all captions of every row.

    Args:
        model: embeds both modalities.
        corpus: has a column for ``modality`` and at least one caption a row.
        modality: such as ``"image"`` or ``"video"``; None for the model's first besides text.
        ks: cut-offs of the recalls.
        candidates: for a model with a second stage, how many items it scores for each query; 0 leaves it out.

    Returns:
        The metrics of :func:`retrieval_metrics`; intervals resample whole groups of the corpus. For a model with a
        second stage those of both stages together, then the recalls of the first alone, named ``… (first stage)``.

    Raises:
        ConfigError: a negative number of candidates.
        DataError: the corpus has no captions.
        ShapeError: a row has none.
    """
    modality = modality or beside_text(model, corpus)
    corpus = corpus.having(modality, "text")
    texts, img2txt = distinct_texts(corpus.texts())
    if not texts:
        raise DataError(f"{corpus.name}: has no captions to retrieve by; name the column, for example --text title")
    if candidates < 0:
        raise ConfigError(f"candidates = {candidates}: expected at least 0")
    names, groups = (modality, "text"), corpus.groups()
    second = rescorer(model) if candidates else None
    if second is None:
        embeddings = (model.embed_corpus(corpus, modality), model.embed(texts=texts))
        if by_joint_score(model):
            scores: Tensor = model.score_tuples({modality: embeddings[0]}, {"text": embeddings[1]})  # type: ignore[attr-defined]
            return retrieval_metrics(scores, img2txt, ks=ks, groups=groups, names=names)
        return retrieval_metrics(embeddings, img2txt, ks=ks, groups=groups, names=names)
    rows, captions = second.tokens_corpus(corpus, modality), second.tokens(texts=texts)
    matches = (img2txt, invert(img2txt, len(texts)))
    ranks = (
        _both_stages(second, rows, captions, matches[0], modality, candidates),
        _both_stages(second, captions, rows, matches[1], "text", candidates),
    )
    first = retrieval_metrics((rows.pooled, captions.pooled), img2txt, ks=ks, groups=groups, names=names)
    recalls = [replace(one, name=one.name + FIRST_STAGE) for one in first if " R@" in one.name or one.name == "rsum"]
    return _both_directions(ranks, matches, ks, groups, names) + recalls


def _both_stages(
    model: Rescorer, queries: TokenRows, gallery: TokenRows, correct: Matches, modality: str, candidates: int
) -> Ranks:
    """Ranks of the queries of one modality, the candidates of each scored by their tokens."""

    def score(query: int, items: Tensor) -> Tensor:
        return model.rescore(queries.padded([query]), gallery.padded(items), modality)[0]

    return rerank_queries((queries.pooled, gallery.pooled), correct, score, candidates)


def _scorer(sim: Tensor | tuple[Tensor, Tensor]) -> tuple[Callable[[int, int], Tensor], int, int]:
    """A function that scores queries ``start`` to ``stop`` against the whole gallery, and both sizes."""
    if isinstance(sim, Tensor):
        if sim.ndim != 2:
            raise ShapeError(f"sim: shape {tuple(sim.shape)}; expected (queries, gallery)")
        check_finite("scores", sim)
        return lambda start, stop: sim[start:stop], *sim.shape
    queries, gallery = sim
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ShapeError(f"embeddings: {tuple(queries.shape)} and {tuple(gallery.shape)}; expected (N, D) and (M, D)")
    check_finite("query embeddings", queries)
    check_finite("gallery embeddings", gallery)
    return lambda start, stop: queries[start:stop] @ gallery.T, len(queries), len(gallery)


def _flatten(correct: Matches, queries: int, gallery: int) -> tuple[Tensor, Tensor]:
    """Query and item of every correct pair, each ``(P,)`` int64."""
    if len(correct) != queries:
        raise ShapeError(f"correct items are listed for {len(correct)} queries, scores are for {queries}")
    sizes = torch.tensor([len(set(items)) for items in correct], dtype=torch.int64)
    if bool((sizes == 0).any()):
        raise ShapeError(f"query {int((sizes == 0).nonzero()[0])} has no correct item; leave it out")
    item = torch.tensor([item for items in correct for item in sorted(set(items))], dtype=torch.int64)
    if int(item.min()) < 0 or int(item.max()) >= gallery:
        raise ShapeError(f"correct items reach from {int(item.min())} to {int(item.max())}; the gallery has {gallery}")
    return torch.repeat_interleave(torch.arange(queries), sizes), item
