"""Where k-means starts: at rows that are far from each other (Arthur and Vassilvitskii 2007, SODA)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def far_rows(x: Tensor, k: int, nearest: Tensor | None, generator: torch.Generator) -> Tensor:
    """k rows of ``x`` by k-means++ with several draws each.

    Args:
        x: ``(N, D)``.
        k: how many.
        nearest: ``(N,)`` squared distances to the centres that are there already; None without any.
        generator: see :func:`seeded`.
    """
    draws = 2 + int(math.log(max(k, 1)))
    centred = x - x.mean(dim=0)
    square = centred.square().sum(dim=1)
    chosen = torch.empty(k, dtype=torch.long, device=x.device)
    for step in range(k):
        mass = (torch.ones_like(square) if nearest is None else nearest).double().cumsum(dim=0)
        point = torch.rand(draws, dtype=torch.float64, generator=generator).to(x.device) * mass[-1]
        candidate = torch.searchsorted(mass, point, right=True).clamp(max=len(x) - 1)
        distance = torch.addmm(square[:, None] + square[candidate], centred, centred[candidate].T, alpha=-2)
        distance.clamp_(min=0)  # (N, draws)
        if nearest is not None:
            distance = torch.minimum(distance, nearest[:, None])
        best = distance.sum(dim=0).argmin()
        nearest = distance[:, best].contiguous()
        chosen[step] = candidate[best]
    return x[chosen]


def seeded(seed: int, redo: int = 0) -> torch.Generator:
    """Random numbers of one of several starts; on the CPU, so that every device draws the same."""
    return torch.Generator().manual_seed(seed + 7919 * redo)
