"""Co-dividing: of two networks each is trained on the rows that the other one takes for clean (DivideMix, NCR, PC²).

The networks take turns, a step each. Where captions are borrowed, a turn with clean rows is followed by one with rows
that the other network takes for mismatched, beside the clean ones whose captions they may borrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.data.draws import Purpose, seed_of
from accord.data.loading.features import Features
from accord.data.loading.order import Drawn, Known, Sampling
from accord.data.loading.tokens import TokenRows
from accord.functional import split_clean, triplet_ranking_loss
from accord.state.base import FullPrecisionState

NETWORKS = ("first", "second")
COMPARED = 128  # rows that a row is judged among, as many as the batches of PC² have
CLEAN, BORROWING = slice(0, None, 2), slice(1, None, 2)  # where the rows of a batch that borrows stand


class Turn(NamedTuple):
    """Who is trained at a step, and whether on rows that borrow their captions."""

    network: int
    borrows: bool


def turn_of(step: int, borrowing: bool) -> Turn:
    """The turn at a step of a stage.

    Example:
        >>> [turn_of(step, borrowing=True) for step in (0, 1, 2)]
        [Turn(network=0, borrows=False), Turn(network=1, borrows=False), Turn(network=0, borrows=True)]
    """
    return Turn(step % 2, borrowing and step // 2 % 2 == 1)


@dataclass(frozen=True, eq=False)
class Divided(Sampling):
    """Batches for two networks in turn, each from rows of its own; an epoch has as many as two passes over all rows.

    The rows of a set come in shuffled rounds, of which batches that would not be full are left out. A batch that
    borrows has twice as many rows: those of the network's last clean batch at even places, as many of its other rows at
    odd ones, so that processes that share it out have pairs.

    Args:
        clean: ``(2, N)`` bool, the rows that each network is trained on; where it has none, all.
        first: the step of the stage that the epoch begins with.
        steps: optimiser steps of an epoch, each of one batch or of several; 0 for as many as there are batches.
        borrowing: whether every second turn of a network borrows.
    """

    clean: NDArray[np.bool_]
    first: int = 0
    steps: int = 0
    borrowing: bool = False

    def rows_per_epoch(self, known: Known) -> int:
        """All rows for each network."""
        return 2 * known.rows

    def rows_per_batch(self, wanted: int, known: Known) -> int:
        """``wanted``, but no row twice."""
        return min(wanted, known.rows)

    def draw(self, known: Known, size: int, count: int, seed: int, epoch: int) -> Sequence[Drawn]:
        """The batches in the order of the turns."""
        generator = np.random.default_rng(seed_of(seed, Purpose.ORDER, epoch))
        clean, other = ([_rounds(rows, size, generator) for rows in side] for side in (self.clean, ~self.clean))
        together = max(1, count // self.steps) if self.steps else 1
        last: dict[tuple[int, int], NDArray[np.int64]] = {}
        batches = []
        for number in range(count):
            turn, place = turn_of(self.first + number // together, self.borrowing), number % together
            if not turn.borrows:
                last[turn.network, place] = rows = next(clean[turn.network])
            else:
                lenders = last.get((turn.network, place))  # None where the last epoch ended with the clean turn
                lenders = next(clean[turn.network]) if lenders is None else lenders
                rows = np.stack([lenders, next(other[turn.network])], axis=1).reshape(-1)
            batches.append(Drawn(rows))
        return batches


def _rounds(chosen: NDArray[np.bool_], size: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Batches without end; a set that does not fill one is repeated in it."""
    rows = np.flatnonzero(chosen) if chosen.any() else np.arange(len(chosen))
    whole = max(1, len(rows) // size) * size
    while True:
        yield from np.resize(generator.permutation(rows), whole).reshape(-1, size)


class Division(FullPrecisionState):
    """What each network thinks of the rows, and where the epoch stands: what :class:`Divided` batches are drawn by.

    Args:
        rows: their number N.

    Example:
        >>> division = Division(4)
        >>> division.judge(0, torch.tensor([0.9, 0.8, 0.2, 0.6]), torch.ones(4))
        >>> division.sampling().clean[1].tolist()  # the other one is trained on what this one takes for clean
        [True, True, False, True]
    """

    clean: Tensor
    labels: Tensor
    epoch: Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("clean", torch.ones(2, rows, dtype=torch.bool))
        self.register_buffer("labels", torch.ones(2, rows))
        self.register_buffer("epoch", torch.zeros(3, dtype=torch.long))  # first step, steps, whether captions are lent

    def judge(self, network: int, probability: Tensor, labels: Tensor, threshold: float = 0.5) -> None:
        """Take a network's judgement.

        Args:
            network: its number.
            probability: ``(N,)`` that a pair is clean.
            labels: ``(N,)`` how well each pair corresponds, in [0, 1].
            threshold: probability above which a pair counts as clean.
        """
        self.clean[network] = split_clean(probability, threshold)
        self.labels[network] = labels

    def begin(self, first: int, steps: int, borrowing: bool) -> None:
        """Note what :class:`Divided` has to know of the epoch that begins."""
        self.epoch.copy_(torch.tensor([first, steps, borrowing]))

    def labels_for(self, network: int, rows: Tensor) -> Tensor:
        """The other network's labels ``(b,)`` of these rows."""
        return self.labels[1 - network][rows]

    def sampling(self) -> Divided:
        """How the rows of the epoch are drawn."""
        first, steps, borrowing = self.epoch.tolist()
        return Divided(self.clean.flip(0).cpu().numpy(), first, steps, bool(borrowing))


@torch.no_grad()
def losses_among_others(
    similarity: Callable[[Features, Features], Tensor],
    images: Sequence[Features],
    texts: Sequence[Features],
    margin: float,
    draws: torch.Generator,
    device: torch.device,
) -> Tensor:
    """Mean triplet loss ``(N,)`` of each pair among others, of a random order.

    Rows stand in the data in an order of their own, in which neighbours may be more alike than others.

    Args:
        similarity: ``(A, B)`` of A pictures and B captions.
        images: what was read of the rows, in their order, batch after batch, on the processor.
        texts: likewise.
        margin: of all pairs.
        draws: of the order.
        device: where they are compared.
    """
    image, text = TokenRows.of(images), TokenRows.of(texts)  # half as many bytes
    losses = torch.empty(len(image), device=device)
    order = torch.randperm(len(image), generator=draws)
    for rows in order.tensor_split(math.ceil(len(order) / COMPARED)):
        sims = similarity(image.padded(rows).to(device), text.padded(rows).to(device))
        losses[rows.to(device)] = triplet_ranking_loss(sims, margin, "mean", "none")
    return losses
