import numpy as np
import pytest
import torch

from accord.errors import DataError, ShapeError
from accord.evaluation.classification import (
    evaluate_classification,
    given_labels,
    score_classes,
    scored_rows,
)


def by_name(metrics):
    return {metric.name: metric for metric in metrics}


@pytest.fixture
def outcome():
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 8, (200,), generator=rng)
    logits = torch.randn(200, 8, generator=rng) + 1.5 * torch.nn.functional.one_hot(labels, 8)
    return logits, labels.numpy(), score_classes(logits, labels.numpy(), [f"c{i}" for i in range(8)])


def test_accuracies_equal_brute_force(outcome):
    logits, labels, classification = outcome
    found = by_name(classification.metrics())
    order = np.argsort(-logits.numpy(), axis=1)
    right = order[:, 0] == labels
    assert found["top-1"].value == pytest.approx(100 * right.mean())
    assert found["top-5"].value == pytest.approx(100 * (order[:, :5] == labels[:, None]).any(axis=1).mean())
    macro = np.mean([right[labels == c].mean() for c in range(8)])
    assert found["macro accuracy"].value == pytest.approx(100 * macro)
    assert (found["top-1"].chance, found["top-5"].chance) == (12.5, 62.5)
    for metric in found.values():
        assert metric.low < metric.value < metric.high


def test_confusion_counts_true_classes_in_rows(outcome):
    _, labels, classification = outcome
    confusion = classification.confusion
    assert confusion.sum(axis=1).tolist() == np.bincount(labels, minlength=8).tolist()
    assert confusion[2, 5] == ((labels == 2) & (classification.predicted == 5)).sum()


def test_per_class_accuracy_is_the_diagonal_share_and_leaves_absent_classes_out(outcome):
    _, _, classification = outcome
    confusion = classification.confusion
    shares = [100 * confusion[c, c] / confusion[c].sum() for c in range(8)]
    assert [metric.value for metric in classification.per_class()] == pytest.approx(shares)
    narrow = score_classes(torch.eye(3), [0, 1, 0], ["a", "b", "c"])
    assert [metric.name for metric in narrow.per_class()] == ["a", "b"]


def test_a_constant_model_is_not_forgiven_its_ties():
    found = by_name(score_classes(torch.zeros(60, 6), np.arange(60) % 6).metrics())
    assert found["top-1"].value == pytest.approx(100 / 6)
    assert found["macro accuracy"].value == pytest.approx(100 / 6)


def test_top_5_is_left_out_with_five_classes_or_fewer():
    assert [metric.name for metric in score_classes(torch.eye(5), range(5)).metrics()] == ["top-1", "macro accuracy"]


def test_one_class_still_has_a_confusion_matrix():
    assert score_classes(torch.zeros(3, 1), [0, 0, 0]).confusion.tolist() == [[3]]


def test_groups_widen_the_interval_of_duplicated_rows():
    rng = torch.Generator().manual_seed(1)
    logits, labels = torch.randn(50, 3, generator=rng), np.arange(50) % 3
    many, copies = logits.repeat(4, 1), np.tile(labels, 4)
    naive = score_classes(many, copies).metrics()[0]
    grouped = score_classes(many, copies, groups=np.tile(np.arange(50), 4)).metrics()[0]
    assert grouped.high - grouped.low > 1.5 * (naive.high - naive.low)


@pytest.mark.parametrize(
    ("logits", "labels", "error", "message"),
    [
        (torch.eye(2), [0], ShapeError, r"shape \(2, 2\) for 1 labels"),
        (torch.eye(2), [0, 2], ShapeError, "labels reach from 0 to 2; the logits have 2 classes"),
        (torch.eye(2) / 0, [0, 1], DataError, "logits: 2 of 2 rows are not finite"),
    ],
)
def test_what_does_not_fit_is_refused(logits, labels, error, message):
    with pytest.raises(error, match=message):
        score_classes(logits, labels)


def test_a_corpus_is_scored_against_the_hidden_truth_without_its_outsiders(painted):
    truth = painted.labels.copy()
    truth[:4] = -1
    noisy = painted.with_labels(np.roll(painted.labels, 4), truth=truth)
    rows, labels = scored_rows(noisy)
    assert rows.tolist() == list(range(4, 24))
    assert labels.tolist() == truth[4:].tolist()
    assert given_labels(noisy).tolist() == np.roll(painted.labels, 4).tolist()
    logits = torch.nn.functional.one_hot(torch.from_numpy(painted.labels), 6).float()
    assert by_name(evaluate_classification(logits, noisy))["top-1"].value == 100.0


def test_a_multi_label_corpus_gets_multi_label_metrics(painted):
    target = np.eye(6, dtype=np.uint8)[painted.labels]
    many = painted.with_labels(target)
    names = [metric.name for metric in evaluate_classification(torch.from_numpy(target).float(), many)]
    assert names == ["C-P", "C-R", "C-F1", "O-P", "O-R", "O-F1", "mAP"]
