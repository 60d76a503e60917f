"""Regularity terms and the gap between modalities: dense references, reference values, and what they promise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import hyp0f1
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import (
    GapClosingLoss,
    barlow_cross,
    cross_uniformity,
    cyclip_consistency,
    effective_rank,
    embedding_arithmetic,
    entropy,
    gap_closing_loss,
    gap_geometry,
    marginal_entropy,
    negative_cosine,
    procrustes,
    uniform_sphere_uniformity,
    uniformity,
    used_dimensions,
)
from accord.functional.measures import gap, regularity
from functional.tester import Case, LossTester, every
from two_processes import run_two_processes

DIM = 5


def draw(rows: int, generator: torch.Generator, dim: int = DIM) -> Tensor:
    return torch.randn(rows, dim, generator=generator, dtype=torch.float64)


def unit(rows: int, generator: torch.Generator, dim: int = DIM) -> Tensor:
    return F.normalize(draw(rows, generator, dim), dim=1)


def seeded(rows: int, dim: int = DIM, seed: int = 0) -> Tensor:
    return unit(rows, torch.Generator().manual_seed(seed), dim)


# -- references


def cross_reference(x: Tensor, y: Tensor, t: float = 2.0, exclude_pairs: bool = True) -> Tensor:
    kernels = [
        (-t * (x[i] - y[j]).square().sum()).exp()
        for i in range(len(x))
        for j in range(len(y))
        if i != j or not exclude_pairs
    ]
    return torch.stack(kernels).mean().log()


def barlow_reference(z1: Tensor, z2: Tensor, lam: float = 5e-3, scale: float = 0.025) -> Tensor:
    c = torch.einsum("ni,nj->ij", z1, z2) / len(z1)
    own = torch.eye(z1.shape[1], dtype=torch.bool)
    return scale * ((c[own] - 1).square().sum() + lam * c[~own].square().sum())


def cosine_reference(p: Tensor, v: Tensor) -> Tensor:
    cosines = [(a @ b.detach()) / (a.norm() * b.detach().norm()) for a, b in zip(p, v, strict=True)]
    return 2 - 2 * torch.stack(cosines).mean()


def cyclip_reference(x: Tensor, y: Tensor) -> Tensor:
    count, total = len(x), x.new_zeros(())
    for i in range(count):
        for j in range(count):
            total = total + (x[i] @ x[j] - y[i] @ y[j]) ** 2 + (x[i] @ y[j] - x[j] @ y[i]) ** 2
    return total / (4 * count)


def entropy_reference(logits: Tensor) -> Tensor:
    prob = logits.exp() / logits.exp().sum(dim=-1, keepdim=True)
    return -(prob * prob.log()).sum(dim=-1)


def marginal_reference(logits: Tensor) -> Tensor:
    prob = (logits.exp() / logits.exp().sum(dim=-1, keepdim=True)).mean(dim=0)
    return -(prob * prob.log()).sum()


def arithmetic_reference(image: Tensor, plus: Tensor, minus: Tensor) -> Tensor:
    return image + 0.5 * plus - 0.5 * minus


def gap_total(**inputs: Any) -> Tensor:
    return gap_closing_loss(**inputs)["total"]


def gap_reference(x: Tensor, y: Tensor, weights: tuple[float, ...], temperature: float, use_cross: bool) -> Tensor:
    x, y = x / x.norm(dim=1, keepdim=True), y / y.norm(dim=1, keepdim=True)
    logits = x @ y.T / temperature
    clip = -(logits.log_softmax(1).diagonal() + logits.log_softmax(0).diagonal()).mean() / 2
    within = (cross_reference(x, x) + cross_reference(y, y)) / 2
    terms = [clip, within, (x - y).square().sum(dim=1).mean(), cross_reference(x, y)]
    return sum((w * term for w, term in zip(weights, terms, strict=True)), x.new_zeros(()))


# -- inputs


def two(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"x": unit(rows, generator), "y": unit(rows, generator)}


def uneven(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"x": unit(rows, generator), "y": unit(rows + 3, generator), "t": 1.5, "exclude_pairs": False}


def standardised(dim: int) -> Any:
    def make(rows: int, generator: torch.Generator) -> dict[str, Any]:
        return {"z1": draw(rows, generator, dim), "z2": draw(rows, generator, dim), "lam": 0.1, "scale": 0.5}

    return make


def regression(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"p": draw(rows, generator), "v": draw(rows, generator)}


def predictions(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"logits": 2 * draw(rows, generator)}


def distributions(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"probs": draw(rows, generator).softmax(dim=1)}


def words(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {name: unit(rows, generator) for name in ("image", "plus", "minus")}


def modalities(rows: int, generator: torch.Generator) -> dict[str, Any]:
    made = {"x": draw(rows, generator), "y": draw(rows, generator)}
    return made | {"weights": (1.0, 0.5, 2.0, 0.25), "temperature": 0.1, "use_cross": True}


TILED: dict[str, Any] = {"vmap": False, "compiles": False}
HARSH_LOGITS = ({"logits": torch.tensor([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]])},)

CASES = [
    Case("cross_uniformity", cross_uniformity, cross_reference, two, ("x", "y"), fewest=2, **TILED),
    Case("cross_uniformity uneven", cross_uniformity, cross_reference, uneven, ("x", "y"), **TILED),
    Case("barlow_cross wide", barlow_cross, barlow_reference, standardised(9), ("z1", "z2")),
    Case("barlow_cross tall", barlow_cross, barlow_reference, standardised(3), ("z1", "z2")),
    Case("negative_cosine", negative_cosine, cosine_reference, regression, ("p",)),
    Case("cyclip_consistency", cyclip_consistency, cyclip_reference, two, ("x", "y")),
    Case("entropy", entropy, entropy_reference, predictions, ("logits",), extremes=HARSH_LOGITS),
    Case(
        "entropy of probs",
        lambda probs: entropy(probs=probs),
        lambda probs: -(probs * probs.log()).sum(dim=-1),
        distributions,
        ("probs",),
        extremes=({"probs": torch.eye(3)},),
    ),
    Case("marginal_entropy", marginal_entropy, marginal_reference, predictions, ("logits",), extremes=HARSH_LOGITS),
    Case(
        "embedding_arithmetic",
        lambda **inputs: embedding_arithmetic(**inputs, lam=0.5),
        arithmetic_reference,
        words,
        ("image", "plus", "minus"),
    ),
    Case(
        "gap_closing_loss",
        gap_total,
        gap_reference,
        modalities,
        ("x", "y"),
        fewest=2,
        extremes=({"temperature": 0.005},),
        **TILED,
    ),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


# -- reference values


def graded(loss: Tensor, *leaves: Tensor) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


def close(got: Any, want: Any, tolerance: float = 1e-5) -> None:
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(
            one.double(), other.double(), rtol=tolerance, atol=tolerance * float(other.abs().max())
        )


@pytest.mark.parametrize(("case", "cross"), [("clip", False), ("cuaxu", True)])
def test_gap_losses_equal_the_released_code(golden, case: str, cross: bool) -> None:
    given_ = golden("contrastive_gap")
    x, y = (given_[f"emb_{name}"].clone().requires_grad_() for name in ("image", "text"))
    loss = GapClosingLoss(use_uniformity=cross, use_alignment=cross, use_cross=cross)(x, y)["total"]
    wanted = [given_[f"loss_{case}"], given_[f"grad_image_{case}"], given_[f"grad_text_{case}"]]
    close(graded(loss, x, y), wanted, 2e-5)


def test_gap_numbers_equal_the_released_code(golden) -> None:
    given_ = golden("contrastive_gap")
    found = gap_geometry(given_["gap_image"], given_["gap_text"])
    names = ("centroid_distance", "centroid_cosine", "cross_uniformity")
    close([found[name] for name in names], [given_[name] for name in names])
    close([(found["uniformity_x"] + found["uniformity_y"]) / 2], [given_["uniformity_total"]])


def test_collapse_metrics_equal_the_released_code(golden) -> None:
    given_ = golden("multiview_infonce")
    close([effective_rank(given_["met_z"])], [given_["effective_rank"]])
    assert used_dimensions(given_["met_z"]) == given_["used_dimensions"]
    close([uniformity(given_["met_x"])], [given_["uniform_loss"]])
    close([regularity.alignment(given_["met_x"], given_["met_y"])], [given_["align_loss"]])


def test_barlow_cross_equals_the_released_code(golden) -> None:
    given_ = golden("improved_vlp_baselines")
    z1, z2 = (given_[f"bar_z{i}"].clone().requires_grad_() for i in (1, 2))
    close(graded(barlow_cross(z1, z2), z1, z2), [given_["bar_loss"], given_["bar_grad1"], given_["bar_grad2"]], 1e-10)


def test_negative_cosine_is_the_instance_regression_of_pixpro_plus_two(golden) -> None:
    given_ = golden("pixpro")
    close([negative_cosine(given_["ins_p"], given_["ins_z"]) - 2], [given_["ins_loss"]])


# -- properties


def test_cross_uniformity_with_pairs_is_the_mean_over_all_of_them() -> None:
    x, y = seeded(4), seeded(4, seed=1)
    torch.testing.assert_close(cross_uniformity(x, y, exclude_pairs=False), cross_reference(x, y, exclude_pairs=False))


def test_cross_uniformity_of_a_modality_with_itself_is_its_uniformity() -> None:
    x = seeded(6)
    torch.testing.assert_close(cross_uniformity(x, x), uniformity(x))


def test_uniformity_terms_have_finite_gradients_at_duplicates() -> None:
    x = torch.ones(4, 3).requires_grad_()
    assert torch.autograd.grad(cross_uniformity(x, x.detach()) + uniformity(x), x)[0].isfinite().all()


@pytest.mark.parametrize(("dim", "value"), [(8, -3.08), (32, -3.75), (64, -3.88), (128, -3.94), (512, -3.98)])
def test_the_ideal_uniformity_equals_the_published_values(dim: int, value: float) -> None:
    assert uniform_sphere_uniformity(dim) == pytest.approx(value, abs=0.005)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 2000), st.floats(0.01, 8))
def test_the_ideal_uniformity_is_the_confluent_limit_function(dim: int, t: float) -> None:
    assert uniform_sphere_uniformity(dim, t) == pytest.approx(math.log(hyp0f1(dim / 2, t * t)) - 2 * t, rel=1e-9)


def test_many_even_points_reach_the_ideal_and_a_simplex_goes_below() -> None:
    assert uniformity(seeded(3000, 8)).item() == pytest.approx(uniform_sphere_uniformity(8), abs=0.02)
    simplex = F.normalize(torch.eye(9).double() - 1 / 9, dim=1)
    assert uniformity(simplex).item() == pytest.approx(-4 * 9 / 8)
    assert uniformity(simplex) < uniform_sphere_uniformity(8)


def test_a_huge_sharpness_does_not_overflow() -> None:
    assert -2000 <= uniform_sphere_uniformity(16, 500.0) <= -10


def test_barlow_holds_no_matrix_of_features_when_rows_are_few() -> None:
    z = torch.randn(4, 3000, requires_grad=True)
    held: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: held.append(x.numel()) or x, lambda x: x):
        barlow_cross(z, z.detach()).backward()
    assert max(held) <= z.numel()


def test_barlow_is_zero_for_equal_whitened_sides_and_ignores_the_order_of_rows() -> None:
    z = torch.linalg.qr(torch.randn(8, 4).double())[0] * math.sqrt(8)
    assert barlow_cross(z, z).item() == pytest.approx(0, abs=1e-12)
    z1, z2, order = torch.randn(6, 4), torch.randn(6, 4), torch.randperm(6)
    torch.testing.assert_close(barlow_cross(z1[order], z2[order]), barlow_cross(z1, z2))


def test_negative_cosine_gives_no_gradient_to_the_target_and_ignores_lengths() -> None:
    p, v = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    loss = negative_cosine(p, v)
    loss.backward()
    assert v.grad is None
    torch.testing.assert_close(negative_cosine(3 * p, v / 7), loss)
    torch.testing.assert_close((p.grad * p).sum(dim=1), torch.zeros(3), atol=1e-6, rtol=0)


def test_cyclip_is_zero_for_a_shared_rotation_only_within() -> None:
    x = seeded(5)
    turn = torch.linalg.qr(draw(DIM, torch.Generator().manual_seed(3)))[0]
    assert cyclip_consistency(x, x).item() == pytest.approx(0, abs=1e-30)
    across = x @ (x @ turn.T).T
    expected = 5 * (across - across.T).square().mean() / 4
    torch.testing.assert_close(cyclip_consistency(x, x @ turn.T), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 6), st.floats(0, 30), st.floats(-50, 50), st.integers(0, 1000))
def test_entropies_lie_within_their_bounds_and_ignore_a_shift(
    rows: int, classes: int, sharpness: float, shift: float, seed: int
) -> None:
    logits = sharpness * draw(rows, torch.Generator().manual_seed(seed), classes)
    each, whole = entropy(logits), marginal_entropy(logits)
    assert (each >= -1e-12).all()
    assert each.mean() - 1e-9 <= whole <= math.log(classes) + 1e-9
    torch.testing.assert_close(entropy(logits + shift), each, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(entropy(probs=logits.softmax(dim=1)), each, rtol=1e-7, atol=1e-9)


def test_a_class_masked_by_minus_infinity_has_no_share_and_no_gradient() -> None:
    logits = torch.tensor([[0.0, -torch.inf, 0.0], [1.0, -torch.inf, 0.0]], requires_grad=True)
    for loss in (entropy(logits).sum(), marginal_entropy(logits)):
        (grad,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite()
        assert grad.isfinite().all()
        assert (grad[:, 1] == 0).all()


def test_marginal_entropy_tells_a_collapse_from_sure_and_balanced_predictions() -> None:
    sure = 50 * torch.eye(4)
    assert marginal_entropy(sure).item() == pytest.approx(math.log(4))
    assert marginal_entropy(sure[:1].expand(4, 4)).item() == pytest.approx(0, abs=1e-6)
    assert entropy(sure).max().item() == pytest.approx(0, abs=1e-6)


def test_centring_removes_a_common_offset_from_the_effective_rank() -> None:
    x = torch.eye(4) + 100.0
    assert effective_rank(x).item() < 1.5
    assert effective_rank(x, center=True).item() == pytest.approx(3, rel=1e-3)
    assert effective_rank(torch.ones(4, 3), center=True).item() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("tol", [1e-5, 1e-2, 0.2])
def test_used_dimensions_count_the_eigenvalues_of_the_covariance(tol: float) -> None:
    z = seeded(30, 8) @ torch.diag(torch.tensor([1, 1, 0.5, 0.2, 0.05, 0.01, 1e-4, 0.0]).double())
    eigenvalues = np.linalg.eigvalsh(np.cov(z.numpy(), rowvar=False))
    assert used_dimensions(z, tol) == int((eigenvalues > tol).sum())


def test_used_dimensions_of_one_row_and_of_equal_rows_are_none() -> None:
    assert used_dimensions(torch.ones(1, 3)) == 0
    assert used_dimensions(torch.ones(5, 3)) == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(6, 20), st.integers(1, 6), st.integers(0, 1000))
def test_procrustes_finds_a_rotation_again(rows: int, dim: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, turn = draw(rows, generator, dim), torch.linalg.qr(draw(dim, generator, dim))[0]
    torch.testing.assert_close(procrustes(x, x @ turn.T), turn, rtol=1e-6, atol=1e-6)


def test_procrustes_is_orthogonal_and_better_than_random_maps() -> None:
    x, y = seeded(20), seeded(20, seed=1)
    found = procrustes(x, y)
    torch.testing.assert_close(found @ found.T, torch.eye(DIM).double())
    for seed in range(20):
        other = torch.linalg.qr(draw(DIM, torch.Generator().manual_seed(seed)))[0]
        assert (x @ found.T - y).norm() <= (x @ other.T - y).norm() + 1e-12
    assert procrustes(torch.zeros(3, 2), torch.zeros(3, 2)).isfinite().all()


def test_arithmetic_broadcasts_one_pair_of_words_over_many_images() -> None:
    image, plus, minus = seeded(4), seeded(1)[0], seeded(1, seed=1)[0]
    torch.testing.assert_close(embedding_arithmetic(image, plus, minus, lam=0.0), image)
    torch.testing.assert_close(embedding_arithmetic(image, plus, minus), image + plus - minus)


def test_gap_terms_are_those_in_use_and_their_weights_count() -> None:
    x, y = seeded(5), seeded(5, seed=1)
    assert list(gap_closing_loss(x, y, use_uniformity=False)) == ["clip", "alignment", "total"]
    terms = gap_closing_loss(x, y, use_cross=True, weights=(0.0, 0.0, 0.0, 3.0))
    torch.testing.assert_close(terms["total"], 3 * cross_uniformity(x, y))
    torch.testing.assert_close(
        GapClosingLoss(weights=(2.0, 1.0, 1.0, 1.0), temperature=0.2)(x, y)["total"],
        gap_closing_loss(x, y, weights=(2.0, 1.0, 1.0, 1.0), temperature=0.2)["total"],
    )
    torch.testing.assert_close(gap_closing_loss(3 * x, y / 2)["total"], gap_closing_loss(x, y)["total"])


def test_one_pair_trains_without_the_uniformity_terms() -> None:
    x = torch.randn(1, 3, requires_grad=True)
    loss = gap.gap_closing_loss(x, torch.randn(1, 3), use_uniformity=False)["total"]
    assert torch.autograd.grad(loss, x)[0].isfinite().all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cross_uniformity(torch.ones(3, 2), torch.ones(4, 2)), ShapeError, r"y has shape \(4, 2\)"),
        (lambda: cross_uniformity(torch.ones(1, 2), torch.ones(1, 2)), ValueError, "expected at least 2"),
        (lambda: cross_uniformity(torch.ones(3, 2), torch.ones(3, 2), t=0), ValueError, "t = 0"),
        (lambda: barlow_cross(torch.ones(3, 2), torch.ones(3, 3)), ShapeError, r"z2 has shape \(3, 3\)"),
        (lambda: barlow_cross(torch.ones(3, 2), torch.ones(3, 2), lam=-1), ValueError, "lam = -1"),
        (lambda: negative_cosine(torch.ones(3), torch.ones(3)), ShapeError, "expected 2 dimensions"),
        (lambda: entropy(), ValueError, "either logits or probs"),
        (lambda: entropy(torch.ones(2), probs=torch.ones(2)), ValueError, "either logits or probs"),
        (lambda: marginal_entropy(torch.ones(2)), ShapeError, "logits has shape"),
        (lambda: used_dimensions(torch.ones(2)), ShapeError, "z has shape"),
        (lambda: procrustes(torch.ones(2, 3), torch.ones(3, 3)), ShapeError, "y has shape"),
        (lambda: embedding_arithmetic(torch.ones(2), torch.ones(3), torch.ones(2)), ShapeError, "plus has shape"),
        (lambda: uniform_sphere_uniformity(0), ValueError, "dim = 0"),
        (lambda: GapClosingLoss(temperature=0.0), ValueError, "temperature = 0.0"),
    ],
)
def test_wrong_input_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# -- two processes


def barlow_of_my_rows(process: int, dim: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z1, z2 = (draw(6, generator, dim).chunk(2)[process].clone().requires_grad_() for _ in range(2))
    loss = barlow_cross(z1, z2, lam=0.1)
    loss.backward()
    return {"loss": loss.detach(), "z1": z1.grad, "z2": z2.grad}


@pytest.mark.parametrize("dim", [3, 9])
def test_two_processes_correlate_the_rows_of_both(dim: int) -> None:
    ranks = run_two_processes(barlow_of_my_rows, dim)
    generator = torch.Generator().manual_seed(0)
    z1, z2 = (draw(6, generator, dim).requires_grad_() for _ in range(2))
    loss = barlow_cross(z1, z2, lam=0.1)
    wanted = graded(loss, z1, z2)
    for result in ranks:
        torch.testing.assert_close(result["loss"], wanted[0])
    for name, grad in zip(("z1", "z2"), wanted[1:], strict=True):
        torch.testing.assert_close(torch.cat([result[name] for result in ranks]), 2 * grad)
