"""Interactions of sentences and moments against games that are played one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import (
    interaction_alignment_loss,
    matching_game_value,
    official_interaction_loss,
    pairwise_interaction,
)


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


def as_released(sentences: Tensor, moments: Tensor) -> Tensor:
    """The released term game by game: a player is removed by -1e9, and two lists of pairs are in different orders."""

    def value_without(sentence: int | None, moment: int | None) -> Tensor:
        words, cells = sentences.clone(), moments.clone()
        if sentence is not None:
            words[sentence] = -1e9
        if moment is not None:
            cells[moment] = -1e9
        return matching_game_value((words @ cells.T).softmax(dim=1))

    interaction = [
        value_without(None, None) - value_without(None, i) + value_without(j, None) - value_without(j, i)
        for i in range(len(moments))
        for j in range(len(sentences))
    ]
    aligned = (sentences @ moments.T).log_softmax(dim=1)
    listed = torch.stack([aligned[j, i] for j in range(len(sentences)) for i in range(len(moments))])
    share = torch.stack(interaction)
    return -len(sentences) / len(moments) * (share / share.norm() * listed).sum()


@pytest.mark.parametrize("shape", [(1, 2), (1, 6), (2, 5), (4, 3)], ids=str)
def test_the_released_term_is_that_of_games_one_by_one_with_its_gradient(shape) -> None:
    random = torch.Generator().manual_seed(3)
    vectors = [torch.randn(count, 6, dtype=torch.float64, generator=random) for count in shape]
    vectors = [(one / one.norm(dim=1, keepdim=True)).requires_grad_() for one in vectors]
    found, expected = official_interaction_loss(*vectors), as_released(*vectors)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(torch.autograd.grad(found, vectors), torch.autograd.grad(expected, vectors), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_moment_that_was_removed_takes_all_weight_of_a_sentence_of_negative_sum() -> None:
    moments = torch.eye(3)
    expected = as_released(-moments[:1], moments)
    torch.testing.assert_close(official_interaction_loss(-moments[:1], moments), expected)
    assert not torch.isclose(expected, as_released(moments[:1], moments))


def test_the_released_term_attaches_labels_to_other_pairs() -> None:
    sentences, moments = torch.eye(4)[:2], torch.eye(4)[[0, 1, 3]]
    swapped = official_interaction_loss(sentences, moments[[1, 0, 2]])
    torch.testing.assert_close(as_released(sentences, moments[[1, 0, 2]]), swapped)
    assert not torch.isclose(official_interaction_loss(sentences, moments), swapped)  # an order should say nothing
    sim = sentences @ moments.T
    torch.testing.assert_close(
        interaction_alignment_loss(sim, pairwise_interaction(sim)),
        interaction_alignment_loss(sim[:, [1, 0, 2]], pairwise_interaction(sim[:, [1, 0, 2]])),
    )
