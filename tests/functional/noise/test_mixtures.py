"""Clean from noisy by a mixture of losses, and the number of classes by splits and merges."""

from __future__ import annotations

import math
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
    ClusterStatistics,
    GaussianMixture1d,
    NIWPrior,
    gaussian_mixture_1d,
    gmm_clean_probability,
    log_hastings_merge,
    log_hastings_split,
    monotone_log_odds,
    split_clean,
    split_merge_step,
)
from accord.functional.clusters.k_means import semi_supervised_kmeans

Golden = Callable[[str], dict[str, Tensor]]
NONE = torch.zeros(0, dtype=torch.long)


def draw(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def same(got: Tensor, want: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(got.double(), want.double(), rtol=tolerance, atol=tolerance)


def losses(seed: int = 0, clean: int = 300, noisy: int = 200) -> tuple[Tensor, Tensor]:
    """Losses of clean and noisy samples that overlap, in random order; and which are clean."""
    generator = torch.Generator().manual_seed(seed)
    value = torch.cat([0.5 + 0.2 * draw(generator, clean), 2.0 + 0.5 * draw(generator, noisy)])
    order = torch.randperm(len(value), generator=generator)
    return value[order], order < clean


# -- the golden values


def test_the_clean_probability_is_the_golden_one(golden: Golden) -> None:
    given = golden("pc2")
    prob = gmm_clean_probability(given["gmm_split.in.loss"])
    same(prob, given["gmm_split.out.prob"], 1e-9)
    assert torch.equal(split_clean(prob), given["gmm_split.out.pred"])


def test_prior_and_evidence_are_the_golden_ones(golden: Golden) -> None:
    given = {name.removeprefix("niw."): value for name, value in golden("gpc_gcd").items()}
    features, centres = given["in.features"], given["in.centres"]
    prior = NIWPrior.from_features(features, nu0=8)
    same(prior.m0, given["out.m0"], 1e-6)
    for i, (start, end) in enumerate(zip(given["in.set_start"], given["in.set_end"], strict=True)):
        x = features[start:end]
        same(prior.log_marginal(x, centres[i]), given["out.log_ml"][i], 1e-6)
        same(prior.posterior_mean(x, centres[i]), given["out.post_mu"][i], 1e-6)
        same(prior.posterior_cov(x, centres[i]), given["out.post_cov"][i], 1e-6)


# -- one-dimensional mixtures


def density(value: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return (-((value - mean) ** 2) / (2 * variance)).exp() / (2 * math.pi * variance).sqrt()


def test_the_fit_is_a_stationary_point_of_the_likelihood() -> None:
    x, _ = losses()
    weights, means, variances = gaussian_mixture_1d(x, 2, n_iter=2000, tol=1e-14, reg=1e-12)
    parameters = [weights.log(), means, variances.log()]
    leaves = [each.clone().requires_grad_() for each in parameters]
    mixed = sum(leaves[0].softmax(0)[k] * density(x, leaves[1][k], leaves[2][k].exp()) for k in (0, 1))
    for gradient in torch.autograd.grad(mixed.log().mean(), leaves):
        same(gradient, torch.zeros(2), 1e-6)


def test_the_posterior_follows_bayes() -> None:
    x, _ = losses()
    mixture = gaussian_mixture_1d(x, 3)
    joint = torch.stack(
        [w * density(x, m, v) for w, m, v in zip(mixture.weights, mixture.means, mixture.variances, strict=True)], dim=1
    )
    same(mixture.posterior(x), joint / joint.sum(dim=1, keepdim=True))
    same(mixture.log_joint(x).exp(), joint)


def test_every_round_raises_the_likelihood() -> None:
    x, _ = losses()
    values = [
        gaussian_mixture_1d(x, 3, n_iter=n, tol=0.0, reg=1e-9).log_joint(x).logsumexp(dim=1).mean()
        for n in (1, 2, 5, 20)
    ]
    assert values == sorted(values)


def test_clean_samples_are_found_and_the_scale_of_the_losses_does_not_matter() -> None:
    value, clean = losses()
    prob = gmm_clean_probability(value)
    assert (split_clean(prob) == clean).float().mean() > 0.97
    same(gmm_clean_probability(1e4 * value - 3), prob, 1e-6)
    order = torch.randperm(len(value), generator=torch.Generator().manual_seed(1))
    same(
        gmm_clean_probability(value[order], n_iter=500, tol=1e-12),
        gmm_clean_probability(value, n_iter=500, tol=1e-12)[order],
        1e-5,
    )


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.floats(0.1, 3), st.floats(0.1, 3))
def test_the_monotone_probability_never_rises_with_the_loss(seed: int, low: float, high: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    value = torch.cat([low * draw(generator, 60), 2 + high * draw(generator, 40)]).sort().values
    plain, monotone = gmm_clean_probability(value), gmm_clean_probability(value, monotone=True)
    assert (monotone.diff() <= 1e-12).all()
    kept = monotone == plain
    assert kept.any()  # only one tail is changed
    assert kept.int().diff().abs().sum() <= 1


def test_a_wide_clean_component_would_call_the_largest_losses_clean() -> None:
    generator = torch.Generator().manual_seed(0)
    value = torch.cat([draw(generator, 300), 3 + 0.1 * draw(generator, 200), torch.tensor([6.0]).double()])
    assert gmm_clean_probability(value)[-1] > 0.5
    assert gmm_clean_probability(value, monotone=True)[-1] < 0.1


@pytest.mark.parametrize("value", [torch.zeros(9), torch.full((9,), 1e4), torch.tensor([1.0, 2.0]), torch.ones(2)])
def test_equal_and_few_losses_give_finite_probabilities(value: Tensor) -> None:
    for monotone in (False, True):
        prob = gmm_clean_probability(value, monotone=monotone)
        assert prob.dtype == torch.float32
        assert prob.isfinite().all()
        assert split_clean(prob).logical_not().any()


def test_when_all_are_clean_the_lowest_percent_is_not() -> None:
    prob = torch.linspace(0.6, 1.0, 250)
    assert split_clean(prob).sum() == 250 - 3  # the third smallest is the threshold
    assert split_clean(prob, th=0.9).sum() == (prob > 0.9).sum()
    assert split_clean(prob[:0]).shape == (0,)


# -- evidence


def evidence(x: Tensor, mu: Tensor, prior: NIWPrior) -> float:
    """The formula, with a product of gamma functions."""
    n, d = x.shape

    def log_gamma(a: float) -> float:
        return d * (d - 1) / 4 * math.log(math.pi) + sum(math.lgamma(a - i / 2) for i in range(d))

    psi = prior.psi0.clone()
    for row in x:
        psi += torch.outer(row - mu, row - mu)
    psi += prior.kappa0 * n / (prior.kappa0 + n) * torch.outer(mu - prior.m0, mu - prior.m0)
    nu = prior.nu0 + n
    value = -n * d / 2 * math.log(math.pi) + log_gamma(nu / 2) - log_gamma(prior.nu0 / 2)
    value += prior.nu0 / 2 * math.log(prior.psi0.det()) - nu / 2 * math.log(psi.det())
    return value + d / 2 * math.log(prior.kappa0 / (prior.kappa0 + n))


def some_prior(dim: int, generator: torch.Generator) -> NIWPrior:
    root = draw(generator, dim, dim)
    return NIWPrior(draw(generator, dim), 0.3, dim + 1.5, root @ root.T + torch.eye(dim))


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(0, 10**6))
def test_the_evidence_is_its_formula_also_from_statistics_of_parts(dim: int, rows: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    prior, x = some_prior(dim, generator), draw(generator, rows, dim)
    mu = draw(generator, dim)
    assert prior.log_marginal(x, mu).item() == pytest.approx(evidence(x, mu, prior), rel=1e-9, abs=1e-9)
    cut = rows // 2
    union = ClusterStatistics.of(x[:cut]).union(ClusterStatistics.of(x[cut:]))
    for method in (prior.log_marginal, prior.posterior_mean, prior.posterior_cov):
        same(method(union, mu), method(x, mu), 1e-9)
        same(method(union), method(x, x.mean(dim=0)), 1e-9)


def test_the_evidence_follows_the_chain_rule() -> None:
    """The evidence of one point after another, each under the posterior of those before, is that of all."""
    generator = torch.Generator().manual_seed(0)
    prior, x = some_prior(2, generator), draw(generator, 5, 2)
    total, now = 0.0, prior
    for row in x:
        total += now.log_marginal(row[None]).item()
        psi = now.psi0 + now.kappa0 / (now.kappa0 + 1) * torch.outer(row - now.m0, row - now.m0)
        mean = (now.kappa0 * now.m0 + row) / (now.kappa0 + 1)
        now = NIWPrior(mean, now.kappa0 + 1, now.nu0 + 1, psi)
    assert prior.log_marginal(x).item() == pytest.approx(total)


def test_no_members_are_certain_and_many_dimensions_stay_finite() -> None:
    prior = some_prior(3, torch.Generator().manual_seed(0))
    assert prior.log_marginal(torch.zeros(0, 3)).item() == pytest.approx(0)
    x = F.normalize(torch.randn(40, 768, generator=torch.Generator().manual_seed(0)), dim=1)
    assert NIWPrior.from_features(x).log_marginal(x).isfinite()


# -- splits and merges


def test_hastings_ratios_are_their_formula_and_opposites() -> None:
    want = math.log(2) + math.lgamma(4) + 1.5 + math.lgamma(7) + 2.5 - math.lgamma(11) - 3.0
    assert log_hastings_split(4, 7, 1.5, 2.5, 3.0, alpha=2.0) == pytest.approx(want)
    assert log_hastings_merge(4, 7, 1.5, 2.5, 3.0, alpha=2.0) == pytest.approx(-want)


def groups(places: list[float], each: int = 30, dim: int = 3, width: float = 0.05) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.cat([place + width * draw(generator, each, dim) for place in places])


def step(x_u: Tensor, x_l: Tensor, y_l: Tensor, centres: Tensor, p_accept: Any = "greedy", **options: Any) -> Any:
    prior = NIWPrior.from_features(torch.cat([x_l, x_u]))
    return split_merge_step(x_u, x_l, y_l, centres, prior, torch.Generator().manual_seed(0), p_accept, **options)


def test_a_cluster_of_two_groups_is_split_and_two_of_one_group_are_merged() -> None:
    x = groups([0.0, 1.0, 5.0])
    first, last = x[60:].chunk(2)
    centres = torch.stack([x[:60].mean(dim=0), first.mean(dim=0), last.mean(dim=0)])
    centres, assign, info = step(x, x[:0], NONE, centres)
    assert info.split == [0]
    assert info.merged == [(1, 2)]
    assert len(centres) == 3
    assert torch.equal(assign[:, None] == assign, (torch.arange(90) // 30)[:, None] == torch.arange(90) // 30)
    same(centres[2], x[60:].mean(dim=0), 1e-9)  # the mean of all members of the pair


def test_a_cluster_takes_part_in_at_most_one_move_and_moved_centres_are_gone() -> None:
    x = groups([0.0] * 4)
    centres = torch.stack([part.mean(dim=0) for part in x.chunk(4)])
    new, _, info = step(x, x[:0], NONE, centres)
    moved = [k for pair in info.merged for k in pair] + info.split
    assert len(moved) == len(set(moved))
    assert len(info.merged) >= 1
    assert len(new) == 4 - len(info.merged) + len(info.split)
    assert not any((new == centres[k]).all(dim=1).any() for k in moved)


def test_clusters_with_labels_are_never_moved_and_labels_are_kept() -> None:
    x = groups([0.0, 1.0, 5.0])
    x_l, y_l = torch.cat([x[:5], x[30:35]]), torch.full((10,), 3)  # one class of two groups
    x_u = torch.cat([x[5:30], x[35:]])
    centres = torch.stack([x[:60].mean(dim=0), x[60:].mean(dim=0)])
    new, assign, info = step(x_u, x_l, y_l, centres)
    assert (info.split, info.merged, info.log_split.keys()) == ([], [], {1})
    assert torch.equal(new, centres)
    assert not assign[:10].any()


def test_novel_clusters_without_members_are_dropped_and_small_ones_stay() -> None:
    x = groups([0.0, 5.0], each=5)
    centres = torch.stack([x.mean(dim=0), torch.full((3,), 99.0)])
    new, _, info = step(x, x[:0], NONE, centres)
    assert (info.split, info.dropped, len(new)) == ([], [1], 1)  # five and five are too few
    assert step(x, x[:0], NONE, centres, min_size=4)[2].split == [0]


def test_acceptance_is_by_chance_as_told() -> None:
    x = groups([0.0, 20.0])
    centres = torch.stack([part.mean(dim=0) for part in x.chunk(2)])
    for p_accept, moves in (("greedy", 0), ("mh", 0), (0.0, 0), (1.0, 2)):
        _, _, info = step(x, x[:0], NONE, centres, p_accept)
        assert len(info.split) + 2 * len(info.merged) == moves, p_accept
    assert all(ratio < -5 for ratio in (*step(x, x[:0], NONE, centres)[2].log_split.values(),))


def digits() -> tuple[Tensor, Tensor, Tensor]:
    """Unit-norm digits in 16 dimensions: unlabelled, labelled (half of the digits 0 to 4), and the labels."""
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = (torch.as_tensor(each) for each in datasets.load_digits(return_X_y=True))
    x = x.float() - x.float().mean(dim=0)
    x = F.normalize(x @ torch.linalg.eigh(x.T @ x).eigenvectors[:, -16:], dim=1)
    known = (torch.rand(len(y), generator=torch.Generator().manual_seed(0)) < 0.5) & (y < 5)
    return x[~known], x[known], y[known]


def test_the_number_of_digits_is_approached_from_too_many_clusters() -> None:
    x_u, x_l, y_l = digits()
    prior = NIWPrior.from_features(torch.cat([x_l, x_u]))
    found = {}
    for start in (20, 30):
        rng, k = torch.Generator().manual_seed(0), start
        for _ in range(12):
            centres, _, _ = semi_supervised_kmeans(x_u, x_l, y_l, k, n_init=2)
            centres, _, info = split_merge_step(x_u, x_l, y_l, centres, prior, rng, "greedy")
            k = len(centres)
            if not (info.split or info.merged or info.dropped):
                break
        found[start] = k
    assert all(abs(k - 10) <= 4 for k in found.values()), found
    assert abs(found[20] - found[30]) <= 3, found


# -- messages

EYE = torch.eye(2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gmm_clean_probability(EYE), ShapeError, "values has shape"),
        (lambda: gmm_clean_probability(torch.ones(1)), ValueError, "number of values = 1"),
        (
            lambda: gmm_clean_probability(torch.tensor([1.0, torch.nan])),
            ValueError,
            "values has 1 rows with NaN or infinity",
        ),
        (lambda: gaussian_mixture_1d(torch.ones(2), 3), ValueError, "n_components = 3"),
        (lambda: gaussian_mixture_1d(torch.ones(2), 1, n_iter=0), ValueError, "n_iter = 0"),
        (lambda: gaussian_mixture_1d(torch.ones(2), 1, reg=0.0), ValueError, "reg = 0.0"),
        (lambda: split_clean(EYE), ShapeError, "prob has shape"),
        (lambda: split_clean(torch.ones(2), th=1.5), ValueError, "th = 1.5"),
        (lambda: NIWPrior(EYE, 1.0, 3, EYE), ShapeError, "m0 has shape"),
        (lambda: NIWPrior(EYE[0], 1.0, 3, torch.eye(3)), ShapeError, "psi0 has shape"),
        (lambda: NIWPrior(EYE[0], 0.0, 3, EYE), ValueError, "kappa0 = 0.0"),
        (lambda: NIWPrior(EYE[0], 1.0, 1.0, EYE), ValueError, "nu0 = 1.0: expected a finite number > D - 1 = 1"),
        (lambda: NIWPrior(EYE[0], 1.0, 3, -EYE), ValueError, "psi0 is not positive definite"),
        (lambda: NIWPrior(EYE[0], 1.0, 3, EYE).log_marginal(torch.eye(3)), ShapeError, r"expected \(2,\)"),
        (lambda: log_hastings_split(0, 3, 0.0, 0.0, 0.0), ValueError, "n1 = 0"),
        (lambda: log_hastings_merge(2, 3, 0.0, 0.0, 0.0, alpha=0.0), ValueError, "alpha = 0.0"),
        (lambda: step(EYE, EYE[:0], NONE, EYE, "often"), ValueError, "p_accept = 'often'"),
        (lambda: step(EYE, EYE[:0], NONE, EYE, 1.5), ValueError, "p_accept = 1.5"),
        (lambda: step(EYE, EYE, torch.arange(2), EYE[:1]), ValueError, "number of centres = 1"),
    ],
)
def test_wrong_input_is_named(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("variances", [(1.0, 4.0), (4.0, 1.0), (2.0, 2.0)])
def test_monotone_log_odds_never_rise_and_are_the_posterior_between_the_means(variances):
    mixture = GaussianMixture1d(torch.tensor([0.3, 0.7]), torch.tensor([-1.0, 3.0]), torch.tensor(variances))
    value = torch.linspace(-30, 30, 301)
    odds = monotone_log_odds(value, mixture, clean=0)
    assert (odds.diff() <= 1e-9).all()
    between = (value >= -1) & (value <= 3)
    same(odds[between].sigmoid(), mixture.posterior(value[between])[:, 0], 1e-9)
    swapped = GaussianMixture1d(*(each.flip(0) for each in mixture))
    same(monotone_log_odds(value, swapped, clean=1), odds, 1e-9)
