"""Instances: masks and boxes agree in every view; overlapping ones; what is hidden or cut away is not there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.reading.media import Unreadable
from accord.data.targets import Canvas, Instances, Place, entries
from accord.data.targets.boxes import LEAST
from data.targets.drawn import box_of, canvas_of, encoded, numbered, numbers_in, view_of

NAMES = ["bar", "ring", "corner"]
INSTANCES = Instances(classes=tuple(sorted(NAMES)))


def read(numbers, **cells):
    return INSTANCES.read({"instances": encoded(numbers), "instance_label": NAMES, **cells}, canvas_of(numbers))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_masks_are_on_their_pixels_and_boxes_around_their_masks_in_every_view(seed):
    numbers = numbered()
    crop = view_of(numbers, seed)
    batch = INSTANCES.collate([INSTANCES.through(read(numbers), Place.of(crop))])
    shown = numbers_in(crop)
    top, left, height, width = Place.of(crop).window(*numbers.shape)
    found = dict(zip(batch["instance_id"][0].tolist(), range(3), strict=False))
    for number in (1, 2, 3):
        share = (numbers[top : top + height, left : left + width] == number).sum() / (numbers == number).sum()
        assert (number in found) == (share >= LEAST and bool((shown == number).any()))
        if number in found:
            place = found[number]
            mask = batch["instance_masks"][0, place]
            assert (mask == (shown == number)).all()
            assert batch["boxes"][0, place].tolist() == pytest.approx(box_of(mask))
            assert INSTANCES.classes[batch["instance_label"][0, place]] == NAMES[number - 1]


def test_a_picture_each_may_overlap():
    first, second = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    first[:12], second[8:] = 255, 1
    cells = {"instances": [encoded(first), encoded(second)], "instance_text": ["above", "below"]}
    batch = Instances().collate([Instances().read(cells, canvas_of(first))])
    assert batch["instance_masks"].sum(dim=(2, 3)).tolist() == [[240, 240]]
    assert batch["instance_masks"].all(dim=1).sum() == 80
    assert batch["boxes"].tolist() == [[[0, 0, 1, pytest.approx(0.6)], [0, pytest.approx(0.4), 1, 1]]]
    assert batch["instance_text"] == [["above", "below"]]


def test_a_list_of_one_picture_is_one_thing_whatever_its_grey(tmp_path):
    numbers = np.zeros((20, 20), np.uint8)
    numbers[5:9] = 200
    (tmp_path / "a.png").write_bytes(encoded(numbers))
    target = Instances(root=tmp_path, classes=("cat",))
    for cell in ([encoded(numbers)], '["a.png"]'):
        value = target.read({"instances": cell, "instance_label": ["cat"]}, canvas_of(numbers))
        assert (value.things.ids.tolist(), value.things.texts) == ([1], ("cat",))


def test_a_thing_that_others_hide_altogether_is_not_there():
    numbers = numbered()
    numbers[numbers == 2] = 0
    value = read(numbers)
    assert value.things.ids.tolist() == [1, 3]
    assert value.things.texts == ("bar", "corner")


def test_rows_of_unequal_number_and_empty_rows_are_filled_up():
    numbers, nothing = numbered(), np.zeros((44, 60), np.uint8)
    values = [read(numbers), read(nothing), INSTANCES.blank(canvas_of(numbers)), read(nothing, instances=[])]
    batch = entries(INSTANCES, [[INSTANCES.through(value, Place((0, 0, 1, 1), True, (16, 16)))] for value in values])
    assert batch["instance_masks"].shape == (4, 3, 16, 16)
    assert batch["instance_present"].sum(dim=1).tolist() == [3, 0, 0, 0]
    assert not batch["instance_masks"][1:].any()


def test_views_know_their_things_by_the_same_numbers():
    numbers = numbered()
    places = [Place((0, 0, 1, 1), False, (32, 32)), Place((0, 0.7, 0.3, 1), False, (16, 16))]
    batch = entries(INSTANCES, [[INSTANCES.through(read(numbers), place) for place in places]])
    assert [ids.tolist() for ids in batch["instance_id_views"]] == [[[1, 2, 3]], [[3]]]
    assert torch.equal(batch["instance_masks_views"][1], batch["instance_masks_views"][1].bool())


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ({"instance_label": ["bar", "ring"]}, "unequal counts: the masks number a thing 3, 2 have a class or phrase"),
        ({"instance_label": ["bar", "ring", "disc"]}, "unknown class: 'disc'"),
        ({"instances": [encoded(numbered(30))]}, "mask of another size: 30 x 44"),
    ],
)
def test_wrong_instances_are_said(cells, sentence):
    with pytest.raises(Unreadable, match=sentence):
        read(numbered(), **cells)


def test_things_without_classes_are_known_by_their_numbers():
    value = Instances().read({"instances": encoded(numbered())}, Canvas(size=(60, 44)))
    assert value.things.ids.tolist() == [1, 2, 3]
    assert value.things.labels.tolist() == [-1, -1, -1]
