import numpy as np
import pytest
import torch

from accord.errors import ConfigError, DataError, ShapeError
from accord.evaluation import knn
from accord.evaluation.knn import evaluate_knn, knn_leave_out, knn_scores, nearest


def unit(rows, dim, seed):
    return torch.nn.functional.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_faiss_finds_what_the_dense_product_finds():
    queries, gallery = unit(30, 12, 0), unit(200, 12, 1)
    similarities, positions = nearest(queries, gallery, 7)
    expected = (queries @ gallery.T).topk(7)
    assert torch.allclose(similarities, expected.values, atol=1e-6)
    assert torch.equal(positions, expected.indices)


@pytest.mark.parametrize("votes", ["weighted", "majority"])
def test_votes_equal_their_definition(votes):
    queries, gallery = unit(10, 6, 2), unit(60, 6, 3)
    labels = np.arange(60) % 4
    scores = knn_scores(gallery, labels, queries, k=9, votes=votes, temperature=0.07, num_classes=5)
    top = (queries @ gallery.T).topk(9)
    expected = torch.zeros(10, 5)
    for row in range(10):
        for similarity, position in zip(top.values[row], top.indices[row], strict=True):
            expected[row, labels[position]] += (similarity / 0.07).exp() if votes == "weighted" else 1.0
    assert torch.allclose(scores, expected / expected.sum(dim=1, keepdim=True), atol=1e-5)


def test_a_tiny_temperature_neither_overflows_nor_loses_the_nearest():
    scores = knn_scores(torch.eye(3), [0, 1, 2], torch.eye(3), k=3, temperature=1e-4)
    assert torch.allclose(scores, torch.eye(3))


def test_left_out_rows_never_vote_for_themselves_even_among_duplicates():
    embeddings = torch.nn.functional.normalize(torch.ones(6, 3), dim=1)  # all alike: positions say nothing
    labels = np.arange(6)
    scores = knn_leave_out(embeddings, labels, k=5, votes="majority")
    assert torch.allclose(scores.diagonal(), torch.zeros(6))
    assert torch.allclose(scores, (1 - torch.eye(6)) / 5)


def test_twins_do_not_vote_for_each_other():
    base = unit(10, 8, 4)
    twins = torch.cat([base, base])
    labels = np.tile(np.arange(10), 2)
    alone = knn_leave_out(twins, labels, k=1)
    grouped = knn_leave_out(twins, labels, k=1, groups=labels)
    assert (alone.argmax(dim=1).numpy() == labels).all()
    assert (grouped.argmax(dim=1).numpy() != labels).all()


def test_multi_hot_labels_and_rows_of_no_class_are_shared_votes():
    scores = knn_scores(torch.eye(2), [[1, 1, 0], [0, 0, 1]], torch.tensor([[1.0, 0.0]]), k=1)
    assert scores.tolist() == [[1.0, 1.0, 0.0]]
    outsider = knn_scores(torch.eye(2), [-1, 0], torch.tensor([[1.0, 0.0]]), k=2, votes="majority", num_classes=2)
    assert outsider.tolist() == [[0.5, 0.0]]


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="k = 3: expected 1 to 2, the number of reference rows"):
        nearest(torch.eye(2), torch.eye(2), 3)
    with pytest.raises(ConfigError, match="k = 2: expected at most 1"):
        knn_leave_out(torch.eye(2), [0, 1], k=2)
    with pytest.raises(ConfigError, match="votes = 'loud': expected 'weighted' or 'majority'"):
        knn_scores(torch.eye(2), [0, 1], torch.eye(2), k=1, votes="loud")
    with pytest.raises(ShapeError, match=r"\(2, 2\) and \(3, 3\)"):
        nearest(torch.eye(2), torch.eye(3), 1)
    with pytest.raises(DataError, match="not finite"):
        nearest(torch.eye(2) / 0, torch.eye(2), 1)


def test_a_corpus_is_classified_by_its_other_groups_or_by_a_reference(painted, colour_model):
    left_out = {metric.name: metric.value for metric in evaluate_knn(colour_model, painted, k=2)}
    assert left_out["top-1"] == 100.0
    odd, even = painted.select(range(1, 24, 2)), painted.select(range(0, 24, 2))
    referenced = {metric.name: metric.value for metric in evaluate_knn(colour_model, odd, even, k=2)}
    assert referenced["top-1"] == 100.0


def test_recall_asks_whether_one_of_the_nearest_rows_has_the_class():
    gallery, queries = torch.eye(4), torch.nn.functional.normalize(torch.tensor([[4.0, 3, 2, 1], [1, 2, 3, 4]]), dim=1)
    near = nearest(queries, gallery, 3)[1]
    single = knn._recalls(near, knn._targets([0, 1, 1, 2], 3), knn._targets([1, 0], 3), (1, 2, 3), None)
    assert [(metric.name, metric.value) for metric in single] == [("R@1", 0.0), ("R@2", 50.0), ("R@3", 50.0)]
    several = knn._targets([[1, 1], [0, 1], [0, 0], [0, 1]], None)
    assert [metric.value for metric in knn._recalls(near, several, torch.tensor([[1.0, 0], [0, 1]]), (1,), None)] == [
        100
    ]


def test_recall_is_told_beside_the_votes(painted, colour_model):
    alone = evaluate_knn(colour_model, painted, k=2)
    found = evaluate_knn(colour_model, painted, k=2, recall=(1, 5))
    assert [metric.name for metric in found] == [*(metric.name for metric in alone), "R@1", "R@5"]
    assert found[-1].value == 100.0
    odd, even = painted.select(range(1, 24, 2)), painted.select(range(0, 24, 2))
    assert evaluate_knn(colour_model, odd, even, k=2, recall=(1,))[-1].value == 100.0
    with pytest.raises(ConfigError, match="k = 99: expected"):
        evaluate_knn(colour_model, odd, even, k=2, recall=(99,))


def test_the_reference_votes_with_the_labels_it_came_with_not_with_the_truth(painted, colour_model):
    shifted = painted.with_labels((painted.labels + 1) % 6, truth=painted.labels)
    found = {metric.name: metric.value for metric in evaluate_knn(colour_model, painted, shifted, k=1)}
    assert found["top-1"] == 0.0


def test_few_rows_lower_the_usual_number_of_neighbours(painted, colour_model):
    few = painted.select([0, 1, 4, 5])  # two colours, groups red0 and green0
    assert {metric.name for metric in evaluate_knn(colour_model, few)} >= {"top-1"}
    assert {metric.name for metric in evaluate_knn(colour_model, few, painted)} >= {"top-1"}
    with pytest.raises(ConfigError, match="k = 20: expected"):
        evaluate_knn(colour_model, few, few, k=20)


def test_a_reference_of_other_classes_or_without_rows_is_refused(painted, colour_model):
    renamed = painted.with_labels(painted.labels, classes=[*painted.classes[:-1], "zebra"])
    with pytest.raises(DataError, match="have different classes"):
        evaluate_knn(colour_model, painted, renamed)
    with pytest.raises(DataError, match="no training rows"):
        evaluate_knn(colour_model, painted, painted.select([]))
