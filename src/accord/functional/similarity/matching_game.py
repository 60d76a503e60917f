"""Sentences and moments as players of a game: what two of them bring together beyond what each brings (G2L).

Li et al. (2023, ICCV). The value of a coalition is how well its sentences and moments find each other; the interaction
of a pair is its second difference in the whole coalition. Removing a player leaves a softmax over the moments that are
left. All pairs are computed at once: largest and second largest entries say what each is worth without a sentence, and
a softmax for each moment what all are worth without it, n·M² numbers instead of n·M games.
"""

from __future__ import annotations

import torch
from torch import Tensor

from accord.functional.checks import as_float, check_ndim, check_shape


def matching_game_value(alignment: Tensor) -> Tensor:
    """How well sentences and moments find each other: the mean of both directions' best alignments.

    ``½ [mean_i max_j A_ji + mean_j max_i A_ji]`` for sentences j and moments i.

    Args:
        alignment: ``(n, M)`` of sentences with moments, rows that sum to 1.

    Returns:
        Scalar; 0 where there is no sentence or no moment.

    Raises:
        ShapeError: not a matrix.

    Example:
        >>> matching_game_value(torch.tensor([[0.75, 0.25], [0.5, 0.5]]))
        tensor(0.6250)
    """
    check_ndim(2, alignment=alignment)
    if not alignment.numel():
        return alignment.new_zeros(())
    return (alignment.amax(dim=0).mean() + alignment.amax(dim=1).mean()) / 2


@torch.no_grad()
def pairwise_interaction(sim: Tensor) -> Tensor:
    """Interaction of every sentence and moment in the coalition of all (G2L; the second difference of the game).

    ``I_ji = f(all) - f(all∖i) - f(all∖j) + f(all∖{i, j})`` with f of :func:`matching_game_value` on the softmax of each
    sentence over the moments that are in the coalition.

    Args:
        sim: ``(n, M)`` similarity of sentences and moments.

    Returns:
        ``(n, M)`` without gradient, float32 at least.

    Raises:
        ShapeError: not a matrix, or an empty one.

    Example:
        >>> pairwise_interaction(torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
        tensor([[ 0.1134, -0.0770, -0.0770],
                [-0.0770,  0.1134, -0.0770]])
    """
    check_ndim(2, sim=sim)
    sim = as_float(sim)
    count = sim.shape[1]
    itself = torch.eye(count, dtype=torch.bool, device=sim.device)[:, None]  # (M, 1, M)
    whole = sim.softmax(dim=1)  # (n, M)
    fewer = sim.masked_fill(itself, -torch.inf).softmax(dim=2).masked_fill(itself, 0.0)  # (M, n, M), i left out first
    others = max(count - 1, 1)
    without_i = (fewer.amax(dim=1).sum(dim=1) / others + fewer.amax(dim=2).mean(dim=1)) / 2  # (M,)
    without_j = (_best_of_others(whole).mean(dim=1) + _mean_of_others(whole.amax(dim=1))) / 2  # (n,)
    both = _best_of_others(fewer).sum(dim=2) / others + _mean_of_others(fewer.amax(dim=2))  # (M, n)
    return matching_game_value(whole) - without_i - without_j[:, None] + both.T / 2


def interaction_alignment_loss(sim: Tensor, interaction: Tensor) -> Tensor:
    """Cross-entropy of the alignment of sentences and moments with their interaction (G2L's semantic Shapley term).

    ``-1/(nM) Σ_ji Î_ji log A_ji`` with A the softmax of each sentence over the moments, and Î the interaction without
    gradient, at least 0, of length 1 over all pairs. Pairs that bring nothing together are left alone.

    Args:
        sim: ``(n, M)`` similarity of sentences and moments.
        interaction: ``(n, M)`` of :func:`pairwise_interaction`.

    Returns:
        Scalar.

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> sim = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
        >>> interaction_alignment_loss(sim, pairwise_interaction(sim))
        tensor(0.0565)
    """
    check_shape(tuple(sim.shape), interaction=interaction)
    with torch.autocast(sim.device.type, enabled=False):
        share = as_float(interaction).detach().clamp(min=0)
        share = share / torch.linalg.vector_norm(share).clamp(min=torch.finfo(share.dtype).tiny)
        return -(share * as_float(sim).log_softmax(dim=1)).mean()


def _best_of_others(alignment: Tensor) -> Tensor:
    """For each sentence of ``(..., n, M)`` the best alignment of each moment with another sentence; 0 for none."""
    best = alignment.topk(min(2, alignment.shape[-2]), dim=-2)
    first = best.values[..., :1, :]
    second = best.values[..., 1:, :] if alignment.shape[-2] > 1 else torch.zeros_like(first)
    number = torch.arange(alignment.shape[-2], device=alignment.device)[:, None]
    return torch.where(number == best.indices[..., :1, :], second, first)


def _mean_of_others(values: Tensor) -> Tensor:
    """For each entry of ``(..., n)`` the mean of the others; 0 for none."""
    return (values.sum(dim=-1, keepdim=True) - values) / max(values.shape[-1] - 1, 1)
