from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from accord.errors import ShapeError
from accord.evaluation.long_tail import bucketed_average_precision, label_precisions
from accord.evaluation.sts import spearman, sts_evaluate


def drawn(rows: int = 60) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    random = np.random.default_rng(0)
    first = torch.from_numpy(random.standard_normal((rows, 8)))
    second = torch.from_numpy(random.standard_normal((rows, 8)))
    return first, second, random.integers(0, 6, rows).astype(float)


def test_the_correlation_is_that_of_scipy_with_ties() -> None:
    first, second, gold = drawn()
    cosines = torch.nn.functional.cosine_similarity(first, second).numpy()
    (metric,) = sts_evaluate(first, second, gold)
    assert metric.value == pytest.approx(100 * spearmanr(cosines, gold).statistic, abs=1e-4)
    assert metric.low < metric.value < metric.high


def test_an_item_that_counts_twice_is_an_item_that_stands_twice() -> None:
    random = np.random.default_rng(1)
    x, y = random.integers(0, 5, 20).astype(float), random.integers(0, 5, 20).astype(float)
    weights = random.integers(0, 3, (1, 20)).astype(float)
    often = np.repeat(np.arange(20), weights[0].astype(int))
    assert spearman(x, y, weights)[0] == pytest.approx(spearmanr(x[often], y[often]).statistic)


def test_over_all_pairs_and_over_parts_are_two_numbers() -> None:
    first, second, gold = drawn()
    parts = ["a"] * 20 + ["b"] * 40
    gold[:20] += 10  # the parts are judged on different scales
    whole, *each = sts_evaluate(first, second, gold, parts)
    mean, *_ = sts_evaluate(first, second, gold, parts, aggregate="mean")
    assert [metric.name for metric in each] == ["Spearman (a)", "Spearman (b)"]
    assert mean.value == pytest.approx(np.mean([metric.value for metric in each]))
    assert abs(mean.value - whole.value) > 1


def test_a_judgement_a_pair_is_asked_for() -> None:
    first, second, gold = drawn()
    with pytest.raises(ShapeError, match="59 judgements of 60 pairs"):
        sts_evaluate(first, second, gold[1:])
    with pytest.raises(ValueError, match="aggregate"):
        sts_evaluate(first, second, gold, aggregate="median")


def test_labels_fall_into_buckets_by_their_training_rows() -> None:
    truth = np.eye(5, dtype=int)[np.arange(20) % 5]
    scores = torch.from_numpy(truth * 1.0)
    scores[:, 4] = -scores[:, 4]  # the last label is found in the wrong order
    found = {m.name: m for m in bucketed_average_precision(scores, truth, [50, 40, 3, 2, 0], buckets=2)}
    assert list(found) == [
        f"{kind} AP, {name}" for name in ("head (1)", "tail (2)", "unseen") for kind in ("micro", "macro")
    ]
    assert found["macro AP, tail (2)"].value == 100
    assert found["macro AP, unseen"].value < 25
    assert found["macro AP, unseen"].chance == 20
    assert found["macro AP, head (1)"].n == 2


def test_equal_scores_are_one_threshold() -> None:
    truth = np.array([[True], [False], [False], [True]])
    assert label_precisions(np.zeros((4, 1)), truth)[0] == pytest.approx(0.5)
    assert np.isnan(label_precisions(np.zeros((4, 1)), np.zeros((4, 1), dtype=bool))[0])


def test_scores_and_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"counts: \(2,\); expected \(N, C\)"):
        bucketed_average_precision(torch.zeros(3, 4), np.ones((3, 4)), [1, 2])
