"""Classes found again in parts of the rows."""

from __future__ import annotations

import numpy as np
import pytest

from accord.pipeline.discovery import stability
from accord.pipeline.discovery.stability import best_overlap, find_again, part_of


def again(find, assigned: np.ndarray, labels: np.ndarray, **options) -> stability.Stability:
    asked = {"repeats": 4, "seed": 0, "say": lambda _: None, **options}
    return find_again(find, assigned, labels, int(assigned.max()) + 1, **asked)


def test_classes_that_come_back_overlap_wholly_whatever_their_numbers() -> None:
    assigned = np.repeat([0, 1, 2], 20)
    found = again(lambda rows, seed: 7 - assigned[rows], assigned, np.full(60, -1))
    assert found.overlap == (1, 1, 1)
    assert found.counts == (3, 3, 3, 3)


def test_a_class_that_falls_apart_is_told_from_one_that_stays() -> None:
    assigned = np.repeat([0, 1], 40)

    def find(rows: np.ndarray, seed: int) -> np.ndarray:
        return np.where(assigned[rows] == 1, 5 + rows % 4, 0)

    kept, broken = again(find, assigned, np.full(80, -1)).overlap
    assert kept == 1
    assert broken == pytest.approx(0.3, abs=0.1)


def test_labels_prove_nothing() -> None:
    assigned, labels = np.repeat([0, 1], 40), np.full(80, -1)
    labels[:40] = 0
    found = again(lambda rows, seed: assigned[rows], assigned, labels)
    assert found.overlap == (None, 1)


def test_every_part_is_drawn_anew_and_by_another_seed() -> None:
    seen, assigned = [], np.repeat([0, 1], 20)

    def find(rows: np.ndarray, seed: int) -> np.ndarray:
        seen.append((tuple(rows), seed))
        return assigned[rows]

    again(find, assigned, np.full(40, -1))
    assert len({rows for rows, _ in seen}) == 4
    assert len({seed for _, seed in seen}) == 4
    assert 0 not in {seed for _, seed in seen}


def test_a_part_keeps_every_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stability, "MOST", 50)
    labels = np.concatenate([np.full(900, -1), np.arange(10).repeat(10)])
    rows = part_of(labels, np.random.default_rng(0))
    assert len(rows) == 55  # a share of 1 in 20, and one of each label
    assert set(labels[rows]) == {-1, *range(10)}


def test_a_class_of_which_next_to_nothing_was_drawn_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stability, "MOST", 100)
    assigned = np.repeat([0, 1], [1960, 40])
    found = again(lambda rows, seed: np.zeros(len(rows), dtype=int), assigned, np.full(2000, -1))
    assert found.overlap[0] > 0.9
    assert found.overlap[1] is None


def test_overlap_is_that_of_sets() -> None:
    first, second = np.array([0, 0, 0, 1, 1, 2]), np.array([3, 3, 4, 4, 4, 3])
    sets = [{3: {0, 1, 5}, 4: {2, 3, 4}}[name] for name in (3, 4)]
    want = [max(len(own & other) / len(own | other) for other in sets) for own in ({0, 1, 2}, {3, 4}, {5})]
    assert best_overlap(first, second, 3).tolist() == pytest.approx(want)
