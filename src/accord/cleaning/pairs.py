"""Pairs that do not belong together, from the embeddings of their two sides.

The evidence for a pair is of two kinds. One has not seen the pair itself: do things like its one side have things like
its other (the nearest rows of either side), and does a linear map between the sides, fitted without the row, foretell
the one from the other? That also holds where the sides share no space, and for a model that has learnt its pairs by
heart. The other is the cosine of the two, less what either usually has with others (CSLS, Conneau et al. 2018, ICLR:
some captions lie near to every picture). The first kind is compared with shuffled pairs, the second with the first
(:mod:`accord.cleaning.evidence`), and then both again with neighbours that count as much as they are believed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from accord.cleaning.evidence import Floats, Odds, fit_odds, further_odds, probability
from accord.cleaning.linear import LeaveOneOut
from accord.cleaning.nearby import SAME, nearest_others

FEWEST = 8  # rows that pairs can be judged among
_NEAR = 10  # neighbours that are asked
_LOOK = 2 * _NEAR  # among so many, since the row's own twins do not count
_USUAL = 2000  # things of the other side by which it is known how a thing usually scores
_SHUFFLED = 4000, 20_000  # fewest and most pairs that are made wrong
_ROUNDS = 2
_LEAST = 0.02  # weight of a row that is not believed
_BLOCK = 2048
_CANDIDATES, _FEW = 20, 256  # captions that are weighed for a row, and rows at a time

Pairs = tuple[Tensor, Tensor]  # positions (B,) of the rows that the one and the other side are taken from


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
        self._random = np.random.default_rng(seed)
        self._apart = tuple(F.normalize(side - side.mean(dim=0), dim=1) for side in (one, other))
        near = min(_LOOK, len(one) - 1)
        self._near = tuple(nearest_others(side, near, seed)[0] for side in self._apart)
        usual = self._random.choice(len(one), min(_USUAL, len(one)), replace=False)
        self._usual = torch.from_numpy(np.sort(usual))
        self._hub: tuple[Tensor, ...] = ()
        if self.joint:
            self._hub = (_usual_best(one, other[self._usual]), _usual_best(other, one[self._usual]))
        self._rows = torch.arange(len(one))
        self._trust = torch.ones(len(one))
        self._judge()

    # ---- judging -------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        rows, shuffled = (self._rows, self._rows), self._shuffled()
        direct = self._over(rows, self._direct) if self.joint else np.zeros(len(self.one))
        for _ in range(_ROUNDS):
            self._maps = tuple(LeaveOneOut(self._apart[side], self._apart[1 - side], self._trust) for side in (0, 1))
            self._scale: tuple[Floats, Floats] = (np.zeros(4), np.ones(4))
            wrong = self._over(shuffled, self._apart_evidence)  # (M, 4)
            self._scale = wrong.mean(axis=0), np.maximum(wrong.std(axis=0), 1e-6)
            evidence = self._scaled(self._over(rows, self._apart_evidence))
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
        found = self._odds(self._scaled(self._over(pairs, self._apart_evidence)))
        return found if self._more is None else found + self._more(self._over(pairs, self._direct))

    # ---- what would be right -------------------------------------------------------------------------------------

    def partners(self, rows: NDArray[np.int64], believed: bool = False) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """For each of ``rows`` the other row whose other side fits its one side best, and whether it fits clearly.

        It does where it scores as the middle one of the believed rows does.

        Args:
            rows: ``(B,)`` positions.
            believed: look among believed rows alone; else also where the two sides do not belong together, since a
                caption that stands with the wrong picture may be the right one of another.
        """
        clean = np.flatnonzero(self.clean >= 0.5)
        among = clean if believed else np.arange(len(self.one))
        if not len(clean) or not len(rows):
            return np.zeros(len(rows), np.int64), np.zeros(len(rows), np.bool_)
        standard = float(np.median(self.log_odds[clean]))
        best, sure = np.empty(len(rows), np.int64), np.empty(len(rows), np.bool_)
        for start in range(0, len(rows), _FEW):
            block = slice(start, start + _FEW)
            candidates = self._candidates(torch.from_numpy(rows[block]), torch.from_numpy(among))  # (B, k)
            own = torch.from_numpy(rows[block])[:, None].expand_as(candidates)
            scores = self.score((own.reshape(-1), candidates.reshape(-1))).reshape(candidates.shape)
            scores = np.where((candidates == own).numpy(), -np.inf, scores)
            choice = scores.argmax(axis=1)
            best[block] = candidates.numpy()[np.arange(len(choice)), choice]
            sure[block] = scores.max(axis=1) >= standard
        return best, sure

    def fits_better(self, row: int) -> tuple[int, int]:
        """Of how many others the one side fits the row's other side better than its own, and among how many."""
        told = self.one if self.joint else self._apart[0]
        wanted = self.other[row] if self.joint else self._maps[1](torch.tensor([row]))[0]
        others = self._usual[self._usual != row]
        return int((told[others] @ wanted > told[row] @ wanted).sum()), len(others)

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

    def _candidates(self, rows: Tensor, among: Tensor) -> Tensor:
        """Of the rows ``among``, those ``(B, k)`` whose other side may fit the one side of ``rows``."""
        count = min(_CANDIDATES, len(among))
        foretold = F.normalize(self._maps[0](rows), dim=1) @ self._apart[1][among].T
        if self.joint:
            foretold = foretold + self.one[rows] @ self.other[among].T
        return among[foretold.topk(count, dim=1).indices]

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

    def _apart_evidence(self, first: Tensor, second: Tensor) -> Tensor:
        """``(B, 4)``, from neighbours and from foretelling, in both directions."""
        agree = partial(self._agreement, first, second)
        foretold = [
            (F.normalize(self._maps[side](own), dim=1) * self._apart[1 - side][other]).sum(dim=1)
            for side, own, other in ((0, first, second), (1, second, first))
        ]
        return torch.stack([agree(0), agree(1), *foretold], dim=1)

    def _agreement(self, first: Tensor, second: Tensor, side: int) -> Tensor:
        """Mean cosine ``(B,)`` of a pair's other side with those of the rows nearest to it on ``side``.

        Neither the two rows themselves nor copies of them, which are alike on both sides, are asked.
        """
        own, other = (first, second) if side == 0 else (second, first)
        near = self._near[side][own]  # (B, k)
        kept = (near != first[:, None]) & (near != second[:, None]) & ~self._copies(own, near)
        kept &= kept.cumsum(dim=1) <= _NEAR
        weight = kept * self._trust[near]
        cosine = torch.einsum("bd,bkd->bk", self._apart[1 - side][other], self._apart[1 - side][near])
        return (weight * cosine).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-9)

    def _copies(self, rows: Tensor, near: Tensor) -> Tensor:
        """Which of their neighbours ``(B, k)`` are alike on both sides."""
        alike = [torch.einsum("bd,bkd->bk", side[rows], side[near]) > SAME for side in (self.one, self.other)]
        return alike[0] & alike[1]

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


def _usual_best(rows: Tensor, others: Tensor) -> Tensor:
    """Mean cosine ``(N,)`` of each of ``rows`` with those of ``others`` that are nearest to it."""
    count = min(_NEAR, len(others))
    return torch.cat([(block @ others.T).topk(count, dim=1).values.mean(dim=1) for block in rows.split(_BLOCK)])
