"""Which layers of two models agree best: neighbours of every layer of one against every layer of the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from accord.functional.checks import as_float, check_ndim, check_range, check_share
from accord.functional.measures.agreement import knn_indices, neighbour_overlap


@dataclass(frozen=True, eq=False)
class Sweep:
    """Mutual k-nearest neighbours of each pair of layers.

    Args:
        scores: ``(Lx, Ly)``.
        best: the pair of layers that agrees most; the best of many pairs is too good by chance, see :meth:`null`.
        lists: neighbours ``(N, k)`` of each layer of either side.
    """

    scores: Tensor
    best: tuple[int, int]
    lists: tuple[list[Tensor], list[Tensor]]

    @property
    def per_item(self) -> Tensor:
        """The overlap ``(N,)`` of each row in the best pair."""
        return neighbour_overlap(self.lists[0][self.best[0]], self.lists[1][self.best[1]])

    def null(self, permutations: int, generator: torch.Generator) -> Tensor:
        """The best score of all pairs when rows are paired at random, ``permutations`` times.

        Args:
            permutations: how often.
            generator: of the random pairings; on the CPU.
        """
        count = len(self.lists[0][0])
        orders = [torch.randperm(count, generator=generator).to(self.scores.device) for _ in range(permutations)]
        return torch.stack([self._shuffled(order) for order in orders])

    def _shuffled(self, order: Tensor) -> Tensor:
        """The best score where row i of the second side is its row ``order[i]``: the lists only change their names."""
        place = order.argsort()
        shuffled = [place[neighbours[order]] for neighbours in self.lists[1]]
        return torch.stack([neighbour_overlap(x, y).mean() for x in self.lists[0] for y in shuffled]).max()


@torch.no_grad()
def layer_sweep(x: Tensor, y: Tensor, k: int = 10, concat: bool = False) -> Sweep:
    """Mutual k-nearest neighbours of every layer of one model with every layer of another.

    Args:
        x: ``(N, Lx, D)`` features of all layers, one layer for a single vector.
        y: ``(N, Ly, E)``.
        k: neighbours, below N.
        concat: add all layers side by side as a last one.

    Raises:
        ShapeError: not three axes.
        ValueError: not as many rows, or k outside its range.

    Source:
        Huh et al. (2024); "Dynamic Reflections" (2026), section 3.

    Example:
        >>> x = torch.randn(40, 3, 8, generator=torch.Generator().manual_seed(0))
        >>> layer_sweep(x, x[:, [2]], k=5).best
        (2, 0)
    """
    check_ndim(3, x=x, y=y)
    check_range(len(x), len(x), **{"rows of y": len(y)})
    lists = (
        [knn_indices(each, k) for each in _layers(x, concat)],
        [knn_indices(each, k) for each in _layers(y, concat)],
    )
    scores = torch.stack([torch.stack([neighbour_overlap(one, two).mean() for two in lists[1]]) for one in lists[0]])
    best = divmod(int(scores.argmax()), scores.shape[1])
    return Sweep(scores, best, lists)


def clamp_outliers(features: Tensor, q: float = 0.95, exact: bool = False) -> Tensor:
    """Features cut at ``[-c, c]``: a few dimensions of huge values would otherwise be all that a cosine sees.

    Args:
        features: ``(N, L, D)``.
        q: c is this quantile of the magnitudes of a row, on average over rows.
        exact: c is the magnitude of place ``floor(q · count)`` among all, in ascending order from 0.

    Raises:
        ShapeError: not three axes.
        ValueError: q outside (0, 1).

    Example:
        >>> clamp_outliers(torch.tensor([[[0.0, 1.0, -2.0, 9.0]]]), q=0.5, exact=True)
        tensor([[[ 0.,  1., -2.,  2.]]])
    """
    check_ndim(3, features=features)
    check_share(q=q)
    size = as_float(features).abs()
    if exact:
        limit = size.flatten().kthvalue(min(size.numel(), int(q * size.numel()) + 1)).values
    else:
        limit = torch.stack([row.flatten().quantile(q) for row in size]).mean()
    return features.clamp(-limit, limit)


def _layers(x: Tensor, concat: bool) -> list[Tensor]:
    return [*x.unbind(dim=1), *([x.flatten(1)] if concat else [])]
