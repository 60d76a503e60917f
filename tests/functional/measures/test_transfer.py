"""Gap statistics and adapters of cross-modal transfer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from accord.errors import ShapeError
from accord.functional.measures.transfer import (
    GaussianNoise,
    LinearAdapter,
    MeanShift,
    StructuredNoise,
    fit_gap,
    noise_for_cosine,
    segment_mean,
)
from functional.tester import Case, LossTester, every

DIM = 5


def draw(rows: int, generator: torch.Generator, dim: int = DIM) -> Tensor:
    return torch.randn(rows, dim, generator=generator, dtype=torch.float64)


def unit(rows: int, generator: torch.Generator) -> Tensor:
    return F.normalize(draw(rows, generator), dim=1)


def seeded(rows: int, seed: int = 0, dim: int = DIM) -> Tensor:
    return F.normalize(draw(rows, torch.Generator().manual_seed(seed), dim), dim=1)


def to_sphere(x: Tensor) -> Tensor:
    return x / x.square().sum(dim=1, keepdim=True).sqrt()


WEIGHT, BIAS = draw(DIM, torch.Generator().manual_seed(5)), seeded(1, 6)[0]
COV = WEIGHT @ WEIGHT.T / DIM


def segmented(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"x": draw(rows, generator), "segment": torch.arange(rows).flip(0) % 3, "count": 4}


def segment_reference(x: Tensor, segment: Tensor, count: int) -> Tensor:
    members = [x[[i for i in range(len(x)) if segment[i] == b]] for b in range(count)]
    return torch.stack([rows.mean(dim=0) if len(rows) else x.new_zeros(x.shape[1]) for rows in members])


def noisy(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"x": unit(rows, generator), "noise": draw(rows, generator)}


def structured(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return noisy(rows, generator) | {"structured": draw(rows, generator)}


def calling(adapter: nn.Module) -> Callable[..., Tensor]:
    """A function: the tester compiles it, and every call must find the adapter in training."""

    def call(**inputs: Tensor) -> Tensor:
        return adapter(**inputs)

    return call


FIXED = ("noise", "structured")
CASES = [
    Case("segment_mean", segment_mean, segment_reference, segmented, ("x",)),
    Case(
        "GaussianNoise",
        calling(GaussianNoise(0.3)),
        lambda x, noise: to_sphere(x + 0.3 * noise),
        noisy,
        ("x",),
        fixed=FIXED,
    ),
    Case(
        "MeanShift",
        calling(MeanShift(BIAS, scale=0.5, noise=0.3)),
        lambda x, noise: to_sphere(x + 0.5 * BIAS + 0.3 * noise),
        noisy,
        ("x",),
        fixed=FIXED,
    ),
    Case(
        "LinearAdapter",
        calling(LinearAdapter(WEIGHT, BIAS, noise=0.3)),
        lambda x, noise: to_sphere(to_sphere(torch.einsum("ij,bj->bi", WEIGHT, x) + BIAS) + 0.3 * noise),
        noisy,
        ("x",),
        fixed=FIXED,
    ),
    Case(
        "StructuredNoise",
        calling(StructuredNoise(COV, shift=BIAS, noise=0.3)),
        lambda x, noise, structured: to_sphere(x + BIAS + 3 * structured + 0.3 * noise),
        structured,
        ("x",),
        fixed=FIXED,
    ),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


# -- reference values


def same(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got.double(), want.double(), rtol=1e-5, atol=1e-6)


def test_gaussian_noise_equals_the_released_code(golden) -> None:
    given_ = golden("close")
    adapter, x = GaussianNoise(0.08), given_["gaussian_noise.in.x"]
    same(adapter(x, given_["gaussian_noise.in.noise"]), given_["gaussian_noise.out.train"])
    same(adapter.eval()(x), given_["gaussian_noise.out.eval"])


def test_the_linear_adapter_equals_the_released_code(golden) -> None:
    given_ = golden("close")
    adapter = LinearAdapter(given_["linear_adapter.in.W"], given_["linear_adapter.in.b"], noise=0.08)
    found = adapter(given_["linear_adapter.in.x"], given_["linear_adapter.in.noise"])
    same(found, given_["linear_adapter.out.train"])


def test_the_segment_mean_equals_the_released_code_in_any_order(golden) -> None:
    given_ = golden("close")
    x, segment = given_["segment_mean.in.x"], given_["segment_mean.in.segment"]
    same(segment_mean(x, segment), given_["segment_mean.out.mean"])
    order = torch.randperm(len(x))
    same(segment_mean(x[order], segment[order]), given_["segment_mean.out.mean"])


# -- gap statistics


def test_statistics_equal_numpy() -> None:
    img, txt = 3 * seeded(40), 0.5 * seeded(40, 1)
    stats = fit_gap(img, txt)
    u, t = (side.numpy() / np.linalg.norm(side.numpy(), axis=1, keepdims=True) for side in (img, txt))
    solution = np.linalg.lstsq(np.hstack([t, np.ones((40, 1))]), u, rcond=None)[0]
    for got, want in [
        (stats.mean_diff, (u - t).mean(axis=0)),
        (stats.cov, np.cov(u - t, rowvar=False)),
        (stats.linear[0], solution[:-1].T),
        (stats.linear[1], solution[-1]),
        (stats.centroid_distance, np.linalg.norm(u.mean(axis=0) - t.mean(axis=0))),
        (stats.mean_pair_cosine, (u * t).sum(axis=1).mean()),
    ]:
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-9, atol=1e-12)


def test_the_ridge_penalises_the_map_and_not_its_offset() -> None:
    img, txt = seeded(30), seeded(30, 1)
    weight, bias = fit_gap(img, txt, ridge=0.7).linear
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    objective = (txt @ weight.T + bias - img).square().sum() + 0.7 * weight.square().sum()
    for grad in torch.autograd.grad(objective, (weight, bias)):
        torch.testing.assert_close(grad, torch.zeros_like(grad), atol=1e-10, rtol=0)
    far, offset = fit_gap(img, txt, ridge=1e9).linear
    assert far.norm() < 1e-6
    torch.testing.assert_close(offset, img.mean(dim=0), rtol=1e-6, atol=1e-6)


def test_fewer_pairs_than_dimensions_are_fitted_exactly_and_finitely() -> None:
    img, txt = seeded(4, 0, 12).float(), seeded(4, 1, 12).float()
    weight, bias = fit_gap(img, txt).linear
    torch.testing.assert_close(txt @ weight.T + bias, img, rtol=1e-4, atol=1e-5)
    assert weight.norm() < 10
    same_rows = fit_gap(img[:1].expand(3, -1), txt[:1].expand(3, -1))
    assert all(part.isfinite().all() for part in (same_rows.cov, *same_rows.linear))


def test_a_linear_adapter_of_the_fit_closes_a_linear_gap() -> None:
    txt = seeded(60)
    img = F.normalize(txt @ torch.linalg.qr(WEIGHT)[0].T, dim=1)
    adapter = LinearAdapter(*fit_gap(img, txt).linear).eval()
    torch.testing.assert_close(adapter(txt), img)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.05, 1), st.integers(1, 4096))
def test_the_noise_level_is_the_inverse_of_the_cosine(cos: float, dim: int) -> None:
    w = noise_for_cosine(cos, dim)
    assert 1 / math.sqrt(1 + w * w * dim) == pytest.approx(cos)


@pytest.mark.parametrize(("w", "cos"), [(0.12, 0.29), (0.08, 0.41), (0.04, 0.67)])
def test_the_published_noise_levels_have_the_published_cosines(w: float, cos: float) -> None:
    assert noise_for_cosine(cos, 768) == pytest.approx(w, abs=2e-3)
    x = seeded(500, 0, 768).float()
    found = F.cosine_similarity(GaussianNoise(w)(x), x).mean()
    assert found.item() == pytest.approx(cos, abs=0.01)


# -- adapters


def test_noise_is_new_in_every_step_and_absent_in_evaluation() -> None:
    x = seeded(3).float()
    for adapter in (GaussianNoise(0.1), StructuredNoise(COV, factor=1.0)):
        assert not torch.equal(adapter(x), adapter(x))
        assert adapter.eval()(x) is x


def test_noise_without_renormalisation_stays_off_the_sphere() -> None:
    x = seeded(3)
    noise = torch.ones(3, DIM)
    torch.testing.assert_close(GaussianNoise(0.5, renormalize=False)(x, noise), x + 0.5)


def test_the_mean_shift_moves_the_text_in_evaluation_too_unless_told_not_to() -> None:
    x = seeded(3)
    torch.testing.assert_close(MeanShift(BIAS, scale=2.0, noise=9.0).eval()(x), x + 2 * BIAS)
    assert MeanShift(BIAS, eval_too=False).eval()(x) is x
    assert LinearAdapter(WEIGHT, BIAS, eval_too=False).eval()(x) is x
    torch.testing.assert_close(MeanShift(BIAS)(x), F.normalize(x + BIAS, dim=1))


def test_the_mean_shift_of_the_fit_closes_the_distance_of_the_centres() -> None:
    img, txt = F.normalize(seeded(50) + 1, dim=1), F.normalize(seeded(50, 1) - 1, dim=1)
    moved = MeanShift(fit_gap(img, txt).mean_diff).eval()(txt)
    torch.testing.assert_close(moved.mean(dim=0), img.mean(dim=0))


@pytest.mark.parametrize("rank", [2, DIM])
def test_structured_noise_has_the_covariance_also_when_it_is_singular(rank: int) -> None:
    part = WEIGHT[:, :rank].float()
    cov = part @ part.T
    adapter = StructuredNoise(cov, factor=1.0)
    torch.testing.assert_close(adapter.root @ adapter.root.T, cov, rtol=1e-4, atol=1e-4)
    x = torch.zeros(40000, DIM)
    torch.manual_seed(0)
    g = torch.randn_like(x) @ adapter.root.T
    torch.testing.assert_close(torch.cov(g.T), cov, rtol=0.1, atol=0.1)
    torch.manual_seed(0)
    assert torch.equal(adapter(x), adapter(x, structured=g))


def test_adapters_are_saved_with_their_statistics() -> None:
    makers: list[Callable[[Tensor], nn.Module]] = [
        lambda s: MeanShift(s * BIAS),
        lambda s: LinearAdapter(s * WEIGHT, s * BIAS),
        lambda s: StructuredNoise(s * COV, s * BIAS),
    ]
    for make in makers:
        saved, fresh = make(torch.tensor(1.0)), make(torch.tensor(0.5))
        fresh.load_state_dict(saved.state_dict())
        x = seeded(4)
        given_: dict[str, Tensor] = {"structured": x} if isinstance(saved, StructuredNoise) else {}
        assert torch.equal(fresh(x, **given_), saved(x, **given_))
        assert not list(saved.parameters())


def test_statistics_in_double_serve_inputs_in_single_and_half_precision() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        x = seeded(3).to(dtype)
        for adapter in (MeanShift(BIAS), LinearAdapter(WEIGHT, BIAS), StructuredNoise(COV, BIAS), GaussianNoise(0.1)):
            assert adapter(x).dtype == torch.float32


def test_adapters_say_their_settings() -> None:
    shown = [
        repr(GaussianNoise(0.1)),
        repr(MeanShift(BIAS)),
        repr(LinearAdapter(WEIGHT, BIAS)),
        repr(StructuredNoise(COV)),
    ]
    assert "w=0.1" in shown[0]
    assert "eval_too=True" in shown[1]
    assert "noise=0.0" in shown[2]
    assert "factor=3.0" in shown[3]


def test_segments_without_rows_are_zero_and_no_rows_give_no_segments() -> None:
    assert torch.equal(segment_mean(torch.ones(1, 2), torch.tensor([2])), torch.tensor([[0.0, 0], [0, 0], [1, 1]]))
    assert segment_mean(torch.ones(0, 2), torch.zeros(0, dtype=torch.long)).shape == (0, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fit_gap(torch.ones(2, 3), torch.ones(3, 3)), ShapeError, "txt has shape"),
        (lambda: fit_gap(torch.ones(1, 3), torch.ones(1, 3)), ValueError, "img has 1 rows: expected at least 2"),
        (lambda: fit_gap(torch.ones(2, 3), torch.ones(2, 3), ridge=-1), ValueError, "ridge = -1"),
        (lambda: noise_for_cosine(0.0, 3), ValueError, "cos = 0.0"),
        (lambda: noise_for_cosine(1.1, 3), ValueError, "cos = 1.1"),
        (lambda: noise_for_cosine(0.5, 0), ValueError, "dim = 0"),
        (lambda: segment_mean(torch.ones(2, 3), torch.zeros(3).long()), ShapeError, "segment has shape"),
        (lambda: GaussianNoise(-0.1), ValueError, "w = -0.1"),
        (lambda: MeanShift(torch.ones(2, 2)), ShapeError, "delta has shape"),
        (lambda: MeanShift(torch.ones(2), noise=math.nan), ValueError, "noise = nan"),
        (lambda: LinearAdapter(torch.ones(2, 2), torch.ones(3)), ShapeError, "b has shape"),
        (lambda: StructuredNoise(torch.ones(2, 3)), ShapeError, "cov has shape"),
        (lambda: StructuredNoise(torch.eye(2), shift=torch.ones(3)), ShapeError, "shift has shape"),
        (lambda: StructuredNoise(-torch.eye(2)), ValueError, "expected a covariance"),
        (lambda: StructuredNoise(torch.tensor([[1.0, 0.9], [0.0, 1.0]])), ValueError, "expected a covariance"),
        (lambda: GaussianNoise(0.1)(torch.ones(2, 3), torch.ones(1, 3)), ShapeError, "noise has shape"),
    ],
)
def test_wrong_input_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
