"""Sentences and moments as players of a game: what two of them bring together beyond what each brings (G2L).

Li et al. (2023, ICCV). The value of a coalition is how well its sentences and moments find each other; the interaction
of a pair is its second difference in the whole coalition. Removing a player leaves a softmax over the moments that are
left. All pairs are computed at once: largest and second largest entries say what each is worth without a sentence, and
a softmax for each moment what all are worth without it, n·M² numbers instead of n·M games. The released code does
otherwise in five places, and is there to be compared with.
"""

from __future__ import annotations

import torch
from torch import Tensor

from accord.functional.checks import as_float, check_ndim, check_shape

_GONE = -1e9  # what the released code writes into the vector of a player that is removed


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


def official_interaction_loss(sentences: Tensor, moments: Tensor) -> Tensor:
    """The semantic Shapley term of a film as G2L's released code computes it; its model then takes it *off* the loss.

    ``-n/M Σ_l Î_l (log A)_l``, where Î runs over the pairs moment by moment and log A sentence by sentence: they belong
    together for n = 1 alone. ``I_ji = f(all) - f(all∖i) + f(all∖j) - f(all∖{i, j})``, in which two signs are turned,
    has a gradient and may be negative. A player is removed by -1e9 in all places of its vector. That takes a moment out
    of the softmax of sentences whose entries sum to more than 0, and gives it all the weight of the others; a sentence
    stays in the game, for the moment whose entries have the least sum.

    Args:
        sentences: ``(n, D)`` unit norm.
        moments: ``(M, D)`` unit norm, in the order in which they are listed.

    Returns:
        Scalar.

    Raises:
        ShapeError: not two matrices of the same width.

    Example:
        >>> official_interaction_loss(torch.eye(3)[:2], torch.eye(3))
        tensor(-1.9004)
    """
    check_ndim(2, sentences=sentences)
    check_shape((None, sentences.shape[1]), moments=moments)
    with torch.autocast(moments.device.type, enabled=False):
        sentences, moments = as_float(sentences), as_float(moments)
        sim = sentences @ moments.T  # (n, M)
        interaction = _official_interaction(sim, _GONE * sentences.sum(dim=1), _GONE * moments.sum(dim=1))
        share = interaction.T.flatten()  # moment by moment
        share = share / torch.linalg.vector_norm(share).clamp(min=torch.finfo(share.dtype).tiny)
        return -(share * sim.log_softmax(dim=1).flatten()).sum() * sim.shape[0] / sim.shape[1]


def _official_interaction(sim: Tensor, to_no_moment: Tensor, to_no_sentence: Tensor) -> Tensor:
    """That interaction ``(n, M)``, from the similarities ``(n,)`` and ``(M,)`` with what was removed."""
    count = sim.shape[1]
    itself = torch.eye(count, dtype=torch.bool, device=sim.device)
    whole = sim.softmax(dim=1)  # (n, M)
    fewer = torch.where(itself[:, None], to_no_moment[:, None], sim).softmax(dim=2)  # (M, n, M), i removed first
    gone = to_no_sentence.softmax(dim=0)  # (M,), the alignment of a sentence that was removed
    without_i = (fewer.amax(dim=1).mean(dim=1) + fewer.amax(dim=2).mean(dim=1)) / 2  # (M,)
    without_j = _mean_both_ways(_best_of_others(whole).maximum(gone), whole.amax(dim=1), gone.amax())  # (n,)
    # Both removed meet with the square of what the others do: the sentence is then for that moment alone.
    both = _mean_both_ways(
        _best_of_others(fewer).maximum(itself[:, None].to(fewer)), fewer.amax(dim=2), fewer.new_ones(())
    )  # (M, n)
    return matching_game_value(whole) - without_i + without_j[:, None] - both.T


def _mean_both_ways(of_moments: Tensor, of_sentences: Tensor, gone: Tensor) -> Tensor:
    """The value ``(..., n)`` of the game with each sentence replaced.

    Args:
        of_moments: ``(..., n, M)`` best alignment of each moment then.
        of_sentences: ``(..., n)`` best alignment of each sentence as it was.
        gone: best alignment of what takes its place.
    """
    others = of_sentences.sum(dim=-1, keepdim=True) - of_sentences
    return (of_moments.mean(dim=-1) + (others + gone) / of_sentences.shape[-1]) / 2


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
