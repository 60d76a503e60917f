"""Controlled noise: as much as asked for, of the kind asked for, and the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.making.corruption import flip_labels, shuffle_captions, web_noise_by_query
from accord.errors import ConfigError, ShapeError

rates = st.floats(0, 1)
seeds = st.integers(0, 2**31)


@settings(max_examples=60, deadline=None)
@given(total=st.integers(0, 40), rate=rates, seed=seeds)
def test_shuffle_moves_the_asked_share_and_loses_no_caption(total: int, rate: float, seed: int) -> None:
    texts = [f"caption {row}" for row in range(total)]
    before = list(texts)
    shuffled, moved = shuffle_captions(texts, rate, seed)
    chosen = round(rate * total)
    assert moved.sum() == (chosen if chosen > 1 else 0)
    assert sorted(shuffled) == sorted(texts)
    assert [new != old for new, old in zip(shuffled, texts, strict=True)] == moved.tolist()
    assert texts == before
    assert shuffle_captions(texts, rate, seed)[0] == shuffled


def test_shuffle_does_not_call_an_equal_caption_noise() -> None:
    shuffled, moved = shuffle_captions([["a"], ["a"], ["a"]], 1.0, seed=0)
    assert shuffled == [["a"], ["a"], ["a"]]
    assert not moved.any()


def test_a_permutation_keeps_all_captions_and_says_which_came_back() -> None:
    texts = [f"caption {row}" for row in range(200)]
    came_back = 0
    for seed in range(60):
        shuffled, moved = shuffle_captions(texts, 0.4, seed, order="any")
        assert sorted(shuffled) == sorted(texts)
        assert [new != old for new, old in zip(shuffled, texts, strict=True)] == moved.tolist()
        assert 70 <= moved.sum() <= 80
        came_back += 80 - int(moved.sum())
    assert 30 <= came_back <= 90  # one of each permutation on average


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), max_size=60),
    rate=rates,
    seed=seeds,
    kind=st.sampled_from(["symmetric", "pair"]),
)
def test_flip_changes_exactly_the_asked_share(labels: list[int], rate: float, seed: int, kind: str) -> None:
    given_labels = np.array(labels, dtype=np.int64)
    kept = given_labels.copy()
    flipped = flip_labels(given_labels, rate, kind, num_classes=5, seed=seed)
    changed = flipped != given_labels
    assert changed.sum() == round(rate * len(labels))
    assert flipped.dtype == np.int64
    assert ((flipped >= 0) & (flipped < 5)).all()
    assert (given_labels == kept).all()
    if kind == "pair":
        assert (flipped[changed] == (given_labels[changed] + 1) % 5).all()
    again = flip_labels(given_labels, rate, kind, num_classes=5, seed=seed)
    assert (again == flipped).all()


def test_symmetric_noise_spreads_evenly_over_the_other_classes() -> None:
    flipped = flip_labels(np.zeros(6000, dtype=np.int64), 1.0, num_classes=4, seed=3)
    assert np.abs(np.bincount(flipped, minlength=4) / 6000 - [0, 1 / 3, 1 / 3, 1 / 3]).max() < 0.03


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_rate_outside_the_unit_interval_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="expected a share between 0 and 1"):
        shuffle_captions(["a", "b"], rate, seed=0)
    with pytest.raises(ConfigError, match="expected a share between 0 and 1"):
        flip_labels(np.array([0, 1]), rate, num_classes=2, seed=0)


def test_labels_that_cannot_be_flipped_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"shape \(2, 2\), expected \(N,\)"):
        flip_labels(np.eye(2, dtype=np.int64), 0.5, num_classes=2, seed=0)
    with pytest.raises(ConfigError, match="run from -1 to 1, expected 0 to 1"):
        flip_labels(np.array([-1, 1]), 0.5, num_classes=2, seed=0)
    with pytest.raises(ConfigError, match="at least 2 classes"):
        flip_labels(np.array([0]), 0.5, num_classes=1, seed=0)
    with pytest.raises(ConfigError, match="kind = 'round'"):
        flip_labels(np.array([0]), 0.5, "round", num_classes=2, seed=0)


@pytest.mark.parametrize(
    ("query", "text", "found"),
    [
        ("car", "a red Car", True),
        ("car", "two cars", True),
        ("car", "card", False),
        ("car", "scar", False),
        ("box", "boxes", True),
        ("berry", "berries", True),
        ("leaf", "fallen leaves", True),
        ("boy", "boys", True),
        ("tv", "TV", True),
        ("ice cream", "soft ice-cream", True),
        ("ice cream", "ice creams", True),
        ("ice cream", "ice and cream", False),
        ("c++", "learn c++", True),
    ],
)
def test_query_matches_whole_words_in_singular_and_plural(query: str, text: str, found: bool) -> None:
    indices, _ = web_noise_by_query([["nothing"], [text]], {"class": [query]})
    assert indices.tolist() == ([1] if found else [])


def test_phrase_does_not_match_across_two_texts() -> None:
    assert web_noise_by_query([["ice", "cream"]], {"sweet": ["ice cream"]})[0].size == 0


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.lists(st.sampled_from(["cat", "dog", "mouse", "tree", "car"]), max_size=3), max_size=12),
    words=st.lists(st.sampled_from(["cat", "dog", "mouse", "tree"]), min_size=1, max_size=3),
)
def test_each_item_appears_once_for_each_class_that_finds_it(texts: list[list[str]], words: list[str]) -> None:
    queries = {"one": words, "other": ["mouse"]}
    indices, labels = web_noise_by_query(texts, queries)
    expected = [
        (item, label)
        for item, own in enumerate(texts)
        for label, query in enumerate(queries.values())
        if set(own) & set(query)
    ]
    assert list(zip(indices.tolist(), labels.tolist(), strict=True)) == expected


def test_nothing_found_gives_empty_integer_arrays() -> None:
    indices, labels = web_noise_by_query([["a"]], {"b": ["b"]})
    assert indices.shape == labels.shape == (0,)
    assert indices.dtype == labels.dtype == np.int64


def test_class_without_words_is_refused() -> None:
    with pytest.raises(ConfigError, match="class 'b' has no query word"):
        web_noise_by_query([["a"]], {"b": [" "]})
