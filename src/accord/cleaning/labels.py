"""Labels that do not fit, from embeddings alone: what other rows say that a row's label is.

Each row asks its nearest rows, the means of the classes, a linear map from embeddings to classes, and, where the model
reads words, the names of the classes. None of them has seen the row's own label, as confident learning asks (Northcutt
et al. 2021, JAIR). What is said for the label, and how much more that is than for any other, is compared with what is
said for labels drawn at random (:mod:`accord.cleaning.evidence`); then again with rows that count as much as they are
believed, so that wrong labels vote less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from accord.cleaning.evidence import Floats, fit_odds, probability
from accord.cleaning.linear import LeaveOneOut
from accord.cleaning.nearby import SAME, Nearby

_NEAR = 15
_ROUNDS = 3
_LEAST = 0.02  # weight of a row that is not believed
_SAMPLE = 4096  # rows by which it is known how random labels score
_NUMBERS = 1 << 22  # in the largest block of rows and classes
_GAIN = 3.0  # standard errors by which own labels have to get more than random ones, for a kind of evidence to count
_TEMPERATURE = 0.1  # of cosines, by which near rows count more


class LabelJudge:
    """What embeddings say of the label of each row.

    Args:
        vectors: of one or several modalities, ``(N, D)`` unit norm each.
        labels: ``(N,)`` classes.
        classes: C, at least 2.
        names: for each of the vectors the embedded names of the classes ``(C, D)``, or None.
        seed: of draws.

    Attributes:
        clean: ``(N,)`` probability that the label is right.
        log_odds: ``(N,)`` the same, unbounded, for ranking.
        share: estimated share of wrong labels.
        telling: False where labels score no better than random ones; then none is doubted.
        best: ``(N,)`` the class, other than the row's own, for which most is said.
        sure: ``(N,)`` whether as much is said for it as for the middle one of the believed rows.
    """

    def __init__(
        self,
        vectors: Sequence[Tensor],
        labels: NDArray[np.int64],
        classes: int,
        names: Sequence[Tensor | None] = (),
        seed: int = 0,
    ) -> None:
        self.vectors, self.labels, self.classes = vectors, torch.from_numpy(labels.astype(np.int64)), classes
        self._names = names or [None] * len(vectors)
        self._near = [Nearby(side, seed).others(min(_NEAR, len(side) - 1)) for side in vectors]
        self._trust = torch.ones(len(labels))
        random = np.random.default_rng(seed).integers(1, classes, len(labels))
        self._drawn = (self.labels + torch.from_numpy(random)) % classes
        self._judge()

    def _judge(self) -> None:
        for _ in range(_ROUNDS):
            self._maps = [LeaveOneOut(side, self.labels, self._trust, self.classes) for side in self.vectors]
            self._sums = [self._sum(side) for side in self.vectors]
            self._scale = self._units()
            own, drawn, middle = self._compared()
            odds = fit_odds(own, drawn, choices=self.classes - 1)
            self.log_odds, self.telling = odds(own), odds.telling
            self.clean = probability(self.log_odds) if odds.telling else np.full(len(own), 0.5)
            self._trust = torch.from_numpy(self.clean).float().clamp_min(_LEAST)
        self.share = float((1 - self.clean).mean()) if self.telling else odds.share
        believed = middle[0][self.clean >= 0.5]
        self.sure = middle[1] >= (np.median(believed) if len(believed) else np.inf)

    def _units(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation ``(F,)`` of what is said for random labels; infinite where own ones get no more.

        Names such as ``12`` say nothing of pictures.
        """
        rows = torch.arange(0, len(self.labels), max(1, len(self.labels) // _SAMPLE))
        own, drawn = [], []
        for block in rows.split(self._at_once):
            said, places = self._said(block), torch.arange(len(block))
            own.append(said[places, self.labels[block]])
            drawn.append(said[places, self._drawn[block]])
        wrong = torch.cat(drawn)
        deviation = wrong.std(dim=0).clamp_min(1e-6)
        gain = (torch.cat(own).mean(dim=0) - wrong.mean(dim=0)) / deviation
        return wrong.mean(dim=0), deviation.where(gain > _GAIN / len(rows) ** 0.5, torch.inf)

    def _compared(self) -> tuple[Floats, Floats, tuple[Floats, Floats]]:
        """The evidence ``(N,)`` for the label of each row and for a random one; what is said for its own and the best.

        Evidence is what is said for a label, and once more by how much that is more than for any other.
        """
        parts: list[tuple[Tensor, ...]] = []
        for rows in torch.arange(len(self.labels)).split(self._at_once):
            said = self._scaled(self._said(rows))  # (B, C)
            mine, most, choice = _against_the_rest(said, self.labels[rows])
            other, rest, _ = _against_the_rest(said, self._drawn[rows])
            parts.append((2 * mine - most, 2 * other - rest, mine, most, choice))
        *numbers, best = (torch.cat(part) for part in zip(*parts, strict=True))
        self.best = best.numpy()
        own, drawn, said_own, said_best = (part.double().numpy() for part in numbers)
        return own, drawn, (said_own, said_best)

    def votes(self, row: int) -> tuple[int, int]:
        """How many of the row's neighbours bear its label, and how many are asked."""
        near = torch.cat([ids[row] for ids, _ in self._near]).unique()
        return int((self.labels[near] == self.labels[row]).sum()), len(near)

    def like(self, row: int, label: int) -> int | None:
        """The nearest believed row of a class; None without any."""
        believed = torch.from_numpy(self.clean >= 0.5) & (self.labels == label)
        believed[row] = False
        if not believed.any():
            return None
        cosine = self.vectors[0] @ self.vectors[0][row]
        return int(cosine.masked_fill(~believed, -torch.inf).argmax())

    def contradicts(self, row: int) -> int | None:
        """A row that is the same on all sides under another label; None without any."""
        near = self._near[0][0][row]
        same = torch.stack([side[near] @ side[row] > SAME for side in self.vectors]).all(dim=0)
        found = near[same & (self.labels[near] != self.labels[row])]
        return int(found[0]) if len(found) else None

    # ---- what is said --------------------------------------------------------------------------------------------

    @property
    def _at_once(self) -> int:
        """Rows of a block."""
        return max(1, _NUMBERS // self.classes)

    def _said(self, rows: Tensor) -> Tensor:
        """``(B, C, F)`` for every class of some rows."""
        kinds = []
        for side, (near, cosine), fitted, total, names in zip(
            self.vectors, self._near, self._maps, self._sums, self._names, strict=True
        ):
            kinds += [self._voted(rows, near, cosine), fitted(rows), self._central(rows, side, total)]
            kinds += [] if names is None else [side[rows] @ names.T]
        return torch.stack(kinds, dim=2)

    def _voted(self, rows: Tensor, near: Tensor, cosine: Tensor) -> Tensor:
        """Share of the votes of near rows ``(B, C)``; the nearer and the more believed count more."""
        ids, weight = near[rows], self._trust[near[rows]] * ((cosine[rows] - cosine[rows, :1]) / _TEMPERATURE).exp()
        votes = torch.zeros(len(rows), self.classes).scatter_add(1, self.labels[ids], weight)
        return votes / weight.sum(dim=1, keepdim=True).clamp_min(1e-9)

    def _sum(self, side: Tensor) -> Tensor:
        """Sum ``(C, D)`` of the rows of each class as far as they are believed."""
        total = torch.zeros(self.classes, side.shape[1])
        return total.index_add_(0, self.labels, self._trust[:, None] * side)

    def _central(self, rows: Tensor, side: Tensor, total: Tensor) -> Tensor:
        """Cosine with the mean of each class ``(B, C)``, the row left out of its own."""
        mine = self.labels[rows]
        rest = total[mine] - self._trust[rows, None] * side[rows]
        own = (side[rows] * F.normalize(rest, dim=1)).sum(dim=1)
        return (side[rows] @ F.normalize(total, dim=1).T).scatter(1, mine[:, None], own[:, None])

    def _scaled(self, said: Tensor) -> Tensor:
        """The kinds, in the last dimension, as one, each in the units of random labels."""
        return ((said - self._scale[0]) / self._scale[1]).mean(dim=-1)


def _against_the_rest(said: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What is said ``(B,)`` for one class of each row and for the best other one, and which that is."""
    own = said.gather(1, classes[:, None])[:, 0]
    most = said.scatter(1, classes[:, None], -torch.inf).max(dim=1)
    return own, most.values, most.indices
