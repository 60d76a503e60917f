"""A linear map that has not seen the row that it foretells."""

from __future__ import annotations

import pytest
import torch

from accord.cleaning.linear import LeaveOneOut


def brute(x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, row: int, penalty: float) -> torch.Tensor:
    """What a ridge regression on all rows but one foretells of it; the centre is that of all rows."""
    share = weight / weight.sum()
    left = torch.cat([x - share @ x, torch.ones(len(x), 1)], dim=1).double()
    keep = torch.arange(len(x)) != row
    target = (y - share @ y).double()[keep]
    rows, some = left[keep], share.double()[keep, None]
    ridge = torch.diag(torch.tensor([penalty] * x.shape[1] + [0.0], dtype=torch.float64))
    solved = torch.linalg.solve(rows.T @ (some * rows) + ridge, rows.T @ (some * target))
    return share @ y + (left[row] @ solved).float()


@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_what_a_fit_without_the_row_gives(weighted) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 6, generator=generator), torch.randn(40, 3, generator=generator)
    weight = torch.rand(40, generator=generator) + 0.1 if weighted else torch.ones(40)
    fit = LeaveOneOut(x, y, weight)
    penalty = fit.strength * float(fit.variance.mean())
    for row in (0, 7, 39):
        assert torch.allclose(fit(torch.tensor([row]))[0], brute(x, y, weight, row, penalty), atol=1e-3)


def test_with_more_dimensions_than_rows_a_row_does_not_foretell_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, 400, generator=generator), torch.randn(50, 20, generator=generator)
    found = LeaveOneOut(x, y, torch.ones(50))(torch.arange(50))
    own = torch.nn.functional.cosine_similarity(found - y.mean(dim=0), y - y.mean(dim=0), dim=1)
    assert own.mean() < 0.1  # there is nothing to learn


def test_classes_are_their_indicators() -> None:
    x = torch.eye(3).repeat(4, 1)
    found = LeaveOneOut(x, torch.arange(3).repeat(4), torch.ones(12), classes=3)(torch.arange(12))
    assert found.argmax(dim=1).tolist() == [0, 1, 2] * 4
