"""Where rows lie among classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from accord.pipeline.discovery import classes
from accord.pipeline.discovery.classes import in_order, place


def test_known_classes_stay_and_new_ones_come_by_size() -> None:
    assert in_order(np.array([1, 0, 5, 5, 5, 3, 3, 9]), known=2).tolist() == [1, 0, 2, 2, 2, 3, 3, 4]
    assert in_order(np.array([4, 4, 2]), known=0).tolist() == [0, 0, 1]


def test_margins_say_how_much_nearer_the_own_class_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "_ROWS", 2)
    vectors = torch.tensor([[0.0], [2.0], [10.0], [10.0], [6.0]])
    placed, centres = place(vectors, np.array([0, 0, 1, 1, 0]), 2)
    assert centres.flatten().tolist() == pytest.approx([8 / 3, 10])
    assert placed.distance.tolist() == pytest.approx([8 / 3, 2 / 3, 0, 0, 10 / 3])
    assert placed.other.tolist() == [1, 1, 0, 0, 1]
    assert placed.margin.tolist() == pytest.approx([1 - 8 / 30, 1 - 2 / 24, 1, 1, 1 - 10 / 12])


def test_a_row_nearer_to_another_class_has_a_negative_margin() -> None:
    placed, _ = place(torch.tensor([[0.0], [0.0], [10.0], [10.0], [10.0]]), np.array([0, 0, 0, 1, 1]), 2)
    assert placed.margin[2] == -1
    assert placed.margin[0] > 0


def test_one_class_alone_leaves_no_doubt() -> None:
    placed, _ = place(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 0]), 1)
    assert placed.margin.tolist() == [1, 1]
    assert placed.other.tolist() == [0, 0]
