"""Boxes follow their things through views; ragged rows; sentences about wrong ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.reading.media import Unreadable
from accord.data.targets import Boxes, Canvas, Place, entries
from accord.data.targets.boxes import LEAST
from data.targets.drawn import box_of, canvas_of, numbered, numbers_in, view_of

CLASSES = ("bar", "corner", "ring")
BOXES = Boxes(classes=CLASSES)
SQUARE = Canvas(size=(100, 100))
WHOLE = Place((0, 0, 1, 1), False, (50, 50))


def row(*boxes, **cells):
    return BOXES.read({"boxes": [list(box) for box in boxes], **cells}, SQUARE)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_clipped_box_lies_around_what_a_view_shows_of_a_bar(seed):
    numbers = (numbered() == 1).astype("uint8")  # a full rectangle: what is left of its box is the box of what is left
    crop = view_of(numbers, seed)
    value = BOXES.read({"boxes": [[5, 8, 40, 14]]}, canvas_of(numbers))
    batch = BOXES.collate([BOXES.through(value, Place.of(crop))])
    shown = numbers_in(crop) == 1
    if batch["instance_present"].any() and shown.any():
        assert batch["boxes"][0, 0].tolist() == pytest.approx(box_of(shown), abs=1 / 40 + 1e-6)  # a pixel of the view
    else:
        assert shown.float().mean() < 0.2


def test_a_mirrored_crop_mirrors_the_box_within_it():
    value = BOXES.through(row((10, 20, 30, 40)), Place((0, 0, 0.5, 0.5), True, (50, 50)))
    assert BOXES.collate([value])["boxes"][0, 0].tolist() == pytest.approx([0.4, 0.4, 0.8, 0.8])


def test_a_box_is_dropped_when_less_than_the_least_share_is_left():
    right = Place((0.5, 0, 1, 1), False, (50, 50))
    share = int(100 * LEAST)
    little, enough = (50 - 100 + share - 1, 0, 50 + share - 1, 10), (50 - 100 + share, 0, 50 + share, 10)
    assert len(Boxes().through(_boxed(little), right).things) == 0
    assert len(Boxes().through(_boxed(enough), right).things) == 1


def _boxed(box):
    wide = Canvas(size=(200, 100))
    x0, y0, x1, y1 = box
    return Boxes().read({"boxes": [[x0 + 50, y0, x1 + 50, y1]]}, wide)


def test_what_is_said_of_a_box_goes_with_it():
    value = row(
        (0, 0, 10, 10), (60, 60, 90, 90), instance_label=["ring", "bar"], instance_text=["left one", "right one"]
    )
    batch = BOXES.collate([BOXES.through(value, Place((0.5, 0.5, 1, 1), False, (50, 50)))])
    assert batch["instance_label"].tolist() == [[0]]
    assert batch["instance_id"].tolist() == [[2]]
    assert batch["instance_text"] == [["right one"]]


def test_rows_of_unequal_number_are_filled_up_and_an_empty_row_has_none():
    rows = [row((0, 0, 10, 10), (5, 5, 50, 60), instance_label=["bar", None]), row(), BOXES.blank(SQUARE)]
    batch = entries(BOXES, [[BOXES.through(value, WHOLE)] for value in rows])
    assert batch["boxes"].shape == (3, 2, 4)
    assert batch["instance_present"].tolist() == [[True, True], [False, False], [False, False]]
    assert batch["instance_label"].tolist() == [[0, -1], [-1, -1], [-1, -1]]
    assert batch["instance_text"] == [["bar", ""], [], []]
    none = BOXES.collate([row(), row()])
    assert none["boxes"].shape == (2, 0, 4)
    assert none["instance_present"].shape == (2, 0)


def test_views_have_boxes_of_their_own():
    places = [Place((0, 0, 0.5, 1), False, (50, 50)), WHOLE]
    batch = entries(BOXES, [[BOXES.through(row((60, 0, 90, 10)), place) for place in places]])
    assert [view.shape[1] for view in batch["boxes_views"]] == [0, 1]
    assert batch["instance_text_views"] == [[[]], [[""]]]
    assert batch["boxes"].shape[1] == 0


@pytest.mark.parametrize("form", ["xyxy", "xywh", "cxcywh", "relative xyxy", "relative xywh", "relative cxcywh"])
def test_boxes_are_read_in_the_format_that_the_data_have(form):
    numbers = {"xyxy": (10, 40, 30, 80), "xywh": (10, 40, 20, 40), "cxcywh": (20, 60, 20, 40)}[form.split()[-1]]
    if form.startswith("relative"):
        numbers = [numbers[0] / 50, numbers[1] / 100, numbers[2] / 50, numbers[3] / 100]
    value = Boxes(box_format=form).read({"boxes": [numbers]}, Canvas(size=(50, 100)))
    assert torch.allclose(Boxes().collate([value])["boxes"], torch.tensor([[[0.2, 0.4, 0.6, 0.8]]]))


def test_a_row_that_says_nothing_of_classes_has_boxes_of_none():
    value = row((0, 0, 9, 9), (3, 3, 9, 9), instance_label=None, instance_text=None)
    assert (value.things.labels.tolist(), value.things.texts) == ([-1, -1], ("", ""))


def test_a_table_without_lists_holds_them_as_json():
    value = BOXES.read({"boxes": "[[0, 0, 10, 10]]", "instance_label": '["ring"]'}, SQUARE)
    assert value.things.labels.tolist() == [2]


def test_a_box_that_reaches_a_rounded_pixel_over_the_edge_is_clipped():
    assert row((-0.5, 0, 100.4, 100)).boxes.tolist() == [[0, 0, 100, 100]]


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        (
            {"boxes": [[0, 0, 10, 10], [5, 5, 5, 9]]},
            r"empty box: box 1 is \[5, 5, 5, 9\], on .* read as xyxy \(data.box_",
        ),
        ({"boxes": [[90, 0, 130, 10]]}, r"box outside its picture: box 0 is .* of 100 x 100 pixels"),
        ({"boxes": [[1, 2, 3]]}, r"bad box: box 0 is \[1, 2, 3\], expected 4 numbers"),
        ({"boxes": [[1, 2, 3, float("nan")]]}, "bad box: box 0"),
        ({"boxes": "10 20 30 40"}, "unusable boxes: '10 20 30 40' is no list"),
        (
            {"boxes": [[0, 0, 9, 9]], "instance_label": ["ring", "bar"]},
            "unequal counts: 2 in instance_label for 1 things",
        ),
        (
            {"boxes": [[0, 0, 9, 9]], "instance_label": ["square"]},
            "unknown class: 'square' is not one of the 3 classes",
        ),
        ({"boxes": [[0, 0, 9, 9]], "instance_text": []}, "unequal counts: 0 in instance_text"),
    ],
)
def test_wrong_boxes_are_said(cells, sentence):
    with pytest.raises(Unreadable, match=sentence):
        BOXES.read(cells, SQUARE)
