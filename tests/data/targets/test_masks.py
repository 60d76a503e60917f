"""Semantic masks stay on their pixels, and what is no mask is said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from accord.data.reading.media import Unreadable
from accord.data.targets import Canvas, Place, SemanticMask, entries
from data.targets.drawn import canvas_of, encoded, numbered, numbers_in, view_of

MASK = SemanticMask()


def read(numbers):
    return MASK.read({"mask": encoded(numbers)}, canvas_of(numbers))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), width=st.integers(20, 90), size=st.sampled_from([7, 32, 61]))
def test_a_mask_stays_on_its_pixels_in_every_view(seed, width, size):
    numbers = numbered(width)
    crop = view_of(numbers, seed, size=size)
    seen = MASK.through(read(numbers), Place.of(crop))
    assert (seen == numbers_in(crop)).all()


def test_white_says_nothing_and_stays_nothing_in_a_view():
    numbers = numbered()
    numbers[:20] = 255
    mask = read(numbers)
    assert (mask == -1).sum() == 20 * 60
    seen = MASK.through(mask, Place((0, 0, 1, 0.25), False, (10, 10)))
    assert (seen == -1).all()


def test_a_batch_has_the_first_view_and_the_list_of_all():
    numbers = numbered()
    rows = []
    for seed in range(3):
        crops = [view_of(numbers, seed), view_of(numbers, seed + 50, size=20)]
        rows.append([MASK.through(read(numbers), Place.of(crop)) for crop in crops])
    batch = entries(MASK, rows)
    assert batch["segmentation"].shape == (3, 40, 40)
    assert batch["segmentation"].dtype == torch.int64
    assert [tuple(view.shape) for view in batch["segmentation_views"]] == [(3, 40, 40), (3, 20, 20)]
    assert "segmentation_views" not in entries(MASK, [row[:1] for row in rows])


def test_a_row_without_a_mask_says_nothing_of_any_pixel():
    blank = MASK.through(MASK.blank(Canvas(size=(30, 20))), Place((0, 0, 0.5, 1), True, (8, 8)))
    assert blank.shape == (8, 8)
    assert (blank == -1).all()


def test_more_than_256_classes_fit_into_a_picture_of_16_bits():
    numbers = np.full((6, 5), 700, dtype=np.uint16)
    assert read(numbers).unique().tolist() == [700]


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        (encoded(numbered(30)), "mask of another size: 30 x 44 pixels on a picture of 60 x 44"),
        (encoded(np.zeros((44, 60, 3), dtype=np.uint8)), "a RGB picture is no mask"),
        (encoded(numbered())[:90], "damaged mask"),
        (b"no picture", "not a picture"),
    ],
)
def test_what_is_no_mask_of_the_picture_is_said(cell, sentence):
    with pytest.raises(Unreadable, match=sentence):
        MASK.read({"mask": cell}, Canvas(size=(60, 44)))


def test_a_value_that_is_no_class_is_said_where_classes_are_known():
    numbers = numbered()  # 0 to 3
    numbers[0, 0] = 255
    cells = {"mask": encoded(numbers)}
    assert SemanticMask(classes=("none", "bar", "ring", "corner")).read(cells, canvas_of(numbers)).max() == 3
    with pytest.raises(
        Unreadable, match=r"unknown class: the mask has a pixel of 3; 0 to 2 are classes \(data.mask_cl"
    ):
        SemanticMask(classes=("none", "bar", "ring")).read(cells, canvas_of(numbers))


def test_a_palette_picture_counts_by_its_indices(tmp_path):
    picture = Image.fromarray(numbered()).convert("P")
    picture.save(tmp_path / "mask.png")
    mask = SemanticMask(root=tmp_path).read({"mask": "mask.png"}, Canvas(size=(60, 44)))
    assert mask.tolist() == np.asarray(picture).tolist()
