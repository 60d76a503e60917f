"""Classes of pixels against masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from answering import SIDE, Segmenter, measured, model_of, prepared, rows_of, shown
from PIL import Image

from accord.errors import ConfigError
from accord.evaluation.dense import iou_of_counts

KINDS = ("ground", "cat", "dog")
HALF = SIDE * SIDE // 2


def mask(folder: Path, name: str, upper: int, lower: int) -> str:
    numbers = np.full((SIDE, SIDE), lower, dtype=np.uint8)
    numbers[: SIDE // 2] = upper
    Image.fromarray(numbers).save(folder / name)
    return name


def painted(upper: int, lower: int) -> torch.Tensor:
    found = torch.full((SIDE, SIDE), lower)
    found[: SIDE // 2] = upper
    return found


@pytest.fixture
def rows(tmp_path):
    """Ground and cat; ground and something that is not said; of the third nothing is said at all."""
    masks = [mask(tmp_path, "a.png", 0, 1), mask(tmp_path, "b.png", 0, 255), None]
    return prepared(rows_of(tmp_path, [{"mask": name} for name in masks], mask_classes=KINDS))


def test_the_mean_is_over_classes_and_their_pixels_in_all_pictures(rows):
    # the ground of the first is taken for the cat
    model = model_of(Segmenter, lambda row: painted(1, 1) if row == 0 else painted(0, 2))
    metrics = measured("masks", model, rows)
    assert metrics["mIoU"].value == pytest.approx(50)  # ground 1 of 2 halves, cat 1 of 2; no dog in any mask or guess
    assert metrics["pixel accuracy"].value == pytest.approx(100 * 2 / 3)
    assert metrics["mIoU"].n == 2
    assert metrics["mIoU"].chance == pytest.approx(100 * (2 / 3 / (4 / 3) + 1 / 3 / (5 / 3)) / 2)


def test_a_class_that_is_only_guessed_counts_as_missed(rows):
    model = model_of(Segmenter, lambda row: painted(0, 1) if row == 0 else painted(2, 2))
    assert measured("masks", model, rows)["mIoU"].value == pytest.approx((50 + 100 + 0) / 3)
    beyond = model_of(Segmenter, lambda row: painted(0, 1) if row == 0 else painted(7, 7))
    assert measured("masks", beyond, rows)["mIoU"].value == pytest.approx((50 + 100 + 0) / 3)


def test_the_report_shows_what_is_taken_for_what_in_pixels(rows):
    (confusion,) = shown("masks", model_of(Segmenter, lambda row: painted(0, 2)), rows)
    assert confusion.classes == KINDS
    assert confusion.counts == [[2 * HALF, 0, 0], [0, 0, HALF], [0, 0, 0]]


def test_unnamed_classes_are_called_by_their_numbers(tmp_path):
    test = prepared(rows_of(tmp_path, [{"mask": mask(tmp_path, "a.png", 0, 2)}]))
    (confusion,) = shown("masks", model_of(Segmenter, lambda row: painted(0, 1)), test)
    assert confusion.classes == ("background", "1", "2")


def test_a_method_that_finds_parts_by_itself_is_not_held_against_masks(rows):
    class Parts(Segmenter):
        targets = ()

    with pytest.raises(ConfigError, match="needs a method that learns from mask; answering learns from no target"):
        measured("masks", model_of(Parts, lambda row: painted(0, 1)), rows)


def test_counts_give_the_same_as_maps():
    perfect = np.array([[3, 1]])
    assert iou_of_counts("mIoU", perfect, perfect, perfect).value == 100
