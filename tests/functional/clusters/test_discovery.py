"""Classes found among rows of which some have labels: the number, what stays, what is said of the search."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import (
    ClusterStatistics,
    NIWPrior,
    Tried,
    discover_classes,
    halves,
    kmeans,
    semi_supervised_kmeans,
    split_merge_step,
)
from accord.functional.clusters.discovery import DEGREES, PAPER, SAMPLE, _likeliest_prior


def groups(count: int, size: int, *, dim: int = 24, noise: float = 0.5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit-norm rows around random directions, and the direction of each."""
    generator = torch.Generator().manual_seed(seed)
    directions = F.normalize(torch.randn(count, dim, generator=generator), dim=1)
    truth = torch.arange(count).repeat_interleave(size)
    noisy = directions[truth] + noise * torch.randn(count * size, dim, generator=generator) / dim**0.5
    return F.normalize(noisy, dim=1), truth


def half_of(truth: Tensor, old: int) -> Tensor:
    """Labels of every second row of the first classes."""
    return truth.where((truth < old) & (torch.arange(len(truth)) % 2 == 0), -1)


def same_partition(one: Tensor, two: Tensor) -> bool:
    return bool(((one[:, None] == one) == (two[:, None] == two)).all())


@pytest.mark.parametrize("start", [None, 8, 12, 20])
def test_the_number_of_classes_is_found_from_several_starts(start: int | None) -> None:
    x, truth = groups(8, 30)
    found = discover_classes(x, half_of(truth, 3), start=start, dim=8, restarts=3)
    assert (found.classes, found.known) == (8, 3)
    assert same_partition(found.assigned, truth)
    assert found.converged
    assert found.tried[0].start == (6 if start is None else start)
    assert found.sizes.tolist() == torch.bincount(found.assigned).tolist()


def test_labelled_rows_keep_their_class_wherever_they_lie() -> None:
    x, truth = groups(4, 30)
    labels = half_of(truth, 2)
    labels[90] = 0  # a row of another class under a wrong label
    found = discover_classes(x, labels.where(labels < 0, 10 * labels + 3), dim=8, restarts=2)
    assert found.names.tolist() == [3, 13]
    there = labels >= 0
    assert torch.equal(found.assigned[there], labels[there])


def test_many_small_groups_are_found_by_doubling_the_start() -> None:
    x, truth = groups(40, 8, dim=48, noise=0.8)
    labels = half_of(truth, 4)
    stuck = discover_classes(x, labels, start=5, dim=24, restarts=2)
    found = discover_classes(x, labels, dim=24, restarts=2)
    assert found.classes > stuck.classes
    assert [each.start for each in found.tried[:2]] == [8, 16]
    assert found.tried == tuple(Tried(*each) for each in found.tried)
    assert found.unsplittable > 0  # which says that groups of eight rows are below what a split may leave


def test_other_rows_are_placed_as_those_that_were_clustered() -> None:
    x, truth = groups(5, 30)
    for dim in (6, None):
        found = discover_classes(x, half_of(truth, 2), dim=dim, restarts=2)
        free = half_of(truth, 2) < 0
        assert torch.equal(found.place(3 * x)[free], found.assigned[free])  # whatever their norm
    with pytest.raises(ShapeError, match="features"):
        found.place(x[:, 1:])


def test_without_labels_and_with_nothing_but_labels_there_is_an_answer() -> None:
    x, truth = groups(4, 30)
    alone = discover_classes(x, torch.full((120,), -1), dim=8, restarts=2)
    assert (alone.known, alone.classes, alone.prior.psi0[0, 0], alone.prior.nu0) == (0, 4, PAPER, 9)
    named = discover_classes(x, truth, dim=8)
    assert (named.known, named.classes) == (4, 4)
    assert torch.equal(named.assigned, truth)


def test_the_same_seed_finds_the_same_and_chance_moves_follow_it() -> None:
    x, truth = groups(6, 20, noise=1.2)
    how = {"dim": 8, "restarts": 2, "acceptance": "mh", "start": 10}
    one, two = (discover_classes(x, half_of(truth, 2), **how, seed=3) for _ in range(2))
    assert torch.equal(one.assigned, two.assigned)
    assert one.history == two.history


