"""k-means against classes: the indices equal those of torchmetrics, and good embeddings score above bad ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixed import Fixed, corpus
from torchmetrics.functional import clustering

from accord.errors import DataError
from accord.evaluation.clustering import adjusted_rand, evaluate_clustering, normalised_information


def table(clusters, labels, size):
    counts = np.zeros((1, size, size))
    np.add.at(counts[0], (clusters, labels), 1)
    return counts


@pytest.mark.parametrize("seed", range(4))
def test_indices_equal_those_of_torchmetrics(seed):
    random = np.random.default_rng(seed)
    labels = random.integers(4, size=50)
    clusters = np.where(random.random(50) < 0.6, (labels + 1) % 4, random.integers(4, size=50))
    counts, pair = table(clusters, labels, 4), (torch.from_numpy(clusters), torch.from_numpy(labels))
    wanted = float(clustering.normalized_mutual_info_score(*pair))
    assert normalised_information(counts)[0] == pytest.approx(wanted, abs=1e-5)
    assert adjusted_rand(counts)[0] == pytest.approx(float(clustering.adjusted_rand_score(*pair)), abs=1e-5)


def test_separate_classes_are_found_and_noise_is_not():
    labels = np.arange(60) % 3
    torch.manual_seed(0)
    apart = torch.eye(3)[labels] + 0.05 * torch.randn(60, 3)
    nmi, ari = evaluate_clustering(Fixed(apart), corpus(labels), "text", runs=4)
    noise_nmi, noise_ari = evaluate_clustering(Fixed(torch.randn(60, 3)), corpus(labels), "text", runs=4)
    assert nmi.value > 60 > 30 > noise_nmi.value
    assert ari.value > 50 > 15 > noise_ari.value
    for metric in (nmi, ari, noise_nmi, noise_ari):
        assert metric.low <= metric.value <= metric.high


def test_rows_without_a_class_are_left_out_and_one_class_is_refused():
    labels = np.array([0, 0, 1, 1, -1])
    metric, _ = evaluate_clustering(Fixed(torch.eye(5)), corpus(labels), "text", runs=1)
    assert metric.n == 4
    with pytest.raises(DataError, match="at least two classes"):
        evaluate_clustering(Fixed(torch.eye(5)), corpus([0] * 5), "text")
