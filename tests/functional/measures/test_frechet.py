"""The Fréchet distance of two sets of embeddings."""

from __future__ import annotations

import pytest
import torch

from accord.errors import ShapeError
from accord.functional import frechet_distance


def drawn(rows, seed, dim=5):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_that_of_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Given(torch.nn.Module):
        num_features = 5

        def forward(self, rows):
            return rows.view(len(rows), -1)

    x, y = drawn(40, 0), 0.5 + drawn(30, 1) @ torch.diag(torch.arange(1.0, 6.0)).double()
    tool = FrechetInceptionDistance(feature=Given(), normalize=True).set_dtype(torch.float64)
    tool.update(x.view(40, 5, 1, 1), real=True)
    tool.update(y.view(30, 5, 1, 1), real=False)
    torch.testing.assert_close(frechet_distance(x, y), tool.compute(), check_dtype=False, rtol=1e-6, atol=1e-8)


def test_a_set_is_no_distance_from_itself_and_both_ways_are_equally_far():
    x, y = drawn(20, 0), drawn(30, 1)
    assert frechet_distance(x, x).item() == pytest.approx(0, abs=1e-9)
    torch.testing.assert_close(frechet_distance(x, y), frechet_distance(y, x))


def test_fewer_rows_than_numbers_are_allowed():
    few = drawn(4, 0, dim=32)
    assert frechet_distance(few, few).item() == pytest.approx(0, abs=1e-9)
    assert frechet_distance(few, drawn(4, 1, dim=32)) > 0


def test_one_number_a_row_is_a_width_as_well():
    x = torch.tensor([[0.0], [2.0]])
    assert frechet_distance(x, x + 1).item() == pytest.approx(1)


def test_sets_of_different_width_are_refused():
    with pytest.raises(ShapeError):
        frechet_distance(drawn(3, 0), drawn(3, 1, dim=4))
