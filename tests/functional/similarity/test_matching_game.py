"""Interactions of sentences and moments against games that are played one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import interaction_alignment_loss, matching_game_value, pairwise_interaction


def value(sim: Tensor) -> Tensor:
    """Of a coalition: the softmax is over the moments that are in it."""
    return matching_game_value(sim.softmax(dim=1)) if sim.numel() else sim.new_zeros(())


def played(sim: Tensor) -> Tensor:
    found = torch.zeros_like(sim)
    for j in range(len(sim)):
        for i in range(sim.shape[1]):
            others = [a for a in range(len(sim)) if a != j]
            rest = [a for a in range(sim.shape[1]) if a != i]
            found[j, i] = value(sim) - value(sim[:, rest]) - value(sim[others]) + value(sim[others][:, rest])
    return found


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 1), (2, 5), (4, 7)], ids=str)
def test_all_pairs_at_once_are_the_games_one_by_one(shape) -> None:
    sim = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pairwise_interaction(sim), played(sim))


def test_moments_that_stand_there_twice_are_two_players() -> None:
    sim = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))[:, [0, 1, 1, 2]]
    torch.testing.assert_close(pairwise_interaction(sim), played(sim))


def test_the_value_is_the_mean_of_both_directions_and_nothing_without_players() -> None:
    torch.testing.assert_close(matching_game_value(torch.tensor([[0.75, 0.25], [0.5, 0.5]])), torch.tensor(0.625))
    assert matching_game_value(torch.zeros(0, 3)) == 0
    with pytest.raises(ShapeError):
        matching_game_value(torch.zeros(3))


def test_a_pair_that_belongs_together_interacts_more() -> None:
    found = pairwise_interaction(3 * torch.eye(3))
    assert (found.diagonal() > found.sum(dim=1) - found.diagonal()).all()


def test_the_loss_draws_alignment_to_positive_interactions_which_have_no_gradient() -> None:
    sim = torch.randn(2, 4, generator=torch.Generator().manual_seed(2), requires_grad=True)
    interaction = torch.tensor([[3.0, -1.0, 0.0, 0.0], [0.0, 4.0, -9.0, 0.0]], requires_grad=True)
    loss = interaction_alignment_loss(sim, interaction)
    aligned = sim.log_softmax(dim=1)
    torch.testing.assert_close(loss, -(0.6 * aligned[0, 0] + 0.8 * aligned[1, 1]) / 8)
    loss.backward()
    assert interaction.grad is None
    assert sim.grad is not None
    assert sim.grad[0, 0] < 0 < sim.grad[0, 1]


def test_no_interaction_teaches_nothing() -> None:
    assert interaction_alignment_loss(torch.randn(2, 3), -torch.ones(2, 3)) == 0
