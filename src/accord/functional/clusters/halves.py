"""2-means inside every cluster of all clusters at once: how each would fall apart."""

from __future__ import annotations

import torch
from torch import Tensor

from accord.functional.checks import as_float, check_ndim, check_range, check_shape
from accord.functional.clusters.k_means import class_means
from accord.functional.clusters.starts import seeded


@torch.no_grad()
def halves(x: Tensor, assign: Tensor, k: int, *, n_iter: int = 20, n_redo: int = 3, seed: int = 0) -> Tensor:
    """2-means inside every cluster, of all clusters at once: which rows would make its second half.

    Args:
        x: ``(N, D)``; finite.
        assign: ``(N,)`` cluster of each row, below k.
        k: number of clusters.
        n_iter: largest number of rounds.
        n_redo: number of starts, of which each cluster keeps its own best.
        seed: of the starts; the same on every device.

    Returns:
        ``(N,)`` bool.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: fewer than one round or start.

    Example:
        >>> side = halves(torch.tensor([[0.0], [1.0], [9.0], [5.0], [5.5]]), torch.tensor([0, 0, 0, 1, 1]), k=2)
        >>> bool(side[0] == side[1]), bool(side[1] == side[2]), bool(side[3] == side[4])
        (True, False, False)
    """
    check_ndim(2, x=x)
    check_shape((len(x),), assign=assign)
    check_range(1, max(n_iter, 1), n_iter=n_iter)
    check_range(1, max(n_redo, 1), n_redo=n_redo)
    with torch.autocast(x.device.type, enabled=False):
        x = as_float(x)
        best, least = torch.zeros_like(assign, dtype=torch.bool), x.new_full((k,), torch.inf)
        for redo in range(n_redo if len(x) else 0):
            side, inertia = _halved_once(x, assign, k, n_iter, seeded(seed, redo))
            best = torch.where((inertia < least)[assign], side, best)
            least = torch.minimum(least, inertia)
        return best


def _halved_once(x: Tensor, assign: Tensor, k: int, n_iter: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """From one start: the side of each row, and the inertia ``(k,)`` of each cluster's halves."""
    noise = torch.rand(2, len(x), generator=generator).clamp_(1e-12, 1 - 1e-7).to(x)
    first = x[_best_of_each(noise[0], assign, k)]  # (k, D)
    far = (x - first[assign]).square().sum(dim=1)
    second = x[_best_of_each(far.log() - (-noise[1].log()).log(), assign, k)]  # as likely as far² says: Gumbel's trick
    pair = torch.stack([first, second], dim=1).flatten(0, 1)  # (2k, D)
    side = torch.zeros_like(assign)
    for _ in range(n_iter):
        between = pair[1::2] - pair[::2]
        middle = (between * (pair[1::2] + pair[::2])).sum(dim=1) / 2
        previous, side = side, ((x * between[assign]).sum(dim=1) > middle[assign]).long()
        mean, count = class_means(x, 2 * assign + side, 2 * k)
        pair = torch.where(count[:, None] > 0, mean, pair)
        if torch.equal(side, previous):
            break
    apart = (x - pair[2 * assign + side]).square().sum(dim=1)
    return side.bool(), apart.new_zeros(k).index_add(0, assign, apart)


def _best_of_each(score: Tensor, assign: Tensor, k: int) -> Tensor:
    """The row ``(k,)`` of highest score in each cluster; any row for an empty one."""
    top = score.new_full((k,), -torch.inf).scatter_reduce(0, assign, score, "amax")
    rows = torch.arange(len(score), device=score.device).where(score == top[assign], len(score) - 1)
    return torch.full((k,), len(score) - 1, device=score.device).scatter_reduce(0, assign, rows, "amin")
