import numpy as np
import pytest
from scipy.sparse import csr_array

from accord.errors import ShapeError
from accord.evaluation.bootstrap import (
    bootstrap_interval,
    bootstrap_totals,
)


def test_interval_covers_the_true_mean_about_95_times_in_100():
    rng = np.random.default_rng(0)
    samples = rng.random((200, 60)) < 0.3
    intervals = [bootstrap_interval(sample, resamples=300) for sample in samples]
    covered = np.mean([low <= 0.3 <= high for low, high in intervals])
    assert 0.88 <= covered <= 0.99


def test_interval_is_the_same_for_the_same_seed_and_differs_for_another():
    scores = np.random.default_rng(1).random(50)
    assert bootstrap_interval(scores, seed=3) == bootstrap_interval(scores, seed=3)
    assert bootstrap_interval(scores, seed=3) != bootstrap_interval(scores, seed=4)


def test_duplicated_items_in_groups_do_not_narrow_the_interval():
    scores = (np.random.default_rng(2).random(100) < 0.5).astype(float)
    groups = np.arange(100)
    low, high = bootstrap_interval(scores)
    twice = bootstrap_interval(np.tile(scores, 4), groups=np.tile(groups, 4))
    naive = bootstrap_interval(np.tile(scores, 4))
    assert twice == pytest.approx((low, high))
    assert naive[1] - naive[0] < 0.6 * (high - low)


def test_blocks_of_resamples_give_the_requested_number(monkeypatch):
    monkeypatch.setattr("accord.evaluation.bootstrap._CELLS", 20)
    totals = bootstrap_totals(np.ones((7, 2)), resamples=11)
    assert totals.shape == (11, 2)
    assert (totals == 7).all()


def test_median_interval_equals_medians_of_materialised_resamples():
    scores = np.random.default_rng(5).integers(1, 30, size=24).astype(float)
    weights = bootstrap_totals(np.eye(24), resamples=200)  # the totals of an identity are how often each was drawn
    medians = [np.median(np.repeat(scores, row.astype(int))) for row in weights]
    expected = tuple(np.percentile(medians, [2.5, 97.5]))
    assert bootstrap_interval(scores, resamples=200, statistic="median") == pytest.approx(expected)


def test_no_items_and_groups_of_another_length_are_refused():
    with pytest.raises(ShapeError, match="no items to resample"):
        bootstrap_interval([])
    with pytest.raises(ShapeError, match="2 entries for 3 scores"):
        bootstrap_interval([1, 2, 3], groups=["a", "b"])


def test_sparse_parts_give_the_totals_of_dense_ones():
    parts = np.random.default_rng(6).integers(0, 3, size=(20, 4))
    groups = np.arange(20) // 3
    dense = bootstrap_totals(parts, resamples=50, groups=groups)
    assert np.allclose(bootstrap_totals(csr_array(parts.astype(float)), resamples=50, groups=groups), dense)


def test_rows_of_few_kinds_are_drawn_by_kind_with_the_same_spread():
    scores = (np.random.default_rng(8).random(400) < 0.3).astype(float)
    nearly = scores + np.random.default_rng(9).normal(0, 1e-9, size=400)  # all different: drawn one by one
    assert bootstrap_interval(scores) == pytest.approx(bootstrap_interval(nearly), abs=0.012)


def test_a_statistic_is_taken_block_by_block(monkeypatch):
    parts = np.random.default_rng(10).random((12, 3))
    whole = bootstrap_totals(parts, resamples=20).sum(axis=1)
    monkeypatch.setattr("accord.evaluation.bootstrap._CELLS", 40)
    assert np.allclose(bootstrap_totals(parts, resamples=20, statistic=lambda t: t.sum(axis=1)), whole)
