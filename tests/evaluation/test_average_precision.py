"""Average precision by hand, and beside that of COCO's own tool."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from accord.evaluation.average_precision import (
    MOST,
    Guesses,
    average_precision,
    box_overlap,
    mask_overlap,
    precision_curves,
)


def guesses(overlap, scores, labels=None, truth=None):
    overlap = np.array(overlap, dtype=np.float64)
    labels = np.zeros(len(scores), dtype=np.int64) if labels is None else np.array(labels)
    truth = np.zeros(overlap.shape[1], dtype=np.int64) if truth is None else np.array(truth)
    return Guesses(overlap, np.array(scores, dtype=np.float64), labels, truth)


def values(*rows, groups=None):
    return [metric.value for metric in average_precision("box", rows, groups)]


def test_precision_is_read_at_101_recalls_from_the_surest_guess_on():
    # right up to 0.8, wrong, right up to 0.6: precisions 1, 1/2, 2/3 at recalls 1/2, 1/2, 1
    rows = guesses([[0.8, 0.1], [0.2, 0.3], [0.1, 0.6]], [0.9, 0.8, 0.7])
    ap50, ap65 = (51 + 50 * 2 / 3) / 101, 51 / 101
    assert values(rows) == pytest.approx([10 * (3 * ap50 + 4 * ap65), 100 * ap50, 100 * ap65, 35.0, 50.0])


def test_guesses_of_all_rows_are_read_together():
    right, wrong = guesses([[1.0]], [0.5]), guesses([[0.0]], [0.6])
    assert values(right, wrong)[:2] == pytest.approx([100 * 51 / 101 / 2] * 2)  # half the things, half the guesses
    assert values(right, guesses([[0.0]], [0.4]))[1] == pytest.approx(100 * 51 / 101)


def test_a_thing_is_found_once_and_by_the_surest_guess_that_overlaps_it_enough():
    assert values(guesses([[0.9], [1.0]], [0.9, 0.8]))[1] == 100  # the second comes too late, but all are found
    twice = guesses([[0.9, 0.0], [1.0, 0.0], [0.0, 0.9]], [0.9, 0.8, 0.7])
    assert values(twice)[1] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    # it takes the thing that it overlaps most: the other is left for the next guess
    assert values(guesses([[0.6, 0.7], [0.9, 0.1]], [0.9, 0.8]))[1] == 100


def test_classes_count_alike_and_those_of_which_there_is_nothing_not_at_all():
    rows = guesses([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]], [0.9, 0.8, 0.7], labels=[0, 0, 7], truth=[0, 0, 1])
    assert values(rows)[1] == pytest.approx(50)  # class 1 was not found: a guess of class 7 says nothing of it


def test_recall_counts_the_first_guesses_of_each_row_and_class():
    rows = guesses(np.eye(12), np.arange(12, 0, -1))
    assert values(rows)[3:] == pytest.approx([100 / 12, 1000 / 12])
    assert values(guesses(np.eye(MOST + 50), np.arange(MOST + 50, 0, -1)))[0] == pytest.approx(100 * 67 / 101)


def test_nothing_to_find_is_no_number_and_nothing_found_is_zero():
    nothing = guesses(np.zeros((1, 0)), [0.9])
    assert all(np.isnan(value) for value in values(nothing))
    assert all(np.isnan(value) for value in values())
    assert values(guesses(np.zeros((0, 2)), [])) == [0] * 5
    assert precision_curves({"box": [nothing]}, "Found") == []


def test_rows_are_drawn_anew_for_the_interval_those_of_a_group_together():
    right, wrong = guesses([[1.0]], [0.5]), guesses([[0.0]], [0.6])
    rows = [right, wrong] * 10
    apart = average_precision("box", rows)[0]
    assert apart.low < apart.value < apart.high
    together = average_precision("box", rows, np.repeat(["a", "b"], 10))[0]
    assert together.value == apart.value
    assert together.high - together.low < apart.high - apart.low  # each group is as good as the other
    assert apart.n == 20


def test_a_curve_ends_where_the_last_thing_is_found():
    (curve,) = precision_curves({"box": [guesses([[1.0, 0], [0, 0]], [0.9, 0.8])]}, "Found")
    assert curve.lines["box"][50] == (50.0, 100.0)
    assert curve.lines["box"][51] == (51.0, 0.0)


def test_a_moving_box_is_compared_over_all_frames():
    still, nowhere = [0.0, 0.0, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0]
    truth = torch.tensor([[still, still, nowhere]])
    found = torch.tensor([[still, still, nowhere], [still, [0.25, 0.0, 0.75, 1.0], nowhere], [still, nowhere, still]])
    assert box_overlap(found, truth)[:, 0].tolist() == pytest.approx([1, 0.75 / 1.25, 0.5 / 1.5])
    assert box_overlap(found[:0], truth).shape == (0, 1)


def test_moving_masks_are_compared_pixel_by_pixel_over_all_frames():
    truth = torch.zeros(2, 2, 4, 4, dtype=torch.bool)
    truth[0, :, :2], truth[1, 1, 3] = True, True
    found = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    found[0, 0, :2] = True
    assert mask_overlap(found, truth).tolist() == [[0.5, 0.0]]


def test_it_says_what_the_tool_of_coco_says():
    pytest.importorskip("faster_coco_eval")
    from torchmetrics.detection import MeanAveragePrecision

    random = np.random.default_rng(0)
    rows, found, there = [], [], []
    for _ in range(30):
        start = 0.6 * random.random((random.integers(0, 6), 2))
        boxes = np.concatenate([start, start + 0.1 + 0.3 * random.random(start.shape)], axis=1)
        truth, many = random.integers(0, 4, len(boxes)), random.integers(0, 9) if len(boxes) else 0
        near = random.integers(0, max(1, len(boxes)), many)
        moved = boxes[near] + random.normal(0, 0.015, (many, 4))
        labels = np.where(random.random(many) < 0.8, truth[near], random.integers(0, 5, many))
        moved, boxes, scores = torch.tensor(moved), torch.tensor(boxes), random.random(many)
        rows.append(Guesses(box_overlap(moved[:, None], boxes[:, None]), scores, labels, truth))
        found.append({"boxes": moved, "scores": torch.tensor(scores), "labels": torch.tensor(labels)})
        there.append({"boxes": boxes, "labels": torch.tensor(truth)})
    tool = MeanAveragePrecision(backend="faster_coco_eval")
    tool.update(found, there)
    said = tool.compute()
    assert values(*rows) == pytest.approx([100 * float(said[f"ma{n}"]) for n in ("p", "p_50", "p_75", "r_1", "r_10")])
    assert 20 < values(*rows)[0] < 80
