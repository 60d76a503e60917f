"""k-means in its forms, class means, back-translation and concentration."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import (
    assign_to_nearest,
    back_translate,
    class_means,
    concentration,
    kmeans,
    kmeans_plus_plus,
    mini_batch_kmeans,
    principal_components,
    prototype_density,
    semi_supervised_kmeans,
)
from accord.functional.clusters import blocks
from functional.tester import Case, LossTester, every

Golden = Callable[[str], dict[str, Tensor]]


def draw(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def blobs(k: int, each: int, dim: int = 8, seed: int = 0, width: float = 0.1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centre = 3 * draw(generator, k, dim)
    labels = torch.arange(k).repeat_interleave(each)
    return centre[labels] + width * draw(generator, k * each, dim), labels


def same(got: Tensor, want: Tensor, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(got.double(), want.double(), rtol=tolerance, atol=tolerance)


def same_partition(got: Tensor, want: Tensor) -> bool:
    return torch.equal(got[:, None] == got, want[:, None] == want)


def mean_reference(features: Tensor, labels: Tensor, k: int) -> Tensor:
    rows = [features[labels == c] for c in range(k)]
    means = torch.stack([row.mean(dim=0) if len(row) else 0 * features.sum(dim=0) for row in rows])
    return torch.cat([means, features.new_tensor([[len(row)] for row in rows])], dim=1)


def labelled(rows: int, generator: torch.Generator) -> dict[str, Any]:
    """Class 3 is empty and one row has no class."""
    labels = torch.arange(rows) % 3
    labels[-1] = -1
    return {"features": draw(generator, rows, 4), "labels": labels, "k": 4}


def joined(function: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., Tensor]:
    def call(**inputs: Any) -> Tensor:
        means, counts = function(**inputs)
        return torch.cat([means, counts[:, None]], dim=1)

    return call


CASES = [
    Case("class_means", joined(class_means), mean_reference, labelled, ("features",)),
    Case("back_translate", joined(back_translate), mean_reference, labelled, ("features",)),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


# -- the golden values


def test_back_translation_gives_the_golden_prototypes(golden: Golden) -> None:
    given = golden("protoclip")
    for student, teacher in (("img", "txt"), ("txt", "img")):
        labels = given[f"{teacher}_labels"]
        prototypes, sizes = back_translate(given[f"{student}_feat"], labels, 6)
        same(prototypes, given[f"pbt_{student}"])
        assert torch.equal(sizes.long(), labels.bincount(minlength=6))


def test_semi_supervised_kmeans_finds_the_golden_clusters(golden: Golden) -> None:
    given = {name.removeprefix("semi_sup_kmeans."): value for name, value in golden("gpc_gcd").items()}
    centres, labels, inertia = semi_supervised_kmeans(
        given["in.unlabelled"], given["in.labelled"], given["in.labelled_targets"], 3
    )
    assert same_partition(labels, given["out.labels"])
    same(centres, given["out.centres"])  # two classes and one novel cluster: no order to choose
    same(inertia, given["out.inertia"])


@pytest.mark.parametrize("i", [0, 1])
def test_concentration_is_the_golden_one(golden: Golden, i: int) -> None:
    given = golden("meow")
    centroids = given[f"centroid_raw{i}"]
    assignment, _ = assign_to_nearest(given["z"], centroids, inner_product=True)
    assert torch.equal(assignment, given[f"assign{i}"])
    same(concentration(given["z"], assignment, centroids, 0.4), given[f"density{i}"])


def test_by_inner_product_rows_belong_to_the_largest_product_and_centroids_are_means_of_their_members() -> None:
    z = F.normalize(torch.eye(6)[0] + draw(torch.Generator().manual_seed(0), 200, 6), dim=1)
    labels, centroids, inertia = kmeans(z, 6, n_iter=100, n_redo=3, inner_product=True, start="random")
    products = z @ centroids.T
    assert torch.equal(labels, products.argmax(dim=1))
    same(centroids, class_means(z, labels, 6)[0])
    same(inertia, -products.amax(dim=1).sum())
    assert not torch.equal(labels, assign_to_nearest(z, centroids)[0])  # raw means: distances say something else


# -- nearest centroid


@pytest.mark.parametrize("block", [7, 1 << 20])
def test_the_nearest_centroid_is_that_of_all_distances(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", block)
    generator = torch.Generator().manual_seed(0)
    x, centroids = draw(generator, 50, 4), draw(generator, 6, 4)
    labels, distance = assign_to_nearest(x, centroids)
    want = torch.cdist(x, centroids).square().min(dim=1)
    assert torch.equal(labels, want.indices)
    same(distance, want.values, 1e-10)
    labels, product = assign_to_nearest(x, centroids, inner_product=True)
    assert torch.equal(labels, (x @ centroids.T).argmax(dim=1))
    same(product, (x @ centroids.T).amax(dim=1), 1e-10)


def test_a_large_common_offset_costs_no_digits() -> None:
    x = torch.tensor([[1e4, 0.0], [1e4 + 1, 0.0], [1e4 + 3, 0.0]])
    labels, distance = assign_to_nearest(x, x[[0, 2]])
    assert labels.tolist() == [0, 0, 1]
    same(distance, torch.tensor([0.0, 1.0, 0.0]))


def test_bfloat16_and_autocast_are_computed_in_float32() -> None:
    x, _ = blobs(3, 20)
    half = x.bfloat16()
    plain = kmeans(half, 3)
    with torch.autocast("cpu", torch.bfloat16):
        cast = kmeans(half, 3)
    for got, want in zip(cast, plain, strict=True):
        assert torch.equal(got, want)
    assert plain[1].dtype == torch.float32


# -- k-means


@pytest.mark.parametrize("start", ["k-means++", "random"])
@pytest.mark.parametrize("spherical", [False, True])
def test_kmeans_finds_separate_clusters(start: Any, spherical: bool) -> None:
    x, truth = blobs(5, 30)
    labels, centroids, inertia = kmeans(x.float(), 5, n_redo=8, spherical=spherical, start=start)
    assert same_partition(labels, truth)
    rows = F.normalize(x, dim=1) if spherical else x
    mean, _ = class_means(rows, labels, 5)
    want = F.normalize(mean, dim=1) if spherical else mean
    same(centroids, want, 1e-5)
    same(inertia, (rows - want[labels]).square().sum(), 1e-4)


def test_kmeans_of_few_points_finds_the_best_of_all_partitions() -> None:
    x = draw(torch.Generator().manual_seed(3), 7, 2)
    best = min(
        sum(float((x[where] - x[where].mean(dim=0)).square().sum()) for where in (labels == 0, labels == 1))
        for labels in (torch.tensor((0, *rest)) for rest in itertools.product((0, 1), repeat=6))
        if labels.any()
    )
    assert kmeans(x, 2, n_redo=20)[2].item() == pytest.approx(best)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 6), st.integers(0, 10**6))
def test_kmeans_is_at_a_fixed_point_and_follows_shift_and_scale(k: int, seed: int) -> None:
    x = draw(torch.Generator().manual_seed(seed), 40, 3)
    labels, centroids, inertia = kmeans(x, k, n_iter=200, seed=seed)
    assert torch.equal(labels, assign_to_nearest(x, centroids)[0])
    same(centroids, class_means(x, labels, k)[0], 1e-10)
    moved = kmeans(4 * x + 7, k, n_iter=200, seed=seed)
    assert torch.equal(moved[0], labels)
    same(moved[1], 4 * centroids + 7, 1e-8)
    same(moved[2], 16 * inertia, 1e-8)


def test_more_rounds_and_more_starts_never_raise_the_inertia() -> None:
    x = draw(torch.Generator().manual_seed(1), 300, 4)
    rounds = [kmeans(x, 12, n_iter=n, start="random")[2] for n in (1, 2, 5, 50)]
    starts = [kmeans(x, 12, n_redo=n)[2] for n in (1, 3, 9)]
    for values in (rounds, starts):
        assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(values))


def test_kmeans_is_reproducible_and_the_seed_matters() -> None:
    x = draw(torch.Generator().manual_seed(1), 300, 4)
    first, again, other = kmeans(x, 12, seed=4), kmeans(x, 12, seed=4), kmeans(x, 12, seed=5)
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_an_empty_cluster_starts_again_far_away() -> None:
    x, truth = blobs(3, 10)
    start = x[[0, 0, 10]]  # the second of the equal ones would stay empty for ever
    assert same_partition(kmeans(x, 3, start=start)[0], truth)


@pytest.mark.parametrize("spherical", [False, True])
def test_fewer_different_rows_than_clusters_are_no_trouble(spherical: bool) -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 1.0]]).repeat(6, 1)
    labels, centroids, inertia = kmeans(x, 5, spherical=spherical)
    assert centroids.isfinite().all()
    assert inertia.item() == pytest.approx(0, abs=1e-10)
    assert same_partition(labels, torch.arange(12) % 2)


def test_one_row_and_one_cluster_and_as_many_clusters_as_rows() -> None:
    x = draw(torch.Generator().manual_seed(0), 5, 3)
    same(kmeans(x, 1)[1], x.mean(dim=0, keepdim=True), 1e-12)
    same(kmeans(x[:1], 1)[1], x[:1], 1e-12)
    labels, _, inertia = kmeans(x, 5)
    assert len(labels.unique()) == 5
    assert inertia.item() == pytest.approx(0, abs=1e-20)


def test_a_given_start_is_gone_on_from() -> None:
    x = draw(torch.Generator().manual_seed(1), 300, 4)
    _, halfway, _ = kmeans(x, 8, n_iter=3)
    resumed, straight = kmeans(x, 8, n_iter=500, start=halfway), kmeans(x, 8, n_iter=503)
    same(resumed[1], straight[1], 1e-12)


def test_plus_plus_takes_a_row_of_every_cluster_and_none_twice() -> None:
    x, truth = blobs(6, 20, width=0.01)
    for seed in range(5):
        chosen = kmeans_plus_plus(x, 6, seed=seed)
        rows = (chosen[:, None] == x).all(dim=2).int().argmax(dim=1)
        assert truth[rows].unique().tolist() == list(range(6))
    assert kmeans_plus_plus(x, 0).shape == (0, 8)


def test_plus_plus_counts_the_centres_that_are_there() -> None:
    x, truth = blobs(4, 20, width=0.01)
    chosen = kmeans_plus_plus(x, 2, start=x[[0, 25]])
    assert truth[assign_to_nearest(chosen, x)[0]].sort().values.tolist() == [2, 3]


def test_mini_batches_find_separate_clusters() -> None:
    x, truth = blobs(4, 200)
    labels, centroids, inertia = mini_batch_kmeans(x, 4, batch_size=100, n_iter=50)
    assert same_partition(labels, truth)
    assert inertia <= 1.05 * kmeans(x, 4)[2]
    assert torch.equal(centroids, mini_batch_kmeans(x, 4, batch_size=100, n_iter=50)[1])


# -- semi-supervised


def test_labelled_rows_stay_in_the_cluster_of_their_class() -> None:
    x, truth = blobs(4, 30, width=1.0)
    known = torch.arange(120) % 30 < 10
    known &= truth < 2
    y = 10 - 3 * truth[known]  # classes 10 and 7: clusters 1 and 0
    centres, labels, inertia = semi_supervised_kmeans(x[~known], x[known], y, 4, seed=1)
    assert torch.equal(labels[: len(y)], (y == 10).long())
    rows = torch.cat([x[known], x[~known]])
    assert same_partition(labels, torch.cat([truth[known], truth[~known]]))
    same(centres, class_means(rows, labels, 4)[0], 1e-10)
    same(inertia, (rows - centres[labels]).square().sum(), 1e-10)


def test_without_novel_clusters_only_the_classes_remain_and_without_labels_it_is_kmeans() -> None:
    x, truth = blobs(3, 20)
    _, labels, _ = semi_supervised_kmeans(x[3:], x[:3], torch.arange(3), 3)
    assert labels[:3].tolist() == [0, 1, 2]
    none = torch.zeros(0, dtype=torch.long)
    _, labels, inertia = semi_supervised_kmeans(x, x[:0], none, 3)
    assert same_partition(labels, truth)
    same(inertia, kmeans(x, 3, n_redo=10)[2], 1e-10)
    centres, labels, _ = semi_supervised_kmeans(x[:0], x, truth, 3)
    assert torch.equal(labels, truth)
    same(centres, class_means(x, truth, 3)[0], 1e-12)


# -- concentration


def density_reference(x: Tensor, centres: Tensor, assign: Tensor, tau: float, smoothing: int, inner: bool) -> Tensor:
    phi = []
    for k, centre in enumerate(centres):
        rows = x[assign == k]
        if len(rows) > 1:
            spread = [(max(float(row @ centre), 0) ** 0.5 if inner else float((row - centre).norm())) for row in rows]
            phi.append(sum(spread) / len(rows) / float(torch.tensor(len(rows) + smoothing).double().log()))
        else:
            phi.append(None)
    largest = max(value for value in phi if value is not None)
    full = torch.tensor([largest if value is None else value for value in phi], dtype=torch.float64)
    ordered = full.sort().values
    low, high = (
        ordered[int(place)] + (place % 1) * (ordered[min(int(place) + 1, len(ordered) - 1)] - ordered[int(place)])
        for place in (0.1 * (len(ordered) - 1), 0.9 * (len(ordered) - 1))
    )
    full = full.clamp(low, high)
    return tau * full / full.mean()


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 12), st.booleans(), st.integers(0, 10**6))
def test_concentration_is_the_clipped_mean_spread_of_the_members(k: int, inner: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = F.normalize(draw(generator, 30, 4), dim=1)
    assign = torch.randint(-1, k, (30,), generator=generator)
    assign[:2] = 0  # one cluster has extent for sure
    centres, _ = class_means(x, assign, k)
    function, smoothing = (concentration, 5) if inner else (prototype_density, 10)
    arguments = (x, assign, centres) if inner else (x, centres, assign)
    phi = function(*arguments, 0.3)
    same(phi, density_reference(x, centres, assign, 0.3, smoothing, inner), 1e-8)
    assert phi.mean().item() == pytest.approx(0.3)


def test_density_does_not_depend_on_the_scale_of_the_features() -> None:
    x, truth = blobs(4, 10)
    centres, _ = class_means(x, truth, 4)
    same(prototype_density(9 * x, 9 * centres, truth, 0.2), prototype_density(x, centres, truth, 0.2), 1e-10)


def test_clusters_without_extent_get_temperatures_that_logits_can_be_divided_by() -> None:
    x = torch.ones(6, 3)
    for assign in (torch.zeros(6, dtype=torch.long), torch.arange(6)):
        same(prototype_density(x, torch.ones(6, 3), assign, 0.2), torch.full((6,), 0.2))
    opposite = concentration(F.normalize(x, dim=1), torch.zeros(6, dtype=torch.long), -torch.ones(1, 3), 0.2)
    same(opposite, torch.full((1,), 0.2))
    half = torch.cat([x, torch.randn(4, 3)])
    assign = torch.tensor([0] * 6 + [1] * 4)
    centres = class_means(half, assign, 2)[0].repeat(4, 1)  # seven of eight have no extent or no members
    phi = prototype_density(half, centres, assign, 0.2)
    assert (half @ centres.T / phi).isfinite().all()


def test_singletons_are_as_loose_as_the_loosest() -> None:
    x = torch.tensor([[0.0], [2.0], [10.0], [16.0], [50.0]])
    phi = prototype_density(x, torch.tensor([[1.0], [13.0], [50.0], [99.0]]), torch.tensor([0, 0, 1, 1, 2]), 1.0)
    assert phi[1] == phi[2] == phi[3]
    assert phi[0] < phi[1]


# -- messages

NAN = torch.tensor([[1.0, 2.0], [torch.nan, 0.0], [torch.inf, 0.0]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kmeans(NAN, 2), ValueError, "x has 2 rows with NaN or infinity, the first is 1: expected finite rows"),
        (lambda: mini_batch_kmeans(NAN, 2), ValueError, "x has 2 rows with NaN or infinity"),
        (lambda: kmeans_plus_plus(NAN, 2), ValueError, "x has 2 rows with NaN or infinity"),
        (
            lambda: semi_supervised_kmeans(torch.eye(2), NAN, torch.arange(3), 3),
            ValueError,
            "x_l has 2 rows with NaN or infinity",
        ),
        (lambda: kmeans(torch.zeros(3), 2), ShapeError, "x has shape"),
        (lambda: kmeans(torch.eye(3), 4), ValueError, r"k = 4: expected an integer in \[1, 3\]"),
        (lambda: kmeans(torch.eye(3), 2, n_iter=0), ValueError, "n_iter = 0"),
        (lambda: kmeans(torch.eye(3), 2, n_redo=0), ValueError, "n_redo = 0"),
        (lambda: kmeans(torch.eye(3), 2, start="best"), ValueError, "start = 'best'"),
        (lambda: kmeans(torch.eye(3), 2, start=torch.eye(3)), ShapeError, r"start .* expected \(2, 3\)"),
        (lambda: mini_batch_kmeans(torch.eye(3), 3, batch_size=2), ValueError, "batch_size = 2"),
        (lambda: kmeans_plus_plus(torch.eye(3), 4), ValueError, "k = 4"),
        (
            lambda: semi_supervised_kmeans(torch.eye(3), torch.eye(3), torch.arange(3), 2),
            ValueError,
            r"k = 2: expected an integer in \[3, 6\]",
        ),
        (lambda: semi_supervised_kmeans(torch.eye(3), torch.eye(3), torch.arange(2), 4), ShapeError, "y_l has shape"),
        (lambda: assign_to_nearest(torch.eye(3), torch.eye(2)), ShapeError, "centroids has shape"),
        (lambda: assign_to_nearest(torch.eye(3), torch.zeros(0, 3)), ValueError, "number of centroids = 0"),
        (lambda: class_means(torch.eye(3), torch.arange(2), 2), ShapeError, "labels has shape"),
        (lambda: class_means(torch.eye(3), torch.arange(3), -1), ValueError, "k = -1"),
        (lambda: prototype_density(torch.eye(3), torch.eye(3), torch.arange(3), 0.0), ValueError, "tau = 0.0"),
        (lambda: concentration(torch.eye(3), torch.arange(2), torch.eye(3), 0.1), ShapeError, "assign has shape"),
    ],
)
def test_wrong_input_is_named(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_principal_components_are_those_of_the_singular_value_decomposition() -> None:
    x = draw(torch.Generator().manual_seed(0), 30, 6) * torch.tensor([5.0, 1, 3, 0.1, 2, 4]) + 7
    left, values, _ = torch.linalg.svd(x - x.mean(dim=0), full_matrices=False)
    got, want = principal_components(x, 3), (left * values)[:, :3]
    same(got.abs(), want.abs(), 1e-8)  # the direction of an axis is free
    same(principal_components(x.float(), 3).abs(), want.abs(), 1e-4)


def test_all_principal_components_keep_the_distances() -> None:
    x = draw(torch.Generator().manual_seed(1), 9, 4)
    same(torch.cdist(principal_components(x, 4), principal_components(x, 4)), torch.cdist(x, x))


def test_no_more_principal_components_than_dimensions() -> None:
    with pytest.raises(ValueError, match="dim = 5"):
        principal_components(torch.zeros(3, 4), 5)


def test_semi_supervised_k_means_goes_on_from_given_centres() -> None:
    x_u, x_l = torch.tensor([[0.2], [4.0], [5.0], [9.0]]), torch.tensor([[0.0], [1.0]])
    y_l = torch.tensor([3, 3])
    centres, labels, _ = semi_supervised_kmeans(x_u, x_l, y_l, 3, start=torch.tensor([[0.5], [4.5], [8.0]]))
    assert labels.tolist() == [0, 0, 0, 1, 1, 2]
    torch.testing.assert_close(centres, torch.tensor([[0.4], [4.5], [9.0]]))
    with pytest.raises(ShapeError, match="start"):
        semi_supervised_kmeans(x_u, x_l, y_l, 3, start=torch.zeros(2, 1))
