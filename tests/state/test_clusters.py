"""Clusters of one modality and their prototypes in the others."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import prototype_loss
from accord.state import TranslatedClusters
from two_processes import run_two_processes


def unit(rows: int, dim: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def fitted(rows: int = 20, **options: object) -> tuple[TranslatedClusters, Tensor, dict[str, Tensor]]:
    teacher, students = unit(rows, 3, 0), {"image": unit(rows, 4, 1), "audio": unit(rows, 5, 2)}
    clusters = TranslatedClusters(rows, 6, 3, {"image": 4, "audio": 5})
    clusters.fit(teacher, students, **options)  # type: ignore[arg-type]
    return clusters, teacher, students


def test_a_prototype_is_the_mean_of_the_students_own_features_of_the_members():
    clusters, _, students = fitted()
    for student, features in students.items():
        for cluster in range(6):
            members = features[clusters.labels == cluster]
            torch.testing.assert_close(clusters.prototypes(student)[cluster], members.mean(dim=0))
    assert torch.equal(clusters.sizes, torch.bincount(clusters.labels, minlength=6).float())


def test_without_translation_the_prototypes_are_the_teachers_centroids():
    clusters = TranslatedClusters(8, 2, 3, {"image": 3})
    clusters.fit(unit(8, 3, 0), {"image": unit(8, 3, 1)}, translate=False)
    assert torch.equal(clusters.prototypes("image"), clusters.centroids)


def test_the_loss_is_the_mean_over_the_students():
    clusters, _, students = fitted()
    rows = torch.tensor([3, 7, 7, 19])
    options = {"teacher_centroids": clusters.centroids, "target_temperature": 0.1}
    expected = [
        prototype_loss(students[name][rows], clusters.prototypes(name), clusters.labels[rows], 5.0, **options)
        for name in students
    ]
    x = {name: features[rows] for name, features in students.items()}
    found = clusters.loss(x, rows, 5.0, target_temperature=0.1, mask_empty=False)
    torch.testing.assert_close(found, torch.stack(expected).mean())


def test_empty_clusters_take_part_only_when_asked_to():
    clusters = TranslatedClusters(4, 3, 1, {"image": 2})
    same = torch.zeros(4, 1)  # three clusters of one point: two stay empty
    image = F.normalize(torch.tensor([[1.0, 0.0]] * 4), dim=1)
    clusters.fit(same, {"image": image})
    assert clusters.sizes.sort().values.tolist() == [0, 0, 4]
    rows = torch.arange(4)
    assert clusters.loss({"image": image}, rows, 2.0) == 0
    phantom = clusters.loss({"image": image}, rows, 2.0, mask_empty=False)  # e² against two logits of 0
    torch.testing.assert_close(phantom, (1 + 2 * torch.tensor(-2.0).exp()).log())


def test_fewer_rows_than_the_episode_has_leave_the_later_ones_without_a_cluster():
    clusters, _, _ = fitted()
    clusters.fit(unit(10, 3, 3), {"image": unit(10, 4, 4), "audio": unit(10, 5, 5)})
    assert (clusters.labels[10:] == -1).all()
    assert (clusters.labels[:10] >= 0).all()
    assert clusters.sizes.sum() == 10


def test_the_effective_number_of_clusters_counts_equal_ones_fully():
    clusters = TranslatedClusters(8, 4, 1, {})
    clusters.sizes.copy_(torch.tensor([4, 4, 0, 0]))
    torch.testing.assert_close(clusters.effective(), torch.tensor(2.0))
    clusters.sizes.copy_(torch.tensor([8, 0, 0, 0]))
    torch.testing.assert_close(clusters.effective(), torch.tensor(1.0))


def test_a_saved_state_goes_on_as_it_was():
    clusters, _, students = fitted()
    again = TranslatedClusters(20, 6, 3, {"image": 4, "audio": 5})
    again.load_state_dict(clusters.state_dict())
    rows = torch.arange(20)
    assert torch.equal(again.loss(students, rows, 5.0), clusters.loss(students, rows, 5.0))


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match="clusters = 9"):
        TranslatedClusters(8, 9, 3, {})
    clusters = TranslatedClusters(8, 4, 3, {})
    with pytest.raises(ShapeError, match="teacher"):
        clusters.fit(unit(8, 2, 0), {})
    with pytest.raises(ValueError, match="rows to cluster = 3"):
        clusters.fit(unit(3, 3, 0), {})


def different_starts(rank: int) -> dict[str, Tensor]:
    """Each process starts k-means elsewhere, as a device's rounding might."""
    clusters, _, _ = fitted(seed=rank, n_iter=2)
    return dict(clusters.state_dict())


def test_processes_agree_on_the_clusters_of_the_first():
    first, second = run_two_processes(different_starts)
    alone = different_starts(0)
    assert not torch.equal(different_starts(1)["labels"], alone["labels"])
    for name, value in alone.items():
        assert torch.equal(first[name], value), name
        assert torch.equal(second[name], value), name
