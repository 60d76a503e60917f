"""Soft windows and what pairs of frames show in them: the released code's numbers, and loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import merge_pairs, neighbour_average, pair_cosine_loss, soft_window
from functional.tester import Case, LossTester, every


def window_by_cells(points: Tensor, size: int = 5, flat: float = 0.25, slope: float = 1.5) -> Tensor:
    """The definition, cell by cell."""
    rows = []
    for x, y in points.reshape(-1, 2):
        for i in range(size):
            for j in range(size):
                weight = points.new_ones(())
                for place, point in ((i, y), (j, x)):
                    away = (2 * place / (size - 1) - 1 - point).abs()
                    weight = weight * (1 if away <= flat else torch.relu(1 - slope * (away - flat)))
                rows.append(weight)
    return torch.stack(rows).view(*points.shape[:-1], size, size)


def nine_windows(points: Tensor, size: int = 5, delta: float = 0.2) -> Tensor:
    around = [torch.tensor([x, y], dtype=points.dtype) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    return sum(window_by_cells(points + delta * step, size) for step in around) / 9


def cosine_by_hand(p: Tensor, q: Tensor) -> Tensor:
    return (1 - (p * q).sum(dim=-1) / (p.norm(dim=-1) * q.norm(dim=-1))).mean()


def points(rows: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {"points": 1.5 * torch.rand(rows, 2, dtype=torch.float64, generator=generator) - 0.75}


def pairs(rows: int, generator: torch.Generator) -> dict[str, Tensor]:
    made = torch.randn(2, rows, 6, dtype=torch.float64, generator=generator)
    return {"p": made[0], "q": made[1]}


CASES = [
    Case("soft_window", lambda points: soft_window(points, 5), window_by_cells, points, ("points",)),
    Case("neighbour_average", lambda points: neighbour_average(points, 5, 0.2), nine_windows, points, ("points",)),
    Case("pair_cosine_loss", pair_cosine_loss, cosine_by_hand, pairs, ("p", "q")),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_functions(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


def test_windows_and_their_gradient_are_those_of_the_released_code(golden) -> None:
    given = golden("ila")
    for precision, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        points = given["mask_points"].to(precision).requires_grad_()
        mask = soft_window(points, 7)
        (mask * given["mask_weight"].to(precision)).sum().backward()
        torch.testing.assert_close(mask, given["mask_out"].to(precision), rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(points.grad, given["mask_grad_points"].to(precision), rtol=tolerance, atol=tolerance)


def test_the_first_coordinate_counts_columns() -> None:
    right = soft_window(torch.tensor([1.0, 0.0]), 5)
    assert right[2, 4] == 1
    assert right.sum(dim=0).argmax() == 4
    assert right.sum(dim=1).argmax() == 2


def test_neighbours_give_a_point_a_gradient_where_one_window_is_flat() -> None:
    point = torch.tensor([0.2, 0.2], requires_grad=True)
    soft_window(point, 9)[4, 4].backward()
    assert (point.grad == 0).all()
    neighbour_average(point, 9, torch.tensor(0.2))[4, 4].backward()
    assert (point.grad != 0).all()


def test_ends_show_what_one_pair_holds_and_others_the_mean_of_two() -> None:
    prev, cur = torch.randn(2, 2, 3, 5)
    merged = merge_pairs(prev, cur)
    torch.testing.assert_close(merged[:, 0], prev[:, 0])
    torch.testing.assert_close(merged[:, 3], cur[:, 2])
    torch.testing.assert_close(merged[:, 1], (prev[:, 1] + cur[:, 0]) / 2)


def test_a_clip_with_padding_is_merged_as_it_would_be_alone() -> None:
    prev, cur = torch.randn(2, 1, 3, 5)
    mask = torch.tensor([[True, True, False]])
    merged = merge_pairs(prev.masked_fill(~mask[..., None], torch.nan), cur, mask)
    torch.testing.assert_close(merged[:, :3], merge_pairs(prev[:, :2], cur[:, :2]))
    assert (merged[:, 3] == 0).all()


def test_pairs_that_do_not_count_have_no_part_in_the_mean() -> None:
    p, q = torch.randn(2, 2, 3, 5)
    mask = torch.tensor([[True, False, True], [True, False, False]])
    torch.testing.assert_close(pair_cosine_loss(p, q, mask), pair_cosine_loss(p[mask], q[mask]))
    each = pair_cosine_loss(p, q, mask, reduction="none")
    assert each.shape == (2, 3)
    assert (each[~mask] == 0).all()
    assert pair_cosine_loss(p, q, torch.zeros_like(mask)) == 0


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ShapeError, match="points has shape"):
        soft_window(torch.zeros(4, 3), 5)
    with pytest.raises(ShapeError, match="cur has shape"):
        merge_pairs(torch.zeros(2, 3, 4), torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match="size"):
        soft_window(torch.zeros(4, 2), 1)
