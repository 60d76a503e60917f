"""Captions that are packed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from accord.data.corpus.captions import Captions

ROWS = [("a cat", "tabby"), (), ("ein Käfer",)] * 700  # more than a block


def test_it_gives_back_what_was_packed():
    said = Captions.of(ROWS)
    assert len(said) == len(ROWS)
    assert list(said) == ROWS
    assert [said[position] for position in (0, 1, 2, 1501, -1)] == [ROWS[position] for position in (0, 1, 2, 1501, -1)]
    assert list(said[3:6]) == ROWS[3:6]


def test_rows_are_taken_in_any_order_and_more_than_once():
    index = np.array([2, 0, 0, 2099, 1])
    assert list(Captions.of(ROWS).take(index)) == [ROWS[position] for position in index]


def test_what_is_packed_is_not_packed_again_and_travels_to_other_processes():
    said = Captions.of(ROWS)
    assert Captions.of(said) is said
    assert list(pickle.loads(pickle.dumps(said))) == ROWS


def test_there_may_be_no_rows_and_there_is_no_row_beyond_the_last():
    assert list(Captions.of([])) == []
    assert not Captions.of([])
    with pytest.raises(IndexError):
        Captions.of(ROWS)[len(ROWS)]
