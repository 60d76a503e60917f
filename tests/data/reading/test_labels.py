from __future__ import annotations

import numpy as np

from accord.data.reading.labels import read_labels


def test_numbers_are_sorted_by_size_and_names_by_letter() -> None:
    assert read_labels([10, 9, 100]).classes == ("9", "10", "100")
    assert read_labels(["b", "a", "10"]).classes == ("10", "a", "b")


def test_whole_floats_and_truth_values_are_numbers() -> None:
    found = read_labels([1.0, 0.0, float("nan"), 0.5])
    assert found.values.tolist() == [1, 0, -1, -1]
    assert found.bad == {2: "missing label", 3: "unusable label: 0.5"}
    assert read_labels([True, False]).values.tolist() == [1, 0]


def test_given_classes_fix_the_order_and_refuse_others() -> None:
    found = read_labels(["cat", "cow", "dog"], classes=["dog", "cat"])
    assert found.values.tolist() == [1, -1, 0]
    assert found.bad == {1: "unknown class: 'cow' is not one of the 2 classes"}


def test_numbers_index_the_names_of_the_source() -> None:
    found = read_labels([1, 0, 2], names=["cat", "dog"])
    assert found.classes == ("cat", "dog")
    assert found.values.tolist() == [1, 0, -1]
    assert found.bad == {2: "unusable label: 2"}


def test_lists_become_a_matrix_in_which_an_empty_list_is_a_row_of_zeros() -> None:
    found = read_labels([["a", "b"], [], ["b", "b"], None, ["c", None]])
    assert found.classes == ("a", "b")
    assert found.values.tolist() == [[1, 1], [0, 0], [0, 1], [0, 0], [0, 0]]
    assert found.values.dtype == np.uint8
    assert list(found.bad) == [3, 4]
