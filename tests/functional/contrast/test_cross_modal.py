"""SimCLR's loss between modalities, against sums term by term."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import cross_modal_prototype_loss, nt_xent, slot_nt_xent
from functional.tester import Case, LossTester, every


def slots_loop(x: Tensor, y: Tensor, tau: Tensor, valid: Tensor | None = None) -> Tensor:
    clips, slots = x.shape[:2]
    there = torch.ones(clips, slots, dtype=torch.bool) if valid is None else valid
    items = [(side, i, s) for side in (0, 1) for i in range(clips) for s in range(slots) if there[i, s]]
    unit = [F.normalize(one, dim=2) for one in (x, y)]
    losses = []
    for side, i, s in items:
        anchor = unit[side][i, s]
        positive = anchor @ unit[1 - side][i, s] / tau
        others = [anchor @ unit[b][j, t] / tau for b, j, t in items if j != i]
        losses.append(torch.logsumexp(torch.stack([positive, *others]), 0) - positive)
    return torch.stack(losses).mean()


def make(rows: int, generator: torch.Generator) -> dict[str, Any]:
    x, y = torch.randn(2, rows, 3, 5, generator=generator, dtype=torch.float64)
    valid = torch.rand(rows, 3, generator=generator) > 0.3
    valid[0, 0] = True
    return {"x": x, "y": y, "tau": torch.tensor(0.3, dtype=torch.float64), "valid": valid}


SLOTS = Case(
    "slot_nt_xent", slot_nt_xent, slots_loop, make, ("x", "y"), rows=4, fixed=("tau",), vmap=False, compiles=False
)


class TestSlots(LossTester):
    @pytest.mark.parametrize(("case", "check"), every([SLOTS]))
    def test_a_slot_finds_its_partner_among_those_of_other_clips(self, case: Case, check: str) -> None:
        getattr(self, check)(case)


def test_other_slots_of_the_same_clip_are_no_negatives() -> None:
    x, y = torch.randn(2, 1, 6, 4)
    assert slot_nt_xent(x, y, 0.1).abs() < 1e-5


def test_clips_of_one_slot_are_contrasted_as_wholes() -> None:
    x, y = torch.randn(2, 6, 4)
    torch.testing.assert_close(slot_nt_xent(x[:, None], y[:, None], 0.2), nt_xent(x, y, 0.2))


def test_slots_of_copies_of_a_clip_are_no_negatives_either() -> None:
    x, y = torch.randn(2, 6, 4)
    copies = torch.tensor([0, 0, 1, 2, 2, 2])
    expected = nt_xent(x, y, 0.2, copies=copies)
    torch.testing.assert_close(slot_nt_xent(x[:, None], y[:, None], 0.2, copies=copies), expected)
    torch.testing.assert_close(cross_modal_prototype_loss([x], [y], 0.2, copies=copies), expected)


def test_without_any_slot_there_is_no_loss() -> None:
    x = torch.randn(3, 2, 4, requires_grad=True)
    loss = slot_nt_xent(x, x, 0.1, torch.zeros(3, 2, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert x.grad.isfinite().all()


def test_prototypes_are_means_of_views_as_they_are_or_of_their_directions() -> None:
    a, b, c, d = torch.randn(4, 5, 3)
    expected = nt_xent((a + b) / 2, (c + d) / 2, 0.1)
    torch.testing.assert_close(cross_modal_prototype_loss([a, b], [c, d], 0.1), expected)
    longer = cross_modal_prototype_loss([a, 9 * b], [c, d], 0.1, normalize=True)
    torch.testing.assert_close(longer, cross_modal_prototype_loss([a, b], [c, d], 0.1, normalize=True))
    assert not torch.allclose(longer, expected)


def test_views_of_other_shapes_are_named() -> None:
    with pytest.raises(ShapeError):
        cross_modal_prototype_loss([torch.zeros(3, 2)], [torch.zeros(4, 2)], 0.1)
