"""Pairs that do not belong together, from the embeddings of their two sides.

The evidence for a pair is of two kinds. One has not seen the pair itself: do things like its one side have things like
its other (the nearest rows of either side), and does a linear map between the sides, fitted without the row, foretell
the one from the other? That also holds where the sides share no space, and for a model that has learnt its pairs by
heart. The other is the cosine of the two, less what either usually has with others (CSLS, Conneau et al. 2018, ICLR:
some captions lie near to every picture). The first kind is compared with shuffled pairs, the second with the first
(:mod:`accord.cleaning.evidence`), and then both again with neighbours that count as much as they are believed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from accord.cleaning.evidence import Floats, Odds, fit_odds, further_odds, probability
from accord.cleaning.linear import LeaveOneOut
from accord.cleaning.nearby import SAME, Nearby

FEWEST = 8  # rows that can be judged among each other
_NEAR = 10  # neighbours that are asked
_LOOK = 2 * _NEAR  # among so many, since the row's own twins do not count
_USUAL = 2000  # things of the other side by which it is known how a thing usually scores
_SHUFFLED = 4000, 20_000  # fewest and most pairs that are made wrong
_ROUNDS = 2
_LEAST = 0.02  # weight of a row that is not believed
_BLOCK = 2048
_CANDIDATES = 8  # things of the other side that are weighed, by each way to look for them

Pairs = tuple[Tensor, Tensor]  # positions (B,) of the rows that the one and the other side are taken from


class Partners(NamedTuple):
    """Which other sides would fit some rows better.

    Args:
        best: ``(B,)`` the row whose other side fits best, -1 where there is none. Its own two sides need not belong
            together: a caption that stands with the wrong picture may be the right one of another.
        sure: ``(B,)`` whether it fits clearly.
        believed: ``(B,)`` the best of the rows that are believed; -1 where there is none.
    """

    best: NDArray[np.int64]
    sure: NDArray[np.bool_]
    believed: NDArray[np.int64]


class PairJudge:
    """What embeddings say of the pairs of two modalities.

    Args:
        one: ``(N, D)`` unit norm, such as pictures.
        other: ``(N, E)`` unit norm, such as their captions; where D is E they count as of one space.
        seed: of shuffles and samples.

    Attributes:
        clean: ``(N,)`` probability that the pair is right.
        log_odds: ``(N,)`` the same, unbounded, for ranking.
        share: estimated share of wrong pairs.
        telling: False where the pairs score no better than shuffled ones; then none is doubted.
    """

    def __init__(self, one: Tensor, other: Tensor, seed: int = 0) -> None:
        self.one, self.other, self.joint = one, other, one.shape[1] == other.shape[1]
        self._random, self._rows = np.random.default_rng(seed), torch.arange(len(one))
        self._apart = tuple(_centred(side) for side in (one, other))
        look = min(_LOOK, len(one) - 1)
        near = Nearby(self._apart[0], seed).others(look)[0]  # an index is as large as its rows: one at a time
        self._index = Nearby(self._apart[1], seed)
        self._near = near, self._index.others(look)[0]
        self._copies = tuple(self._are_copies(near) for near in self._near)
        usual = self._random.choice(len(one), min(_USUAL, len(one)), replace=False)
        self._usual = torch.from_numpy(np.sort(usual))
        self._hub: tuple[Tensor, ...] = ()
        if self.joint:
            self._hub = (_usual_best(one, other[self._usual]), _usual_best(other, one[self._usual]))
        self._trust = torch.ones(len(one))
        self._judge()

    # ---- judging -------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        rows, shuffled = (self._rows, self._rows), self._shuffled()
        asked = [self._neighbours(pairs) for pairs in (rows, shuffled)]
        direct = self._over(rows, self._direct) if self.joint else np.zeros(len(self.one))
        for _ in range(_ROUNDS):
            self._maps = tuple(LeaveOneOut(self._apart[side], self._apart[1 - side], self._trust) for side in (0, 1))
            own, wrong = (self._evidence(pairs, near) for pairs, near in zip((rows, shuffled), asked, strict=True))
            self._scale: tuple[Floats, Floats] = wrong.mean(axis=0), np.maximum(wrong.std(axis=0), 1e-6)
            evidence = self._scaled(own)
            self._odds: Odds = fit_odds(evidence, self._scaled(wrong))
            self.log_odds = self._odds(evidence)
            self.telling = self._odds.telling
            self._more = further_odds(direct, self.log_odds) if self.joint and self.telling else None
            self.log_odds = self.log_odds + (0 if self._more is None else self._more(direct))
            self.clean = probability(self.log_odds) if self.telling else np.full(len(self.one), 0.5)
            self._trust = torch.from_numpy(self.clean).float().clamp_min(_LEAST)
        self.share = float((1 - self.clean).mean()) if self.telling else self._odds.share

    def score(self, pairs: Pairs) -> Floats:
        """Log-odds ``(B,)`` that the one side of some rows belongs to the other side of others."""
        found = self._odds(self._scaled(self._evidence(pairs, self._neighbours(pairs))))
        return found if self._more is None else found + self._more(self._over(pairs, self._direct))

    # ---- what would be right -------------------------------------------------------------------------------------

    def partners(self, rows: NDArray[np.int64]) -> Partners:
        """For each of ``rows`` the other row whose other side fits its one side best, and whether it fits clearly.

        It does where it scores as the middle one of the believed rows does.

        Args:
            rows: ``(B,)`` positions.
        """
        clean = self.clean >= 0.5
        if not len(rows) or not clean.any():
            none = np.full(len(rows), -1)
            return Partners(none, np.zeros(len(rows), np.bool_), none)
        standard = float(np.median(self.log_odds[clean]))
        found = [self._best(block, clean) for block in torch.from_numpy(rows).split(_BLOCK)]
        best, score, believed = (np.concatenate(part) for part in zip(*found, strict=True))
        return Partners(best, score >= standard, believed)

    def _best(self, rows: Tensor, clean: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
        """The row whose other side fits best ``(B,)``, -1 for none, its log-odds, and the best of the clean ones."""
        candidates = self._candidates(rows)  # (B, k)
        allowed = (candidates >= 0) & (candidates != rows[:, None])
        scores = np.full(candidates.shape, -np.inf)
        scores[allowed.numpy()] = self.score((rows[:, None].expand_as(candidates)[allowed], candidates[allowed]))
        believed = np.where(clean[candidates.numpy()], scores, -np.inf)
        of_all, of_clean = (_place_of_best(each, candidates.numpy()) for each in (scores, believed))
        return of_all, scores.max(axis=1), of_clean

    def fits_better(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """Of how many others ``(B,)`` the one side fits a row's other side better than its own, and among how many."""
        told = self.one if self.joint else self._apart[0]
        counts = []
        for block in torch.from_numpy(rows).split(_BLOCK):
            wanted = self.other[block] if self.joint else self._maps[1](block)
            own = (told[block] * wanted).sum(dim=1, keepdim=True)
            better = (wanted @ told[self._usual].T > own) & (self._usual != block[:, None])
            counts.append(better.sum(dim=1).numpy())
        return np.concatenate([np.zeros(0, np.int64), *counts]), min(len(self._usual), len(self.one) - 1)

    def like(self, row: int, side: int = 0) -> NDArray[np.int64]:
        """Believed rows whose ``side`` is nearest to that of ``row``, nearest first."""
        near = self._near[side][row].numpy()
        return near[(self.clean[near] >= 0.5) & (near != row)]

    def contradicts(self, row: int) -> int | None:
        """A row with the same thing on its one side and another on its other side; None without any."""
        near = self._near[0][row]
        same = self.one[near] @ self.one[row] > SAME
        differs = self.other[near] @ self.other[row] <= SAME
        found = near[same & differs & (near != row)]
        return int(found[0]) if len(found) else None

    def _candidates(self, rows: Tensor) -> Tensor:
        """Rows ``(B, k)`` whose other side may fit the one side of ``rows``; -1 for none."""
        count = min(_CANDIDATES, len(self.one))
        asked = [self._maps[0](rows)]
        asked += [self._apart[0][rows]] if self.joint else []
        return torch.cat([self._index.search(side, count)[0] for side in asked], dim=1)

    # ---- evidence ------------------------------------------------------------------------------------------------

    def _over(self, pairs: Pairs, ask: Callable[[Tensor, Tensor], Tensor]) -> Floats:
        blocks = zip(pairs[0].split(_BLOCK), pairs[1].split(_BLOCK), strict=True)
        return torch.cat([ask(*block) for block in blocks]).double().numpy()

    def _scaled(self, evidence: Floats) -> Floats:
        """The kinds ``(M, 4)`` of evidence as one ``(M,)``, each in the units of wrong pairs."""
        return ((evidence - self._scale[0]) / self._scale[1]).mean(axis=1)

    def _direct(self, first: Tensor, second: Tensor) -> Tensor:
        """Cosine less what both usually have with their best ``(B,)``."""
        cosine = (self.one[first] * self.other[second]).sum(dim=1)
        return cosine - (self._hub[0][first] + self._hub[1][second]) / 2

    def _evidence(self, pairs: Pairs, asked: Sequence[tuple[Tensor, Tensor]]) -> Floats:
        """``(B, 4)``, from neighbours and from foretelling, in both directions."""
        agreed = []
        for side, (kept, cosine) in enumerate(asked):
            weight = kept * self._trust[self._near[side][pairs[side]]]
            agreed.append(((weight * cosine).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-9)).double().numpy())
        foretold = [self._over((pairs[side], pairs[1 - side]), partial(self._foretold, side)) for side in (0, 1)]
        return np.stack([*agreed, *foretold], axis=1)

    def _foretold(self, side: int, own: Tensor, other: Tensor) -> Tensor:
        """Cosine ``(B,)`` of what one side foretells with what stands on the other."""
        rows, place = own.unique(return_inverse=True)  # of a row that is weighed with several, once
        return (F.normalize(self._maps[side](rows), dim=1)[place] * self._apart[1 - side][other]).sum(dim=1)

    def _neighbours(self, pairs: Pairs) -> list[tuple[Tensor, Tensor]]:
        """For each side, which of the rows nearest to a pair are asked, and cosines of its other side with theirs.

        Neither the two rows themselves nor copies of them, which are alike on both sides, are asked.
        """
        found = []
        for side in (0, 1):
            own, other = pairs[side], pairs[1 - side]
            near = self._near[side][own]  # (B, k)
            kept = (near != pairs[0][:, None]) & (near != pairs[1][:, None]) & ~self._copies[side][own]
            kept &= kept.cumsum(dim=1) <= _NEAR
            far = self._apart[1 - side]
            blocks = zip(other.split(_BLOCK), near.split(_BLOCK), strict=True)
            cosine = [torch.einsum("bd,bkd->bk", far[rows], far[those]) for rows, those in blocks]
            found.append((kept, torch.cat(cosine)))
        return found

    def _are_copies(self, near: Tensor) -> Tensor:
        """Which of the neighbours ``(N, k)`` of every row are like it on both sides."""
        blocks = zip(self._rows.split(_BLOCK), near.split(_BLOCK), strict=True)
        return torch.cat(
            [
                (torch.einsum("bd,bkd->bk", self.one[rows], self.one[those]) > SAME)
                & (torch.einsum("bd,bkd->bk", self.other[rows], self.other[those]) > SAME)
                for rows, those in blocks
            ]
        )

    def _shuffled(self) -> Pairs:
        """Pairs of the one side of a row and the other side of another, which is not alike."""
        fewest, most = _SHUFFLED
        count = min(most, max(fewest, len(self.one)))
        first = torch.from_numpy(self._random.integers(0, len(self.one), count))
        second = torch.from_numpy(self._random.integers(0, len(self.one), count))
        for _ in range(8):
            alike = (self.one[first] * self.one[second]).sum(dim=1) > SAME
            alike |= (self.other[first] * self.other[second]).sum(dim=1) > SAME
            again = alike.nonzero()[:, 0]
            second[again] = torch.from_numpy(self._random.integers(0, len(self.one), len(again)))
        kept = first != second
        return first[kept], second[kept]


def _centred(rows: Tensor) -> Tensor:
    """Unit rows ``(N, D)`` about the origin; with one copy of them alone."""
    apart = rows - rows.mean(dim=0)
    return F.normalize(apart, dim=1, out=apart)


def _place_of_best(scores: Floats, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each row the candidate ``(B,)`` of the highest score, -1 where all are minus infinity."""
    best = candidates[np.arange(len(scores)), scores.argmax(axis=1)]
    return np.where(np.isfinite(scores.max(axis=1)), best, -1)


def _usual_best(rows: Tensor, others: Tensor) -> Tensor:
    """Mean cosine ``(N,)`` of each of ``rows`` with those of ``others`` that are nearest to it."""
    count = min(_NEAR, len(others))
    return torch.cat([(block @ others.T).topk(count, dim=1).values.mean(dim=1) for block in rows.split(_BLOCK)])
