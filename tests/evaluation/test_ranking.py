import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from accord.evaluation import ranking
from accord.evaluation.ranking import area_metric, auroc, average_precision


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_areas_equal_torchmetrics_with_ties(items):
    scores = torch.tensor([score / 5 for score, _ in items])
    positive = torch.tensor([flag for _, flag in items])
    if positive.all() or not positive.any():
        return
    expected = 100 * float(binary_auroc(scores, positive.long()))
    assert area_metric("", auroc, scores, positive, chance=50.0).value == pytest.approx(expected, abs=1e-4)
    expected = 100 * float(binary_average_precision(scores, positive.long()))
    assert area_metric("", average_precision, scores, positive, chance=0.0).value == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("area", [auroc, average_precision])
def test_few_thresholds_change_the_interval_little_and_the_value_not_at_all(area, monkeypatch):
    rng = np.random.default_rng(0)
    positive = rng.random(900) < 0.1
    scores = rng.normal(size=900) + 1.2 * positive
    exact = area_metric("", area, scores, positive, chance=0.0)
    monkeypatch.setattr(ranking, "_THRESHOLDS", 100)
    coarse = area_metric("", area, scores, positive, chance=0.0)
    assert coarse.value == exact.value
    assert coarse.low == pytest.approx(exact.low, abs=0.5)
    assert coarse.high == pytest.approx(exact.high, abs=0.5)


def test_several_scores_of_one_item_are_resampled_together():
    scores, positive = np.array([0.9, 0.2, 0.6, 0.4] * 10), np.array([True, False, False, True] * 10)
    together = area_metric("", auroc, scores, positive, chance=50.0, items=np.repeat(np.arange(10), 4))
    assert together.n == 10
    assert together.low == together.high == pytest.approx(together.value)  # every item is the same
    apart = area_metric("", auroc, scores, positive, chance=50.0)
    assert apart.low < apart.value < apart.high


def test_without_positives_the_area_is_undefined_and_has_no_interval():
    metric = area_metric("", average_precision, [0.1, 0.2], [False, False], chance=0.0)
    assert np.isnan(metric.value)
    assert metric.low is None
