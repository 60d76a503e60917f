from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.splits import Splits, split
from accord.errors import ConfigError, DataError

SHARES = st.sampled_from(
    [{"test": 0.2}, {"test": 0.3, "val": 0.1}, {"train": 0.5, "test": 0.5}, {"test": 0.25, "val": 0.0}]
)


@st.composite
def rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    sizes = draw(st.lists(st.integers(1, 6), min_size=4, max_size=40))
    groups = np.repeat([f"g{i}" for i in range(len(sizes))], sizes)
    labels = np.array(draw(st.lists(st.integers(-1, 4), min_size=len(groups), max_size=len(groups))))
    order = np.random.default_rng(len(groups)).permutation(len(groups))
    return groups[order], labels


@settings(max_examples=60, deadline=None)
@given(rows(), SHARES, st.integers(0, 5))
def test_every_row_is_in_one_split_and_every_group_on_one_side(
    data: tuple[np.ndarray, np.ndarray], shares: dict[str, float], seed: int
) -> None:
    groups, labels = data
    ids = np.arange(len(groups)) * 10
    parts = split(groups, labels, shares, seed, ids=ids)
    assert sorted(np.concatenate(list(parts.rows.values()))) == ids.tolist()
    parts.require_disjoint_groups(groups, ids)


@settings(max_examples=60, deadline=None)
@given(rows(), SHARES, st.integers(0, 5))
def test_the_sizes_are_right_to_within_the_largest_group(
    data: tuple[np.ndarray, np.ndarray], shares: dict[str, float], seed: int
) -> None:
    groups, labels = data
    parts = split(groups, labels, shares, seed)
    largest = np.unique(groups, return_counts=True)[1].max()
    wanted = {"train": 1 - sum(shares.values()), **shares}
    for name, share in wanted.items():
        off = len(parts.rows[name]) - share * len(groups)
        assert -largest * len(wanted) <= off <= largest
        assert (len(parts.rows[name]) > 0) == (share > 0)


@settings(max_examples=20, deadline=None)
@given(rows(), st.integers(0, 5))
def test_a_split_depends_on_its_arguments_alone(data: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    groups, labels = data
    first, again = (split(groups, labels, {"test": 0.3}, seed) for _ in range(2))
    assert all(np.array_equal(first.rows[name], again.rows[name]) for name in first.rows)


def test_another_seed_gives_another_split() -> None:
    tests = {tuple(split(None, np.zeros(100, dtype=int), {"test": 0.3}, seed).rows["test"]) for seed in range(5)}
    assert len(tests) == 5


@pytest.mark.parametrize("multi", [False, True])
def test_classes_are_shared_out_as_the_rows_are(multi: bool) -> None:
    labels = np.repeat([0, 1, 2], [20, 60, 120])
    groups = np.arange(200) // 2  # pairs of one class
    given_labels = (labels[:, None] == np.arange(3)).astype(np.uint8) if multi else labels
    parts = split(groups, given_labels, {"test": 0.3}, seed=1)
    assert np.bincount(labels[parts.rows["test"]]).tolist() == pytest.approx([6, 18, 36], abs=2)


def test_splits_are_saved_by_row_id_and_found_again_in_a_selection(tmp_path: Path) -> None:
    ids = np.array([3, 5, 8, 13, 21])
    parts = split(None, None, {"test": 0.4}, seed=0, ids=ids)
    parts.save(tmp_path / "run" / "splits.json")
    again = Splits.load(tmp_path / "run" / "splits.json")
    assert repr(again) == "Splits(train: 3, test: 2)"
    shuffled = ids[::-1]
    for name in ("train", "test"):
        assert sorted(shuffled[again.positions(name, shuffled)]) == parts.rows[name].tolist()
    with pytest.raises(DataError, match=r"split \w+ names 1 rows that the data no longer has \(the first: row 5\)"):
        [again.positions(name, np.array([3, 8, 13, 21])) for name in ("train", "test")]
    with pytest.raises(DataError, match="no split 'dev'; there are: train, test"):
        again.positions("dev", ids)


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"train": "x"}'])
def test_a_file_that_holds_no_splits_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(DataError, match=r"splits.json is not a file of splits"):
        Splits.load(tmp_path / "splits.json")


def test_a_leak_is_named() -> None:
    parts = Splits({"train": np.array([0, 1]), "test": np.array([2])})
    with pytest.raises(DataError, match="group 'cat' is in split train and in split test: it leaks"):
        parts.require_disjoint_groups(np.array(["dog", "cat", "cat"]), np.arange(3))


def test_shares_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"split test = 1.5: expected a share between 0 and 1"):
        split(None, np.zeros(4, dtype=int), {"test": 1.5}, 0)
    with pytest.raises(ConfigError, match=r"the splits test, val add up to 1.2: expected at most 1"):
        split(None, np.zeros(4, dtype=int), {"test": 0.6, "val": 0.6}, 0)


def test_too_little_to_split_is_said() -> None:
    with pytest.raises(DataError, match="there are no rows to split"):
        split(None, None, {"test": 0.5}, 0)
    with pytest.raises(DataError, match="1 groups cannot be shared among 2 splits"):
        split(np.array(["a", "a"]), None, {"test": 0.5}, 0)
