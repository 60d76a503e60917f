"""A transformer that is added to steps: positions, padding, and more steps than there are positions."""

from __future__ import annotations

import pytest
import torch

from accord.encoders.heads import AddedSteps, StepTower
from accord.encoders.transformer import Transformer


@pytest.fixture
def added() -> AddedSteps:
    torch.manual_seed(0)
    return AddedSteps(8, steps=6, depth=2, heads=2)


def test_what_is_read_in_order_is_added_to_the_steps(added):
    steps = torch.randn(2, 5, 8)
    torch.testing.assert_close(added(steps), steps + added.transformer(steps + added.positions[:5]))
    turned = added(steps.flip(1)).flip(1)
    assert not torch.allclose(turned, added(steps))


def test_padding_changes_no_real_step(added):
    steps, mask = torch.randn(1, 5, 8), torch.arange(5)[None] < 3
    other = steps.masked_fill(~mask[..., None], 9.0)
    torch.testing.assert_close(added(steps, mask)[:, :3], added(other, mask)[:, :3])
    torch.testing.assert_close(added(steps, mask)[:, :3], added(steps[:, :3]))


@pytest.mark.parametrize(
    "make", [lambda: AddedSteps(8, 6, 1, 2), lambda: StepTower(8, 4, 6, width=8, depth=1, heads=2)]
)
def test_more_steps_than_positions_are_refused(make):
    with pytest.raises(ValueError, match="number_of_steps"):
        make()(torch.zeros(1, 7, 8))


def test_an_mlp_has_the_activation_that_is_asked_for():
    torch.manual_seed(0)
    usual, quick = (Transformer(8, 1, 2, activation=name) for name in ("gelu", "quick_gelu"))
    quick.load_state_dict(usual.state_dict())
    x = torch.randn(1, 3, 8)
    hidden = quick.layers[0].linear1(x)
    torch.testing.assert_close(quick.layers[0].activation(hidden), hidden * torch.sigmoid(1.702 * hidden))
    assert not torch.equal(usual(x), quick(x))
