"""Columns become factors: words by name, many numbers by fifths."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from accord.diagnostics import Factor
from accord.errors import DataError


def test_words_are_values_and_empty_cells_are_none() -> None:
    made = Factor.of(["red", "", "blue", None, float("nan"), "red"] * 5, "colour")
    assert made.names == ("blue", "red")
    assert made.values[:6].tolist() == [1, -1, 0, -1, -1, 1]


def test_few_numbers_are_values_in_their_order() -> None:
    assert Factor.of([10, 2, 1] * 5, "count").names == ("1", "2", "10")


def test_many_numbers_are_cut_into_fifths_of_equally_many_rows() -> None:
    made = Factor.of(np.random.default_rng(0).permutation(1000).tolist(), "weight")
    assert np.bincount(made.values).tolist() == [200] * 5
    assert made.names[0] == "up to 199.8"


def test_equal_numbers_make_fewer_parts() -> None:
    made = Factor.of([0.0] * 100 + list(range(1, 51)), "clicks")
    assert made.names == ("up to 0", "0 to 20.2", "over 20.2")
    assert np.bincount(made.values).tolist() == [100, 20, 30]


def test_values_of_few_rows_are_none() -> None:
    made = Factor.of([*["a", "b"] * 6, "c"], "letter")
    assert made.names == ("a", "b")
    assert made.values[-1] == -1


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (["a"] * 20, "factor f: 1 different values in 20 rows, of which 1 have 5 rows or more"),
        ([f"row {number}" for number in range(20)], "20 different values in 20 rows, of which 0 have 5 rows or more"),
        ([None] * 8, "0 different values in 8 rows"),
        ([["a"], ["b"]] * 8, "factor f: its cells hold list; expected words or numbers"),
        ([datetime.date(2020, 1, 1)] * 8, "its cells hold date"),
    ],
)
def test_a_column_that_is_no_factor_is_refused(cells, says) -> None:
    with pytest.raises(DataError, match=says):
        Factor.of(cells, "f")
