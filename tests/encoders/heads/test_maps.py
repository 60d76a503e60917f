"""Heads on maps: against released code, and written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.encoders.heads import (
    PixelPropagation,
    SemanticGrouping,
)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_pixel_propagation_smooths_the_transformed_map(layers: int) -> None:
    module, x = PixelPropagation(4, num_layers=layers).double(), random(2, 4, 3, 2)
    assert sum(isinstance(part, nn.Conv2d) for part in module.modules()) == layers
    unit, values = F.normalize(x.flatten(2), dim=1), F.normalize(module.transform(x).flatten(2), dim=1)
    similarity = torch.einsum("nci,ncj->nij", unit, unit).clamp(min=0).square()
    want = torch.einsum("nij,ncj->nci", similarity, values).view(2, 4, 3, 2)
    torch.testing.assert_close(module(x), want)


def test_grouping_is_that_of_the_released_code(golden) -> None:
    given = golden("slotcon")
    module = SemanticGrouping(6, 8)
    with torch.no_grad():
        module.prototypes.copy_(given["grp_C"])
    slots, dots = module(given["grp_x"])
    torch.testing.assert_close(slots, given["grp_slots"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dots, given["grp_dots"], rtol=1e-5, atol=1e-5)
    loss = (slots * given["grp_probe_slots"]).sum() + (dots * given["grp_probe_dots"]).sum()
    loss.backward()
    torch.testing.assert_close(module.prototypes.grad, given["grp_grad_C"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PixelPropagation(2, num_layers=3), "num_layers = 3"),
    ],
)
def test_wrong_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
