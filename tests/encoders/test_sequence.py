"""Features of steps as they are."""

from __future__ import annotations

import pytest
import torch

from accord.encoders import build_encoder
from accord.errors import ShapeError


def test_plain_steps_are_given_as_they_are_with_the_mean_of_the_real_ones() -> None:
    encoder = build_encoder("sequence", {"name": "plain_sequence", "features": 3, "length": 8})
    x, mask = torch.randn(2, 4, 3), torch.tensor([[True] * 4, [True, True, False, False]])
    found = encoder(x, mask)
    assert found.stream("steps").values is x
    torch.testing.assert_close(found.pooled, torch.stack([x[0].mean(dim=0), x[1, :2].mean(dim=0)]))
    assert encoder.frozen
    assert list(encoder.parameters()) == []
    again = build_encoder("sequence", encoder.spec())
    assert again.input == encoder.input
    with pytest.raises(ShapeError):
        encoder(torch.zeros(2, 4, 5))
