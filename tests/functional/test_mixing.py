from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from accord.errors import ShapeError
from accord.functional import clip_mixup, cutmix, cutmix_box, mixup, soft_targets

LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def test_soft_targets_are_those_of_torchs_smoothed_cross_entropy() -> None:
    logits = torch.randn(6, 3)
    expected = F.cross_entropy(logits, LABELS, label_smoothing=0.1)
    torch.testing.assert_close(F.cross_entropy(logits, soft_targets(LABELS, 3, 0.1)), expected)


def test_targets_that_are_soft_already_are_smoothed_too() -> None:
    half = torch.full((2, 2), 0.5)
    torch.testing.assert_close(soft_targets(half, 2, 0.3), half)


def test_targets_of_other_width_are_refused() -> None:
    with pytest.raises(ShapeError, match="labels"):
        soft_targets(torch.zeros(2, 4), 3)


@pytest.mark.parametrize("shape", [(6, 3, 8, 10), (6, 2, 3, 8, 10)], ids=["pictures", "clips"])
@pytest.mark.parametrize("seed", range(8))
def test_the_target_says_how_much_of_each_partner_there_is(shape, seed) -> None:
    """Every picture is of one value, its class, so that its mean tells what is in it."""
    torch.manual_seed(seed)
    x = F.one_hot(LABELS, 3).float()  # (B, K): each class has a channel of its own
    x = x.view(6, *[1] * (len(shape) - 4), 3, 1, 1).expand(shape)
    mixed, target = clip_mixup(x, LABELS, 3, smoothing=0.0)
    held = mixed.mean(dim=(-2, -1)).view(6, -1, 3).mean(dim=1)  # (B, K)
    torch.testing.assert_close(held, target)
    if len(shape) == 5:
        torch.testing.assert_close(mixed[:, 0], mixed[:, 1])


def test_a_pasted_box_is_the_partners_and_the_rest_its_own() -> None:
    x, partner = torch.rand(4, 3, 6, 6), torch.tensor([2, 3, 0, 1])
    mixed = cutmix(x, partner, (1, 2, 5, 4))
    assert torch.equal(mixed[:, :, 1:5, 2:4], x[partner][:, :, 1:5, 2:4])
    outside = torch.ones(6, 6, dtype=torch.bool)
    outside[1:5, 2:4] = False
    assert torch.equal(mixed[..., outside], x[..., outside])


def test_boxes_have_the_wanted_size_unless_they_are_cut_off_at_an_edge() -> None:
    torch.manual_seed(0)
    for _ in range(50):
        (top, left, bottom, right), share = cutmix_box(40, 60, 0.75)
        assert share == pytest.approx(1 - (bottom - top) * (right - left) / 2400)
        assert share >= 0.75 - 1e-9
        if top and left and bottom < 40 and right < 60:
            assert (bottom - top, right - left) == (20, 30)


def test_both_ways_of_mixing_are_drawn_and_repeat_with_the_seed() -> None:
    x = torch.rand(6, 3, 8, 8)

    def drawn(seed: int, cutmix_p: float) -> torch.Tensor:
        torch.manual_seed(seed)
        return clip_mixup(x, LABELS, 3, cutmix_p=cutmix_p)[0]

    assert torch.equal(drawn(1, 0.5), drawn(1, 0.5))
    pasted = drawn(1, 1.0)
    assert all(torch.isin(pasted[row], x).all() for row in range(6))
    assert not torch.isin(drawn(1, 0.0), x).all()


def test_mixing_with_nothing_changes_nothing() -> None:
    x = torch.rand(3, 5)
    torch.testing.assert_close(mixup(x, torch.tensor([1, 2, 0]), 1.0), x)
