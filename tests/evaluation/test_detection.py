"""Things found in pictures: by boxes, masks, classes and phrases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from answering import SIDE, Answering, Detector, measured, model_of, prepared, rows_of, shown
from PIL import Image

from accord.errors import ConfigError
from accord.evaluation.tasks import fitting_tasks
from accord.methods.abilities import Detections

CAT, DOG = [0, 0, 16, 16], [16, 16, 32, 32]  # pixels
NAMES = ("dog", "cat")  # as the method numbers them; the rows count them by alphabet


def found(boxes, labels, scores=None, masks=None):
    scores = torch.linspace(0.9, 0.1, len(boxes)) if scores is None else torch.tensor(scores)
    return Detections(torch.tensor(boxes).view(-1, 4) / SIDE, scores, torch.tensor(labels, dtype=torch.int64), masks)


@pytest.fixture
def rows(tmp_path):
    """Of the third nobody said what is in it; the second holds nothing."""
    said = [
        {"boxes": [CAT, DOG], "instance_label": ["cat", "dog"]},
        {"boxes": [], "instance_label": []},
        {"boxes": None, "instance_label": None},
    ]
    return prepared(rows_of(tmp_path, said))


def test_boxes_are_held_against_those_of_their_class_by_its_name(rows):
    exact = model_of(
        Detector, lambda row: found([CAT, DOG], [1, 0]) if row == 0 else found([], []), instance_classes=NAMES
    )
    metrics = measured("detection", exact, rows)
    assert [metric.value for metric in metrics.values()] == [100] * 5
    assert metrics["box AP"].n == 2
    swapped = model_of(Detector, lambda row: found([CAT, DOG], [0, 1]), instance_classes=NAMES)
    assert measured("detection", swapped, rows)["box AP"].value == 0


def test_a_guess_where_nothing_is_counts_and_one_where_nothing_was_said_does_not(rows):
    def answer(row):
        return found([CAT, DOG], [1, 0], [0.5, 0.5]) if row == 0 else found([DOG], [1], [0.9 if row == 1 else 1.0])

    model = model_of(Detector, answer, instance_classes=NAMES)
    metrics = measured("detection", model, rows)
    assert metrics["box AP50"].value == pytest.approx(75)  # dog 100, cat 1 of 2
    (curve,) = shown("detection", model, rows)
    assert curve.lines["box"][100] == (100.0, pytest.approx(75))


def test_numbers_and_curve_come_from_one_pass_over_the_rows(rows):
    asked = []
    model = model_of(Detector, lambda row: asked.append(row) or found([CAT], [1]), instance_classes=NAMES)
    measured("detection", model, rows)
    shown("detection", model, rows)
    assert len(asked) == len(set(asked)) > 0


def test_a_class_that_the_method_does_not_know_was_not_found(rows):
    model = model_of(Detector, lambda row: found([CAT], [0]), instance_classes=("cat",))
    assert measured("detection", model, rows)["box AP50"].value == pytest.approx((100 + 0) / 2)


def test_things_without_a_class_are_not_looked_for(tmp_path):
    test = rows_of(tmp_path, [{"boxes": [CAT, DOG], "instance_label": ["cat", None]}])
    model = model_of(Detector, lambda row: found([CAT], [0]), instance_classes=("cat",))
    assert measured("detection", model, prepared(test))["box AP"].n == 1


def test_without_classes_a_guess_is_of_one_of_the_phrases_of_its_row(tmp_path):
    test = rows_of(tmp_path, [{"boxes": [CAT, DOG], "instance_text": ["it", "it lies"]}])
    right = model_of(Detector, lambda row: found([CAT, DOG], [0, 1]))
    wrong = model_of(Detector, lambda row: found([CAT, DOG], [1, 0]))
    assert measured("detection", right, prepared(test))["box AP"].value == 100
    assert measured("detection", wrong, prepared(test))["box AP"].value == 0


def test_without_classes_and_phrases_a_thing_is_a_thing(tmp_path):
    test = rows_of(tmp_path, [{"boxes": [CAT, DOG]}])
    model = model_of(Detector, lambda row: found([CAT, DOG], [3, 5]))
    assert measured("detection", model, prepared(test))["box AP"].value == 100


def test_masks_are_compared_where_both_have_them(tmp_path):
    numbers = np.zeros((SIDE, SIDE), dtype=np.uint8)
    numbers[:16, :16] = 1
    Image.fromarray(numbers).save(tmp_path / "numbers.png")
    test = prepared(rows_of(tmp_path, [{"instances": "numbers.png", "boxes": [CAT]}]))
    half = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    half[0, :16, :8] = True
    drawn = measured("detection", model_of(Detector, lambda row: found([CAT], [0], masks=half)), test)
    assert list(drawn)[::5] == ["mask AP", "box AP"]
    assert [drawn[name].value for name in ("mask AP", "mask AP50", "mask AP75", "box AP")] == [10, 100, 0, 100]
    assert "mask AP" not in measured("detection", model_of(Detector, lambda row: found([CAT], [0])), test)


def test_it_is_run_where_it_fits_and_says_what_it_needs(rows, tmp_path):
    model = model_of(Detector, lambda row: found([], []))
    assert fitting_tasks(model, rows) == ["detection"]
    bare = prepared(rows_of(tmp_path / "..", [{}]))
    with pytest.raises(ConfigError, match=r"needs rows with instances or boxes; .* --instances COL or --boxes COL"):
        measured("detection", model, bare)
    with pytest.raises(ConfigError, match="needs a method that can find things in pictures; answering cannot"):
        measured("detection", model_of(Answering, lambda row: None), rows)
