import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multilabel_average_precision

from accord.errors import DataError, ShapeError
from accord.evaluation.multilabel import multilabel_metrics

GOLDEN = Path(__file__).parents[1] / "golden"


def test_metrics_equal_the_published_implementation():
    values = np.load(GOLDEN / "capro.npz")
    case = next(
        c for c in json.loads((GOLDEN / "capro.json").read_text())["cases"] if c["name"] == "multilabel_metrics"
    )
    probability, target, top3, expected = (
        values[f"multilabel_metrics.{key}"] for key in ("in.prob", "in.gt", "in.top3", "out.values")
    )
    assert (np.argsort(-probability, axis=1)[:, :3] == top3).all()  # the golden's own input agrees with its scores
    metrics = multilabel_metrics(torch.from_numpy(probability), target)
    assert [metric.name for metric in metrics] == case["params"]["order"]
    assert [metric.value for metric in metrics] == pytest.approx(expected, abs=1e-6)
    for metric in metrics:
        assert metric.low <= metric.value <= metric.high


def test_micro_average_precision_equals_torchmetrics():
    rng = torch.Generator().manual_seed(0)
    scores = torch.rand(50, 9, generator=rng).mul(20).round() / 20  # with ties
    target = (torch.rand(50, 9, generator=rng) < 0.2).long()
    expected = multilabel_average_precision(scores, target, num_labels=9, average="micro")
    assert multilabel_metrics(scores, target.numpy())[-1].value == pytest.approx(100 * float(expected), abs=1e-4)


def test_chance_is_what_random_scores_reach():
    rng = torch.Generator().manual_seed(1)
    target = (torch.rand(3000, 10, generator=rng) < torch.linspace(0.1, 0.5, 10)).long()
    target[:, 0] = 1  # no row without any label
    metrics = multilabel_metrics(torch.rand(3000, 10, generator=rng), target.numpy())
    for metric in metrics:
        assert metric.value == pytest.approx(metric.chance, rel=0.05), metric.name


def test_rows_without_labels_count_as_misses_and_classes_without_rows_do_not_divide_by_zero():
    metrics = multilabel_metrics(torch.tensor([[0.9, 0.1], [0.8, 0.3]]), [[1, 0], [0, 0]], k=1)
    values = {metric.name: metric.value for metric in metrics}
    assert values["O-P"] == pytest.approx(50, abs=0.1)
    assert values["O-R"] == pytest.approx(50, abs=0.1)
    assert np.isfinite(list(values.values())).all()


def test_shapes_k_and_nan_are_checked():
    with pytest.raises(ShapeError, match="for both"):
        multilabel_metrics(torch.eye(2), [0, 1])
    with pytest.raises(ShapeError, match="k = 3: expected 1 to 2"):
        multilabel_metrics(torch.eye(2), np.eye(2))
    with pytest.raises(DataError, match="not finite"):
        multilabel_metrics(torch.full((2, 2), torch.nan), np.eye(2), k=1)
