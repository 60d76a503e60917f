"""Maps of moments, overlaps in time, suppression and stretched overlaps as targets, against the released values."""

from __future__ import annotations

import pytest
import torch

from accord.errors import ShapeError
from accord.functional import (
    moment_iou_map,
    scaled_iou_bce,
    sparse_moment_mask,
    temporal_iou,
    temporal_nms,
)


def test_the_mask_is_that_of_the_released_code(golden) -> None:
    given = golden("g2l")
    assert torch.equal(sparse_moment_mask(8, [3, 2]), given["pool_mask2d"])


@pytest.mark.parametrize(
    ("clips", "counts", "kept"), [(64, [15, 8, 8], 1104), (16, [15], 136), (128, [15, 8, 8, 8], 2548)]
)
def test_published_maps_keep_so_many_moments(clips, counts, kept) -> None:
    mask = sparse_moment_mask(clips, counts)
    assert int(mask.sum()) == kept
    assert not mask.tril(-1).any()
    assert mask[0, clips - 1] or clips != 16


def test_lengths_beyond_the_whole_are_left_out() -> None:
    assert torch.equal(sparse_moment_mask(4, [15, 8]), sparse_moment_mask(4, [3]))
    with pytest.raises(ValueError, match="pooling_count = -1"):
        sparse_moment_mask(4, [-1])


def test_spans_that_do_not_meet_or_have_no_length_overlap_nothing() -> None:
    found = torch.tensor([[0.0, 1.0], [3.0, 3.0], [2.0, 5.0], [0.0, 9.0]])
    assert temporal_iou(found, torch.tensor([[2.0, 5.0]]))[:, 0].tolist() == pytest.approx([0, 0, 1, 1 / 3])
    with pytest.raises(ShapeError):
        temporal_iou(found, torch.zeros(3))


def test_the_map_of_overlaps_is_that_of_each_cell_as_a_span() -> None:
    moments, duration = torch.tensor([[1.0, 4.5], [0.0, 2.0]]), torch.tensor([6.0, 12.0])
    found = moment_iou_map(moments, 4, duration)
    for row, seconds in enumerate(duration.tolist()):
        for i in range(4):
            for j in range(4):
                cell = torch.tensor([[i * seconds / 4, (j + 1) * seconds / 4]])
                expected = temporal_iou(cell, moments[row : row + 1])[0, 0] if j >= i else torch.tensor(0.0)
                torch.testing.assert_close(found[row, i, j], expected)


def test_suppression_keeps_what_the_released_code_keeps(golden) -> None:
    given = golden("g2l")
    kept = temporal_nms(given["nms_moments"], given["nms_scores"], 0.5)
    assert torch.equal(given["nms_moments"][kept[kept >= 0]], given["nms_kept"])


def test_rows_are_suppressed_by_themselves_and_filled_up() -> None:
    spans = torch.tensor([[0.0, 4.0], [0.0, 3.0], [6.0, 8.0]])
    scores = torch.tensor([[0.9, 0.8, 0.7], [0.1, 0.8, 0.8]])
    assert temporal_nms(spans, scores).tolist() == [[0, 2, -1], [1, 2, -1]]
    assert temporal_nms(spans, scores, most=1).tolist() == [[0], [1]]
    assert temporal_nms(spans, scores, threshold=1.0).tolist() == [[0, 1, 2], [1, 2, 0]]


def test_the_stretched_cross_entropy_is_that_of_the_released_code(golden) -> None:
    given = golden("g2l")
    mask = given["cl_mask2d"]
    loss = scaled_iou_bce(given["bce_scores"][:, mask], given["cl_iou2d"][:, mask])
    torch.testing.assert_close(loss, given["bce_loss"])
    with pytest.raises(ValueError, match="expected lo below hi"):
        scaled_iou_bce(given["bce_scores"], given["cl_iou2d"], 0.5, 0.5)
