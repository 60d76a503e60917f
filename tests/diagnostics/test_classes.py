"""Separated classes are told from classes that are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import silhouette_samples

from accord.diagnostics import Factor, class_diagnostics, neighbour_purity
from accord.diagnostics.purity import ROWS


def blobs(spread: float, classes: int = 5, per_class: int = 40, dim: int = 16):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat(per_class)
    x = torch.eye(dim)[labels] + spread * torch.randn(len(labels), dim, generator=generator)
    return F.normalize(x, dim=1), Factor(labels.numpy(), tuple(f"class {number}" for number in range(classes)))


def numbers(x, classes, groups=None):
    return {item.name.removeprefix("image "): item for item in class_diagnostics("image", x, classes, groups)}


def test_separated_classes_and_random_labels_differ_in_every_number() -> None:
    x, classes = blobs(0.05)
    apart = numbers(x, classes)
    mixed = numbers(x, Factor(np.random.default_rng(0).permutation(classes.values), classes.names))
    assert apart["scatter ratio"].value > 10 > 0.1 > mixed["scatter ratio"].value
    assert mixed["scatter ratio"].value < 3 * mixed["scatter ratio"].chance
    assert apart["within-class variability"].value < 0.1 < 5 < mixed["within-class variability"].value
    assert apart["silhouette"].value > 0.8 > 0 > mixed["silhouette"].value
    assert apart["nearest class mean"].value == 100
    assert mixed["nearest class mean"].low <= 20 + 5


def test_the_scatters_are_those_of_their_definitions() -> None:
    x, classes = blobs(0.4)
    within = np.mean([np.cov(x[classes.values == c].T.double(), bias=True) for c in range(5)], axis=0)
    means = torch.stack([x[torch.from_numpy(classes.values == c)].mean(dim=0) for c in range(5)]).double()
    between = np.cov(means.T, bias=True)
    found = numbers(x, classes)
    assert found["scatter ratio"].value == pytest.approx(np.trace(between) / np.trace(within), rel=1e-4)
    nc1 = np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / 5
    assert found["within-class variability"].value == pytest.approx(nc1, rel=1e-3)


def test_a_row_is_not_held_against_itself() -> None:
    x, classes = torch.eye(8), Factor(np.arange(8) % 2, ("a", "b"))
    assert numbers(x, classes)["nearest class mean"].value == 0  # with itself in the mean it would be 100


def test_a_row_is_not_held_against_its_group() -> None:
    x = torch.eye(8).repeat_interleave(2, dim=0)  # twins
    classes, groups = Factor(np.arange(16) // 2 % 2, ("a", "b")), np.arange(16) // 2
    assert numbers(x, classes)["nearest class mean"].value == 100
    assert numbers(x, classes, groups)["nearest class mean"].value == 0


def test_classes_of_one_row_and_rows_of_none_count_nowhere() -> None:
    x, classes = blobs(0.05)
    values = classes.values.copy()
    values[:3] = [-1, 5, -1]
    found = numbers(x, Factor(values, (*classes.names, "alone")))
    assert found["nearest class mean"].n == 197
    assert found["scatter ratio"].n == 198


def test_the_silhouette_by_means_is_near_that_of_all_rows() -> None:
    x, classes = blobs(0.05)
    by_rows = silhouette_samples(x.numpy(), classes.values).mean()
    assert numbers(x, classes)["silhouette"].value == pytest.approx(by_rows, abs=0.1)


def test_purity_is_whole_where_classes_lie_apart_however_small_they_are() -> None:
    x, classes = blobs(0.05, per_class=4)
    found = neighbour_purity(x, classes, k=10)
    assert found.metric("purity").value == 100
    assert found.metric("purity").chance == pytest.approx(100 * 3 / 19)


def test_purity_of_mixed_labels_is_at_chance() -> None:
    x, classes = blobs(0.5, per_class=200)
    mixed = Factor(np.random.default_rng(1).permutation(classes.values), classes.names)
    found = neighbour_purity(x, mixed).metric("purity")
    assert found.value == pytest.approx(found.chance, abs=2)
    assert found.high < 25


def test_the_class_that_mixes_most_comes_first_and_with_which_it_mixes() -> None:
    x, classes = blobs(0.05)
    values = classes.values.copy()
    values[(values == 3) & (np.arange(200) < 100)] = 4  # half of class 3 is called class 4
    found = neighbour_purity(x, Factor(values, classes.names))
    assert found.worst(2) == [3, 4]
    assert found.mixes_with(3)[0] == "class 4"
    assert found.mixes_with(0) is None


@pytest.mark.parametrize("size", [2, 100])
def test_neighbours_are_not_of_the_own_group(size: int) -> None:
    x = F.normalize(torch.randn(300, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    groups = np.arange(300) // size
    classes = Factor(groups % 2, ("a", "b"))  # all of a group have one class
    found = neighbour_purity(x, classes, groups)
    expected = [((groups % 2 == g % 2) & (groups != g)).sum() / (groups != g).sum() for g in groups]
    assert found.chance == pytest.approx(expected)
    assert found.metric("purity").value == pytest.approx(found.metric("purity").chance, abs=5)


def test_many_rows_are_drawn() -> None:
    x = torch.eye(4)[torch.arange(ROWS + 100) % 4]
    found = neighbour_purity(x, Factor(np.arange(len(x)) % 4, tuple("abcd")), k=2)
    assert found.metric("purity").n == ROWS
