import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from accord.errors import ShapeError
from accord.evaluation.bootstrap import (
    auroc,
    average_precision,
    bootstrap,
    bootstrap_interval,
    bootstrap_totals,
    ranking_curve,
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
    medians = []

    def remember(weights):
        medians.extend(np.median(np.repeat(scores, row.astype(int))) for row in weights)
        return weights.sum(axis=1)

    bootstrap(remember, len(scores), resamples=200)
    expected = tuple(np.percentile(medians, [2.5, 97.5]))
    assert bootstrap_interval(scores, resamples=200, statistic="median") == pytest.approx(expected)


def test_no_items_and_groups_of_another_length_are_refused():
    with pytest.raises(ShapeError, match="no items to resample"):
        bootstrap_interval([])
    with pytest.raises(ShapeError, match="2 entries for 3 scores"):
        bootstrap_interval([1, 2, 3], groups=["a", "b"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_ranking_areas_equal_torchmetrics_with_ties(items):
    scores = torch.tensor([score / 5 for score, _ in items])
    positive = torch.tensor([flag for _, flag in items])
    if positive.all() or not positive.any():
        return
    curve = ranking_curve(scores, positive)(np.ones((1, len(items))))
    assert auroc(*curve)[0] == pytest.approx(float(binary_auroc(scores, positive.long())), abs=1e-6)
    precision = float(binary_average_precision(scores, positive.long()))
    assert average_precision(*curve)[0] == pytest.approx(precision, abs=1e-6)


def test_weighted_ranking_areas_equal_those_of_repeated_items():
    rng = np.random.default_rng(7)
    scores, positive = rng.random(20).round(1), rng.random(20) < 0.4
    weights = rng.integers(0, 3, size=20)
    repeated = ranking_curve(np.repeat(scores, weights), np.repeat(positive, weights))
    expected = auroc(*repeated(np.ones((1, weights.sum()))))
    assert auroc(*ranking_curve(scores, positive)(weights[None].astype(float))) == pytest.approx(expected)