def test_many_rows_start_on_some_and_end_on_all() -> None:
    x, truth = groups(3, SAMPLE // 2, dim=6, noise=0.2)
    found = discover_classes(x, half_of(truth, 1), start=3, dim=4, restarts=1, sweeps=1)
    assert same_partition(found.assigned[::97], truth[::97])
    torch.testing.assert_close(
        found.centres[0], ((x - found.principal[0]) @ found.principal[1])[truth == 0].mean(dim=0)
    )


def wishart_classes(freedom: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Twelve classes of twenty rows whose covariances are drawn: the more freedom, the more alike."""
    generator = torch.Generator().manual_seed(0)
    shapes = torch.eye(4) + torch.randn(12, 4, 4, generator=generator) / freedom
    x = torch.einsum("kij,knj->kni", shapes, torch.randn(12, 20, 4, generator=generator)).flatten(0, 1)
    return x, torch.arange(12).repeat_interleave(20)


def likelihood(prior: NIWPrior, x: torch.Tensor, y: torch.Tensor) -> float:
    return sum(float(prior.log_marginal(ClusterStatistics.of(x[y == k]))) for k in range(12))


def test_the_prior_is_the_likeliest_one_in_scale_and_degrees_of_freedom() -> None:
    x, y = wishart_classes(freedom=8)
    best = _likeliest_prior(x, y, 12, x.mean(dim=0))
    others = [NIWPrior(best.m0, best.kappa0, best.nu0, factor * best.psi0) for factor in (0.9, 1.1)]
    place = DEGREES.index(best.nu0 - 5)
    assert 1 < place < len(DEGREES) - 1
    for extra in (DEGREES[place - 1], DEGREES[place + 1]):  # with the same expected covariance
        scale = extra / (best.nu0 - 5)
        others.append(NIWPrior(best.m0, best.kappa0, 5 + extra, scale * best.psi0))
    assert likelihood(best, x, y) > max(likelihood(other, x, y) for other in others)


def test_classes_that_scatter_alike_leave_the_prior_less_freedom() -> None:
    x, y = wishart_classes(freedom=2)
    unlike = _likeliest_prior(x, y, 12, x.mean(dim=0)).nu0
    x, y = wishart_classes(freedom=100)
    assert _likeliest_prior(x, y, 12, x.mean(dim=0)).nu0 > 4 * unlike


def test_classes_of_one_row_leave_the_published_prior() -> None:
    x, y = wishart_classes(freedom=3)
    prior = _likeliest_prior(x[::20], y[::20], 12, x.mean(dim=0))
    assert (prior.psi0[0, 0], prior.nu0) == (PAPER, 5)


def test_no_cluster_is_in_two_moves_and_none_with_labels_in_any() -> None:
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        x_u, x_l = torch.randn(200, 3, generator=generator), torch.randn(20, 3, generator=generator)
        y_l = torch.arange(20) % 2
        centres = semi_supervised_kmeans(x_u, x_l, y_l, 12, 1)[0]
        prior = NIWPrior.from_features(x_u)
        new, assign, info = split_merge_step(x_u, x_l, y_l, centres, prior, generator, 0.9)
        moved = [*info.split, *sum(info.merged, ()), *info.dropped]
        assert len(set(moved)) == len(moved)
        assert min(moved, default=2) >= 2
        assert len(new) == 12 + len(info.split) - len(info.merged) - len(info.dropped)
        assert torch.equal(assign[:20], y_l)


def test_halves_are_those_of_two_means_in_each_cluster() -> None:
    x, truth = groups(6, 20)
    assign = truth // 2
    side = halves(x, assign, 3)
    for cluster in range(3):
        own = assign == cluster
        assert same_partition(side[own].long(), kmeans(x[own], 2, n_redo=3)[0])
    assert halves(x[:1], assign[:1], 5).shape == (1,)  # clusters without rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": 2}, "start"),
        ({"sweeps": 0}, "sweeps"),
        ({"dim": 0}, "dim"),
        ({"acceptance": "never"}, "acceptance"),
        ({"spread": 0.0}, "spread"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    x, truth = groups(4, 6)
    with pytest.raises(ValueError, match=message):
        discover_classes(x, half_of(truth, 3), **change)
    with pytest.raises(ValueError, match="label"):
        discover_classes(x, truth - 2)
