import io
import json

import numpy as np
import pytest
from rich.console import Console

from accord.evaluation.metric import Metric, format_metrics, mean_metric, ratio_metric


def test_mean_metric_is_in_percent_with_an_interval_around_it():
    metric = mean_metric("top-1", [1] * 30 + [0] * 10, chance=10.0)
    assert metric.value == 75.0
    assert metric.low < 75.0 < metric.high
    assert (metric.n, metric.chance, metric.unit) == (40, 10.0, "%")


def test_a_share_of_nothing_is_undefined_and_json_can_say_so():
    metric = mean_metric("empty", [], chance=None)
    assert np.isnan(metric.value)
    assert json.loads(json.dumps(metric.to_dict(), allow_nan=False))["value"] is None
    assert np.isnan(Metric.from_dict(metric.to_dict()).value)


def test_ratio_metric_resamples_numerator_and_denominator_together():
    parts = np.array([[1, 1], [0, 1], [0, 0], [1, 1]] * 20)
    metric = ratio_metric("precision", parts, lambda totals: 100 * totals[:, 0] / totals[:, 1], chance=50.0)
    assert metric.value == pytest.approx(100 * 2 / 3)
    assert metric.low < metric.value < metric.high <= 100


def test_an_undefined_ratio_has_no_interval():
    metric = ratio_metric("none", [[0, 0]] * 3, lambda totals: totals[:, 0] / totals[:, 1], chance=None)
    assert np.isnan(metric.value)
    assert metric.low is None
    assert metric.interval == ""


def test_table_prints_value_interval_chance_and_count():
    console = Console(width=100, record=True, file=io.StringIO())
    metrics = [Metric("top-1", 61.25, 57.0, 65.5, 10.0, 200), Metric("median rank", 3.0, None, None, None, 9, "rank")]
    console.print(format_metrics(metrics, title="held-out"))
    text = console.export_text()
    for part in ("top-1", "61.2 %", "[57.0, 65.5]", "10.0", "200", "3.0 rank", "—"):
        assert part in text
