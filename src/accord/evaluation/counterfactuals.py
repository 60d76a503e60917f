"""Retrieval from counterfactually augmented data: whether a row finds its caption among altered ones (RCAD; ECCV 2024).

The altered captions of a row keep its sentence and its things and change what happens, so that nothing but what was
changed tells them apart. Scores are cosines; or log-odds of each caption's own row against all other rows, which takes
away what a caption scores with any row. The paper's script does so by a softmax over rows, whose probabilities round to
one at a scale of 100 and then tie; log-odds have the same order and do not.

A model can win without looking where altered captions are worse sentences. So a linear classifier is fitted on
embeddings of the captions alone, on one half of the rows for the other: it should not be better than chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.data.reading.sources import announce
from accord.data.targets.base import padded
from accord.errors import DataError, ShapeError
from accord.evaluation.bootstrap import bootstrap_interval
from accord.evaluation.embedder import Embedder, check_finite
from accord.evaluation.linear_probe import fit_probe
from accord.evaluation.metric import Metric, mean_metric
from accord.functional import swap_sensitivity, tiled_logsumexp
from accord.functional.checks import check_choice, check_shape

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.data.targets.texts import AlteredTexts

Ties = Literal["positive", "mean", "negative"]
BLIND = "blind R@1"
_FEWEST = 20  # rows below which nothing is said of a blind classifier
_MARGIN = 5.0  # points over chance from which a blind classifier is warned of


def rcad_ranks(sim: Tensor, group: int = 6, ties: Ties = "positive") -> Tensor:
    """Rank of each row's true caption among the captions of its group, from 1.

    Args:
        sim: ``(group * Q, Q)`` of captions, the true one first in each block of ``group``, with rows; or ``(Q, group)``
            of each row with its own captions. Any scores, higher for more alike.
        group: captions of a row.
        ties: altered captions with exactly the score of the true one stand behind it (``positive``, as the paper's
            script counts, by which a constant is always right), before it (``negative``), or half of them (``mean``).

    Returns:
        ``(Q,)`` int64; float64 for ``mean``.

    Raises:
        ShapeError: the shape is neither of the two.
        ValueError: unknown ties.

    Example:
        >>> rcad_ranks(torch.tensor([[0.5, 0.9, 0.5], [0.7, 0.1, 0.2]]), group=3)
        tensor([2, 1])
        >>> rcad_ranks(torch.zeros(2, 3), group=3, ties="mean")
        tensor([2., 2.], dtype=torch.float64)
    """
    if sim.ndim == 2 and len(sim) == group * sim.shape[1]:
        rows = torch.arange(sim.shape[1], device=sim.device)
        sim = sim.unflatten(0, (-1, group))[rows, :, rows]  # (Q, group)
    if sim.ndim != 2 or sim.shape[1] != group:
        raise ShapeError(f"sim has shape {tuple(sim.shape)}: expected ({group} Q, Q) or (Q, {group})")
    return ranks_of_first(sim, None, ties)


def ranks_of_first(scores: Tensor, mask: Tensor | None = None, ties: Ties = "positive") -> Tensor:
    """Rank of the first entry of each row among those that are there; see :func:`rcad_ranks`.

    Args:
        scores: ``(Q, G)``.
        mask: ``(Q, G)`` bool, which entries there are; None for all.
        ties: as for :func:`rcad_ranks`.

    Example:
        >>> ranks_of_first(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[True, True, False]]))
        tensor([2])
    """
    check_choice(get_args(Ties), ties=ties)
    others = torch.ones_like(scores[:, 1:], dtype=torch.bool) if mask is None else mask[:, 1:]
    larger = ((scores[:, 1:] > scores[:, :1]) & others).sum(dim=1)
    equal = ((scores[:, 1:] == scores[:, :1]) & others).sum(dim=1)
    if ties == "mean":
        return 1 + larger.double() + equal.double() / 2
    return 1 + larger + (equal if ties == "negative" else 0)


def rcad_metrics(ranks: Tensor) -> dict[str, float]:
    """Recalls in percent, and the mean and median of ranks within their groups.

    They are not to be compared with ranks among all captions of a data set.

    Example:
        >>> rcad_metrics(torch.tensor([1, 1, 2, 6]))
        {'R@1': 50.0, 'R@3': 75.0, 'meanR': 2.5, 'medianR': 1.5}
    """
    rank = ranks.double().cpu().numpy()
    recalls = {f"R@{k}": float(100 * (rank <= k).mean()) for k in (1, 3)}
    return {**recalls, "meanR": float(rank.mean()), "medianR": float(np.median(rank))}


def caption_log_odds(rows: Tensor, captions: Tensor, owner: Tensor, scale: float) -> Tensor:
    """Log-odds ``(M,)`` of each caption's own row against all others: its logit less their log-sum-exp.

    Args:
        rows: ``(Q, D)`` unit norm, two at least.
        captions: ``(M, D)`` unit norm.
        owner: ``(M,)`` int64, the row that each caption is of.
        scale: factor on cosines that makes them logits.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> caption_log_odds(torch.eye(2), torch.eye(2), torch.tensor([0, 1]), 3.0)
        tensor([3., 3.])
    """
    check_shape((len(captions),), owner=owner)
    places = torch.arange(len(rows), device=rows.device)
    others = tiled_logsumexp(
        captions, rows, scale, pair_weight=lambda asked, found: owner[asked, None] != places[found]
    )
    return scale * (captions * rows[owner]).sum(dim=1) - others


@dataclass(frozen=True)
class Groups:
    """Rows with their true and altered captions, embedded.

    Args:
        rows: ``(Q, D)`` unit norm.
        captions: ``(M, D)`` unit norm, row after row, the true one first.
        said: of each row the altered captions, and what is said of them; none is empty.
        corpus: the rows.
        true: the true caption of each.
    """

    rows: Tensor
    captions: Tensor
    said: Sequence[AlteredTexts]
    corpus: Corpus
    true: Sequence[str]

    @cached_property
    def sizes(self) -> list[int]:
        """How many captions each row has, the true one among them."""
        return [1 + len(altered.texts) for altered in self.said]

    @cached_property
    def owner(self) -> Tensor:
        """The row ``(M,)`` of each caption."""
        return torch.repeat_interleave(torch.arange(len(self.rows)), torch.tensor(self.sizes))

    @cached_property
    def mask(self) -> Tensor:
        """Which of ``(Q, G)`` captions there are."""
        return torch.arange(max(self.sizes)) < torch.tensor(self.sizes)[:, None]

    def padded(self, values: Tensor) -> Tensor:
        """``(Q, G)`` of something ``(M,)`` that is said of each caption."""
        return padded(values.split(self.sizes))

    def scores(self, prior: bool, scale: float) -> Tensor:
        """``(Q, G)`` of each row with its captions."""
        if prior:
            return self.padded(caption_log_odds(self.rows, self.captions, self.owner, scale))
        return self.padded((self.captions * self.rows[self.owner]).sum(dim=1))


def grouped(model: Embedder, corpus: Corpus, modality: str) -> Groups:
    """The rows that have altered captions, embedded with them.

    Args:
        model: embeds texts and ``modality``.
        corpus: the rows.
        modality: what the captions are about.

    Raises:
        DataError: fewer than two rows have a caption and an altered one.
    """
    there = corpus.select(np.flatnonzero(corpus.has_target("counterfactuals"))).having(modality, "text")
    said = [there.targets_of(row, ["counterfactuals"])["counterfactuals"] for row in range(len(there))]
    kept = [row for row, altered in enumerate(said) if altered.texts]
    if len(kept) < 2:
        raise DataError(
            f"{corpus.name} has {len(kept)} rows with altered captions; expected two at least: make some with accord "
            "data counterfactuals, or name their column with --counterfactuals COL"
        )
    test, said = there.select(kept), [said[row] for row in kept]
    true = [altered.of or texts[0] for altered, texts in zip(said, test.texts(), strict=True)]
    words = [text for own, altered in zip(true, said, strict=True) for text in (own, *altered.texts)]
    captions, rows = model.embed(texts=words), model.embed_corpus(test, modality)
    for name, vectors in {modality: rows, "texts": captions}.items():
        check_finite(name, vectors)
    return Groups(rows, captions, said, test, true)


def ranking_metrics(found: Groups, scores: Tensor, ties: Ties) -> list[Metric]:
    """R@1, R@3, mean and median rank with what guessing gives, and the share of rows with ties."""
    rank = ranks_of_first(scores, found.mask, ties).numpy()
    sizes, groups = np.array(found.sizes), found.corpus.groups()
    recalls = [
        mean_metric(f"R@{k}", rank <= k, chance=float(100 * np.minimum(1, k / sizes).mean()), groups=groups)
        for k in (1, 3)
        if k < sizes.max()
    ]
    guess = float((sizes + 1).mean() / 2)
    mean = _number("mean rank", rank, "mean", guess, groups)
    median = _number("median rank", rank, "median", guess if len(set(found.sizes)) == 1 else None, groups)
    tied = ((scores[:, 1:] == scores[:, :1]) & found.mask[:, 1:]).any(dim=1).numpy()
    return [*recalls, mean, median, mean_metric("tied rows", tied, chance=None, groups=groups)]


def sensitivity_metrics(found: Groups) -> list[Metric]:
    """How much nearer rows and true captions are to altered captions, by what was altered; times 100.

    ``sensitivity to KIND`` is the mean of cos(row, altered) - cos(row, true), clearly negative where the model sees it;
    ``text distance, KIND`` that of 1 - cos(true, altered). Without kinds there is one of each.
    """
    starts = torch.tensor(found.sizes).cumsum(0) - torch.tensor(found.sizes)
    true = found.captions[starts][found.owner]  # (M, D)
    near = 100 * found.padded(swap_sensitivity(found.rows[found.owner], true, found.captions))
    far = 100 * (1 - found.padded((true * found.captions).sum(dim=1)))
    metrics = []
    for kind in sorted({kind for altered in found.said for kind in altered.kinds}):
        chosen = padded([torch.tensor([False, *(own == kind for own in altered.kinds)]) for altered in found.said])
        chosen = chosen.bool()
        rows = chosen.any(dim=1)
        names = (f"sensitivity to {kind}", f"text distance, {kind}") if kind else ("sensitivity", "text distance")
        own = found.corpus.groups()
        groups = None if own is None else own[rows.numpy()]
        for name, values in zip(names, (near, far), strict=True):
            each = (values * chosen).sum(dim=1)[rows] / chosen.sum(dim=1)[rows]
            metrics.append(_number(name, each.numpy(), "mean", 0.0, groups))
    return metrics


def blind_metric(found: Groups, seed: int = 0) -> Metric:
    """R@1 of a linear classifier that sees captions alone, fitted on one half of the rows for the other.

    Rows of one group are in one half. Far above chance, the altered captions can be told without looking.
    """
    own = found.corpus.groups()
    rows = np.arange(len(found.rows)) if own is None else np.unique(own, return_inverse=True)[1]
    drawn = np.random.default_rng(seed).permutation(rows.max() + 1)
    half = np.isin(rows, drawn[: len(drawn) // 2])
    chance = float(100 * (1 / np.array(found.sizes)).mean())
    if len(rows) < _FEWEST or half.all() or not half.any():
        return Metric(BLIND, np.nan, None, None, chance, 0)
    owner = found.owner.numpy()
    altered = np.concatenate([np.arange(size) > 0 for size in found.sizes]).astype(np.int64)
    scores = torch.zeros(len(owner))
    for learnt in (half, ~half):
        seen = torch.from_numpy(learnt[owner])
        probe = fit_probe(found.captions[seen], altered[seen.numpy()], 2, groups=rows[owner[seen.numpy()]], seed=seed)
        scores[~seen] = -probe.logits(found.captions[~seen]).diff(dim=1)[:, 0]  # log-odds of being the true one
    won = ranks_of_first(found.padded(scores), found.mask, "negative").numpy() == 1
    return mean_metric(BLIND, won, chance=chance, groups=own)


def warn_of_blind(metric: Metric) -> None:
    """Say it where captions alone give the true one away."""
    if metric.low is not None and metric.chance is not None and metric.low > metric.chance + _MARGIN:
        announce(
            f"the true captions can be told from the altered ones without looking: a classifier of texts alone finds "
            f"{metric.value:.0f} % ({metric.chance:.0f} % by chance), so that a high R@1 says little; alter them so "
            "that they read alike"
        )


def _number(
    name: str, values: NDArray[Any], statistic: Literal["mean", "median"], chance: float | None, groups: Any
) -> Metric:
    low, high = bootstrap_interval(values, groups=groups, statistic=statistic)
    value = np.mean(values) if statistic == "mean" else np.median(values)
    return Metric(name, float(value), low, high, chance, len(values), "")
