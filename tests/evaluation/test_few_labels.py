"""Classification from a few labels: F1 equals that of torchmetrics, and only the drawn labels count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixed import Fixed, corpus
from torchmetrics.functional.classification import multiclass_f1_score

from accord.errors import DataError
from accord.evaluation.few_labels import _metrics, evaluate_few_labels, few_of_each


def test_metrics_equal_those_of_torchmetrics():
    torch.manual_seed(0)
    labels = np.arange(40) % 3
    scores = [2 * torch.eye(3)[labels] + torch.randn(40, 3) for _ in range(2)]
    macro, micro, area = _metrics(scores, labels, 3, "", None)
    for metric, average in ((macro, "macro"), (micro, "micro")):
        each = [multiclass_f1_score(score, torch.from_numpy(labels), 3, average=average) for score in scores]
        assert metric.value == pytest.approx(100 * float(torch.stack(each).mean()), abs=1e-4)
    assert 50 < area.value < 100
    assert macro.low <= macro.value <= macro.high


def test_every_class_gives_as_many_labels_as_asked_for_or_all_it_has():
    labels = np.array([0] * 10 + [1] * 3 + [-1] * 5)
    drawn = few_of_each(labels, 4, seed=1)
    assert np.bincount(labels[drawn]).tolist() == [4, 3]
    assert len(set(drawn.tolist())) == 7
    assert few_of_each(labels, 4, seed=2).tolist() != drawn.tolist()


def test_more_labels_help_where_embeddings_say_something():
    torch.manual_seed(0)
    labels = np.arange(300) % 3
    vectors = torch.eye(3)[labels].repeat(1, 4) + 1.2 * torch.randn(300, 12)
    everything = corpus(labels)
    train, test = everything.select(np.arange(200)), everything.select(np.arange(200, 300))
    metrics = evaluate_few_labels(Fixed(vectors), test, train, "text", per_class=(3, 50), draws=5)
    named = {metric.name: metric.value for metric in metrics}
    assert named["macro-F1 at 50"] > named["macro-F1 at 3"] > 40
    assert named["AUC at 50"] > 80
    noise = evaluate_few_labels(Fixed(torch.randn(300, 12)), test, train, "text", per_class=(20,), draws=5)
    assert noise[1].value < 50


def test_several_labels_a_row_are_refused():
    many = corpus(np.eye(3, dtype=np.uint8)[np.arange(6) % 3])
    with pytest.raises(DataError, match="one label a row"):
        evaluate_few_labels(Fixed(torch.eye(6)), many, many, "text")
