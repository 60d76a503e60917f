"""Segments by pseudo-labels: what is sure, what is united, what is suppressed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import Segment, temporal_pseudo_labels


def sure(*scores: float, label: int = 0) -> Tensor:
    """Windows of one class with these probabilities, of three."""
    rest = [(1 - score) / 2 for score in scores]
    shares = torch.tensor([[score, left, left] for score, left in zip(scores, rest, strict=True)], dtype=torch.float64)
    return shares.roll(label, dims=1)


def spans(found: list[Segment]) -> list[tuple[int, int, int]]:
    return [(one.label, one.start, one.end) for one in found]


def test_only_windows_above_the_threshold_are_labelled() -> None:
    assert spans(temporal_pseudo_labels(sure(0.61, 0.6, 0.2), [0, 100, 200])) == [(0, 0, 16)]
    assert temporal_pseudo_labels(sure(0.5), [0]) == []


def test_near_windows_are_united_to_both_sides_and_the_best_gives_the_score() -> None:
    found = temporal_pseudo_labels(sure(0.7, 0.9, 0.8), [7, 10, 13])
    assert spans(found) == [(0, 7, 29)]
    assert found[0].score == pytest.approx(0.9)


def test_a_chain_of_near_windows_grows_from_its_edges() -> None:
    assert spans(temporal_pseudo_labels(sure(0.95, 0.9, 0.85), [0, 3, 6])) == [(0, 0, 22)]


def test_windows_farther_away_are_dropped_and_those_beyond_open_a_segment() -> None:
    found = temporal_pseudo_labels(sure(0.9, 0.8, 0.8, 0.7), [0, 4, 24, 25])
    assert spans(found) == [(0, 0, 16), (0, 25, 41)]


def test_a_window_joins_the_segment_that_it_is_near_to_not_the_first_of_the_row() -> None:
    found = temporal_pseudo_labels(sure(0.9, 0.8, 0.7), [0, 60, 62])
    assert spans(found) == [(0, 0, 16), (0, 60, 78)]


def test_classes_do_not_suppress_each_other() -> None:
    shares = torch.cat([sure(0.9), sure(0.8, label=1)])
    assert spans(temporal_pseudo_labels(shares, torch.tensor([0, 5]))) == [(0, 0, 16), (1, 5, 21)]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="starts"):
        temporal_pseudo_labels(sure(0.9), [0, 1])
    with pytest.raises(ValueError, match="suppress"):
        temporal_pseudo_labels(sure(0.9), [0], merge=5, suppress=4)
