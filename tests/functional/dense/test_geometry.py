"""Where cells of crops lie, which of them meet, and maps resampled to the common region."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.errors import ShapeError
from accord.functional.dense.geometry import (
    cell_distance,
    crop_cell_centers,
    crop_params,
    flipped_coord,
    hflip_box,
    inverse_augment,
    nonempty_boxes,
    overlap_boxes,
    pixel_distance,
    pixel_positive_mask,
)
from functional.tester import Case, LossTester, every

FULL = (0.0, 0.0, 1.0, 1.0)


def draw_boxes(rows: int, generator: torch.Generator) -> Tensor:
    """Ordered boxes inside [0, 1] with an inside."""
    low = torch.rand(rows, 2, generator=generator, dtype=torch.float64) * 0.5
    return torch.cat([low, low + 0.2 + 0.3 * torch.rand(rows, 2, generator=generator, dtype=torch.float64)], dim=1)


# -- inverse augmentation against loops over every sample


def bilinear(plane: Tensor, y: float, x: float) -> Tensor:
    """Value of ``plane (H, W)`` at a place in units of cells, clamped to the map."""
    height, width = plane.shape
    y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    low, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    above = plane[top, left] * (1 - dx) + plane[top, right] * dx
    below = plane[low, left] * (1 - dx) + plane[low, right] * dx
    return above * (1 - dy) + below * dy


def inverse_reference(maps: Tensor, boxes: Tensor, flipped: Tensor) -> Tensor:
    _, _, height, width = maps.shape
    images = []
    for image, box, flip in zip(maps, boxes.tolist(), flipped.tolist(), strict=True):
        x1, y1, x2, y2 = box
        rows = [height * (y1 + (r + 0.5) / height * (y2 - y1)) - 0.5 for r in range(height)]
        columns = [width * (x1 + (c + 0.5) / width * (x2 - x1)) - 0.5 for c in range(width)]
        if flip:
            columns = columns[::-1]
        planes = [torch.stack([torch.stack([bilinear(plane, y, x) for x in columns]) for y in rows]) for plane in image]
        images.append(torch.stack(planes))
    return torch.stack(images)


def aligned(rows: int, generator: torch.Generator) -> dict[str, Any]:
    maps = torch.randn(rows, 2, 3, 4, generator=generator, dtype=torch.float64)
    return {"maps": maps, "boxes": draw_boxes(rows, generator), "flipped": torch.arange(rows) % 2 == 1}


CASES = [
    Case("inverse_augment", inverse_augment, inverse_reference, aligned, ("maps",), rows=5, fixed=("boxes",), fewest=1),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


def test_a_full_box_returns_the_map_and_a_flip_mirrors_it() -> None:
    maps = torch.randn(2, 3, 7, 5)
    got = inverse_augment(maps, torch.tensor([FULL, FULL]), torch.tensor([False, True]))
    torch.testing.assert_close(got, torch.stack([maps[0], maps[1].flip(-1)]))


def test_equals_roi_align_inside_the_map() -> None:
    ops = pytest.importorskip("torchvision.ops")
    generator = torch.Generator().manual_seed(3)
    maps, boxes = torch.randn(6, 4, 7, 5, generator=generator), draw_boxes(6, generator).float()
    rois = list((boxes * torch.tensor([5.0, 7.0, 5.0, 7.0])).split(1))
    wanted = ops.roi_align(maps, rois, (7, 5), aligned=True)
    torch.testing.assert_close(inverse_augment(maps, boxes, torch.zeros(6, dtype=torch.bool)), wanted)


def test_two_views_of_a_ramp_align_after_their_augmentations_are_undone() -> None:
    """Bilinear sampling is exact on a linear picture, away from the clamped border."""
    crops = torch.tensor([[0.1, 0.1, 0.7, 0.8], [0.2, 0.0, 0.9, 0.9]])
    flips = torch.tensor([False, True])
    views = []
    for box, flip in zip(crops, flips, strict=True):
        centers, _ = crop_cell_centers(flipped_coord(box, flip)[None], 16, 16)
        views.append((centers[0] @ torch.tensor([1.0, 10.0])).view(1, 16, 16))
    boxes = torch.stack(overlap_boxes(*crop_params(crops)))
    boxes = torch.where(flips[:, None], hflip_box(boxes), boxes)
    first, second = inverse_augment(torch.stack(views), boxes, flips)
    torch.testing.assert_close(first[:, 2:-2, 2:-2], second[:, 2:-2, 2:-2])


# -- cells


@pytest.mark.parametrize(("name", "threshold"), [("0p7", 0.7), ("1p5", 1.5)])
def test_distances_and_masks_equal_the_reference_values(golden, name: str, threshold: float) -> None:
    given = golden("pixpro")
    torch.testing.assert_close(pixel_distance(given["coord_q"], given["coord_k"], 7, 7), given["dist"])
    mask = pixel_positive_mask(given["coord_q"], given["coord_k"], 7, 7, threshold)
    assert torch.equal(mask, given[f"mask_{name}"])


def test_distances_equal_a_loop_over_cells() -> None:
    first, second = ([0.1, 0.2, 0.7, 0.5], [0.9, 0.1, 0.3, 0.6])
    height, width = 2, 3
    got = pixel_distance(torch.tensor([first]).double(), torch.tensor([second]).double(), height, width)[0]
    unit = max(math.hypot((b[2] - b[0]) / width, (b[3] - b[1]) / height) for b in (first, second))

    def place(b: list[float], cell: int) -> tuple[float, float]:
        row, column = divmod(cell, width)
        return b[0] + (column + 0.5) * (b[2] - b[0]) / width, b[1] + (row + 0.5) * (b[3] - b[1]) / height

    wanted = [[math.dist(place(first, i), place(second, j)) / unit for j in range(6)] for i in range(6)]
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64))


def test_identical_crops_have_distance_zero_exactly_and_only_the_own_cell_within_the_threshold() -> None:
    coord = draw_boxes(3, torch.Generator().manual_seed(0)).float()
    coord[:, 2:] = coord[:, :2] + 0.3  # square cells: the neighbour is 0.707 diagonals away
    distance = pixel_distance(coord, coord, 6, 6)
    assert (distance.diagonal(dim1=1, dim2=2) == 0).all()
    assert torch.equal(pixel_positive_mask(coord, coord, 6, 6), torch.eye(36, dtype=torch.bool).expand(3, -1, -1))


def test_crops_that_do_not_meet_have_no_positive() -> None:
    first, second = torch.tensor([[0.0, 0.0, 0.3, 0.3]]), torch.tensor([[0.6, 0.6, 0.9, 0.9]])
    assert not pixel_positive_mask(first, second, 7, 7).any()


def test_a_crop_without_extent_gives_numbers() -> None:
    point = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    assert (pixel_distance(point, point, 2, 2) == 0).all()


@given(st.integers(0, 1000), st.booleans())
@settings(max_examples=20, deadline=None)
def test_a_mirrored_crop_has_the_cells_of_the_crop_in_mirrored_columns(seed: int, both: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    boxes, others = draw_boxes(2, generator), draw_boxes(2, generator)
    plain = pixel_distance(boxes, others, 3, 4).view(2, 3, 4, 3, 4)
    turned = pixel_distance(
        flipped_coord(boxes, torch.tensor([True, True])), flipped_coord(others, torch.tensor([both, both])), 3, 4
    ).view(2, 3, 4, 3, 4)
    torch.testing.assert_close(turned, plain.flip(2, 4) if both else plain.flip(2))


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_distances_are_symmetric_and_do_not_depend_on_where_and_how_large_the_picture_is(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = draw_boxes(2, generator), draw_boxes(2, generator)
    distance = pixel_distance(first, second, 3, 2)
    torch.testing.assert_close(pixel_distance(second, first, 3, 2), distance.mT)
    torch.testing.assert_close(pixel_distance(5 * first - 1, 5 * second - 1, 3, 2), distance)


# -- boxes


def test_both_overlap_boxes_name_the_same_region_of_the_picture() -> None:
    crops = draw_boxes(8, torch.Generator().manual_seed(1)).view(2, 4, 4)
    boxes = overlap_boxes(*crop_params(crops))
    size = crops[..., 2:] - crops[..., :2]
    regions = [
        torch.cat([crop[:, :2] + box[:, :2] * side, crop[:, :2] + box[:, 2:] * side], dim=1)
        for crop, box, side in zip(crops, boxes, size, strict=True)
    ]
    torch.testing.assert_close(regions[0], regions[1])


def test_equal_crops_overlap_fully_and_distant_ones_not_at_all() -> None:
    crop, far = torch.tensor([10.0, 20.0, 30.0, 40.0]), torch.tensor([100.0, 20.0, 30.0, 40.0])
    for box in overlap_boxes(crop, crop):
        torch.testing.assert_close(box, torch.tensor(FULL))
    assert not any(nonempty_boxes(box) for box in overlap_boxes(crop, far))


def test_boxes_that_only_touch_are_empty() -> None:
    left, right = torch.tensor([0.0, 0.0, 4.0, 4.0]), torch.tensor([0.0, 4.0, 4.0, 4.0])
    assert not any(nonempty_boxes(box) for box in overlap_boxes(left, right))


def test_mirroring_a_box_twice_gives_the_box_and_keeps_it_ordered() -> None:
    boxes = draw_boxes(5, torch.Generator().manual_seed(2))
    assert nonempty_boxes(hflip_box(boxes)).all()
    torch.testing.assert_close(hflip_box(hflip_box(boxes)), boxes)


def test_coordinates_of_a_batch_with_views_are_flipped_view_by_view() -> None:
    boxes = draw_boxes(6, torch.Generator().manual_seed(4)).view(3, 2, 4)
    flips = torch.tensor([[True, False], [False, False], [True, True]])
    got = flipped_coord(boxes, flips)
    assert torch.equal(got[..., 0] > got[..., 2], flips)
    assert torch.equal(got[~flips], boxes[~flips])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: crop_cell_centers(torch.zeros(4), 2, 2), r"coord has shape \(4,\): expected \(any, 4\)"),
        (lambda: pixel_distance(torch.zeros(2, 4), torch.zeros(3, 4), 2, 2), r"coord_k has shape \(3, 4\)"),
        (lambda: cell_distance(torch.zeros(1, 2, 2), torch.zeros(2, 2, 2), torch.ones(1)), "centers_k has shape"),
        (lambda: flipped_coord(torch.zeros(2, 4), torch.zeros(3)), r"flips has shape \(3,\): expected \(2,\)"),
        (lambda: hflip_box(torch.zeros(3)), r"box has shape \(3,\): expected \(\.\.\., 4\)"),
        (lambda: overlap_boxes(torch.zeros(4), torch.zeros(2, 4)), r"params2 has shape \(2, 4\): expected \(4,\)"),
        (lambda: inverse_augment(torch.zeros(2, 1, 2, 2), torch.zeros(1, 4), torch.zeros(2)), "boxes has shape"),
    ],
)
def test_a_wrong_shape_is_named(call: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call()


def test_a_grid_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="H = 0: expected an integer"):
        crop_cell_centers(torch.zeros(1, 4), 0, 2)
