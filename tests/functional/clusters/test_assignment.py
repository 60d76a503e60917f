"""Equal partition, sparsemax, grounding in a codebook and one-to-one matching."""

from __future__ import annotations

import builtins
import itertools
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
from accord.functional.clusters.assignment import (
    codebook_orthogonality,
    column_marginal_error,
    ground,
    hungarian_matching,
    pool_relevance,
    sequence_relevance,
    sinkhorn,
    sparsemax,
    sparsemax_temperature,
    token_relevance,
)
from functional.tester import Case, LossTester, every
from two_processes import run_two_processes

Golden = Callable[[str], dict[str, Tensor]]

# -- references: the log domain, an explicit sort, loops over rows and tokens


def partition(scores: Tensor, eps: float = 0.05, n_iters: int = 3, extra: Tensor | None = None) -> Tensor:
    rows = (scores if extra is None else torch.cat([scores, extra])).double() / eps
    rows = rows - rows.logsumexp(dim=(0, 1))
    for _ in range(n_iters):
        rows = rows - rows.logsumexp(dim=0) - math.log(rows.shape[1])
        rows = rows - rows.logsumexp(dim=1, keepdim=True) - math.log(rows.shape[0])
    return (rows + math.log(rows.shape[0])).exp()[: len(scores)]


def projection(z: Tensor) -> Tensor:
    rows = []
    for row in z:
        ordered = row.sort(descending=True).values
        size = max(j for j in range(1, len(row) + 1) if 1 + j * ordered[j - 1] > ordered[:j].sum())
        rows.append((row - (ordered[:size].sum() - 1) / size).clamp(min=0))
    return torch.stack(rows)


def pooled(r: Tensor, mask: Tensor | None = None, how: str = "max") -> Tensor:
    rows = []
    for i, row in enumerate(r):
        there = row if mask is None else row[mask[i]]
        if not len(there):
            rows.append(0 * row.sum(dim=0))
        elif how == "max":
            rows.append(torch.stack([column.max() for column in there.T]))
        else:
            rows.append(there.sum(dim=0) / (len(there) if how == "mean" else 1))
    return torch.stack(rows)


def grounded(tokens: Tensor, codebook: Tensor, mask: Tensor, temperature: float, **options: str) -> Tensor:
    r = torch.einsum("bnd,cd->bnc", tokens, codebook) / math.sqrt(codebook.shape[1])
    if options.get("pad_mode") == "zero":
        r, mask = r * mask[:, :, None], torch.ones_like(mask)
    relevance = pooled(r / temperature, mask, options.get("pool", "max"))
    activation = {"sparsemax": projection, "softmax": lambda x: x.softmax(1), "sigmoid": torch.sigmoid}
    w = activation[options.get("activation", "sparsemax")](relevance)
    total = w.sum(dim=1, keepdim=True) if options.get("activation") == "sigmoid" else 1
    return torch.cat([w, w @ codebook / total], dim=1)


def orthogonality(codebook: Tensor) -> Tensor:
    total = codebook.new_zeros(())
    for (i, one), (j, two) in itertools.product(enumerate(codebook), repeat=2):
        cosine = one @ two / (one.norm() + 1e-10) / (two.norm() + 1e-10)
        total = total + (cosine - int(i == j)) ** 2
    return total / len(codebook) ** 2


# -- inputs


def draw(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def scored(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"scores": draw(generator, rows, 4).tanh(), "extra": draw(generator, 3, 4).tanh(), "eps": 0.1}


def narrow(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"z": draw(generator, rows, 6)}


def wide(rows: int, generator: torch.Generator) -> dict[str, Any]:
    """Supports of a few entries and of more than are sorted at first."""
    return {"z": draw(generator, rows, 200) * (0.01 + torch.arange(rows)[:, None] % 3)}


def masked(rows: int, generator: torch.Generator) -> Tensor:
    mask = torch.rand(rows, 4, generator=generator) < 0.6
    mask[0], mask[-1] = True, rows == 1  # a full and, among several, an empty sequence
    return mask


def relevant(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"r": draw(generator, rows, 4, 5), "mask": masked(rows, generator)}


def unmasked(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"r": draw(generator, rows, 4, 5)}


def told(rows: int, generator: torch.Generator) -> dict[str, Any]:
    given = {"tokens": draw(generator, rows, 4, 5), "codebook": draw(generator, 6, 5)}
    return given | {"mask": masked(rows, generator), "temperature": 0.7}


def entries(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"codebook": draw(generator, rows, 5)}


def grounding(**options: str) -> Case:
    return Case(
        f"ground {' '.join(options.values())}",
        lambda **inputs: torch.cat(ground(**inputs, **options), dim=1),
        lambda **inputs: grounded(**inputs, **options),
        told,
        ("tokens", "codebook"),
        extremes=({"temperature": 0.005}, {"temperature": 1e4}),
    )


CASES = [
    Case("sinkhorn", sinkhorn, partition, scored, (), extremes=({"eps": 0.005}, {"eps": 1e-4}), vmap=False),
    Case("sparsemax", sparsemax, projection, narrow, ("z",), extremes=({"z": torch.full((3, 5), 1e4)},)),
    Case("sparsemax wide", sparsemax, projection, wide, ("z",)),
    *[
        Case(
            f"pool_relevance {how}{' masked' * (make is relevant)}",
            lambda how=how, **inputs: pool_relevance(**inputs, how=how),
            lambda how=how, **inputs: pooled(**inputs, how=how),
            make,
            ("r",),
        )
        for how in ("max", "mean", "sum")
        for make in (relevant, unmasked)
    ],
    grounding(),
    grounding(pad_mode="zero"),
    grounding(pool="mean", activation="softmax"),
    grounding(pool="sum", activation="sigmoid"),
    grounding(pool="mean", activation="sigmoid", pad_mode="zero"),
    Case("codebook_orthogonality", codebook_orthogonality, orthogonality, entries, ("codebook",), rows=4),
    Case("codebook_orthogonality of many", codebook_orthogonality, orthogonality, entries, ("codebook",), rows=9),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


def same(got: Tensor, want: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(got.double(), want.double(), rtol=tolerance, atol=tolerance)


# -- the golden values


def test_sinkhorn_gives_the_golden_assignments(golden: Golden) -> None:
    given = golden("swav")
    same(sinkhorn(given["sk0_scores"], 0.05, 3), given["sk0_q"], 1e-6)
    same(sinkhorn(given["sk2_scores"], 0.03, 10), given["sk2_q"], 1e-6)
    given = golden("improved_vlp_baselines")
    same(sinkhorn(given["sk_in"], 0.05, 3), given["sk_out"], 1e-12)


def test_sparsemax_gives_the_golden_values_and_gradient(golden: Golden) -> None:
    given = golden("fdt")
    z = given["sm_in"].requires_grad_()
    out = sparsemax(z)
    (grad,) = torch.autograd.grad(out, z, given["sm_cot"])
    same(out, given["sm_out"], 1e-12)
    same(grad, given["sm_grad"], 1e-12)


def query_map(given: dict[str, Tensor], side: str) -> Callable[[Tensor], Tensor]:
    def weight(layer: str) -> tuple[Tensor, Tensor]:
        return given[f"q{side}_{layer}_w"], given[f"q{side}_{layer}_b"]

    def call(x: Tensor) -> Tensor:
        x = F.gelu(F.linear(F.layer_norm(x, x.shape[-1:], *weight("ln1")), *weight("fc1")))
        return F.linear(F.layer_norm(x, x.shape[-1:], *weight("ln2")), *weight("fc2"))

    return call


@pytest.mark.parametrize(
    ("activation", "pool", "temperature", "name"),
    [("sparsemax", "max", 0.05, "T0p05"), ("sparsemax", "sum", 1.0, "T1"), ("sigmoid", "max", 1.0, "T1")],
)
def test_ground_gives_the_golden_activations(
    golden: Golden, activation: Any, pool: Any, temperature: float, name: str
) -> None:
    given = golden("fdt")
    mask = torch.arange(given["word"].shape[1]) < given["lengths"][:, None]
    for side, tokens, valid in (("i", given["patch"], None), ("t", given["word"], mask)):
        w, e = ground(
            tokens, given["fdt"], query_map(given, side), valid, temperature, pool, activation, pad_mode="zero"
        )
        same(w, given[f"w{side}_{activation}_{pool}_{name}"], 1e-10)
        same(e, given[f"f{side}_{activation}_{pool}_{name}"], 1e-10)


def test_orthogonality_is_the_golden_one(golden: Golden) -> None:
    same(codebook_orthogonality(golden("fdt")["fdt"]), golden("fdt")["ortho"], 1e-12)


# -- equal partition


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (300, 40), (40, 300)])
@pytest.mark.parametrize("eps", [0.05, 0.01, 0.002])
@pytest.mark.parametrize("n_iters", [1, 3, 4, 30])
def test_sinkhorn_is_that_of_the_log_domain_where_exponentials_overflow(
    shape: tuple[int, int], eps: float, n_iters: int
) -> None:
    rows, columns = (F.normalize(torch.randn(n, 16, generator=torch.Generator().manual_seed(n))) for n in shape)
    scores = rows @ columns.T
    scores[0], scores[-1] = 1.0, -1.0
    scores[:, -1] = torch.where(scores[:, -1] == 1, 1, scores.amin(dim=1))  # a prototype that no row prefers
    same(sinkhorn(scores.double(), eps, n_iters), partition(scores, eps, n_iters), 1e-11)
    single = sinkhorn(scores, eps, n_iters)
    same(single, partition(scores, eps, n_iters), 1e-6 * max(1, 0.05 / eps))  # scores / eps have as few digits
    same(single.sum(dim=1), torch.ones(shape[0]), 1e-6)


def test_sinkhorn_in_float32_agrees_with_the_log_domain_to_one_millionth_at_the_default_eps() -> None:
    z = F.normalize(torch.randn(512, 32, generator=torch.Generator().manual_seed(0)))
    scores = z @ z[:100].T
    assert (sinkhorn(scores).double() - partition(scores)).abs().max() < 1e-6


def test_sinkhorn_of_huge_scores_stays_finite() -> None:
    scores = torch.tensor([[1e4, -1e4, 0.0], [1e4, 1e4, 1e4], [-1e4, -1e4, -1e4], [1e4, 0.0, 0.0]])
    for n_iters in (1, 3, 10):
        assignment = sinkhorn(scores, 0.05, n_iters)
        assert assignment.isfinite().all()
        same(assignment.sum(dim=1), torch.ones(4), 1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 9), st.integers(1, 6), st.integers(1, 8), st.integers(0, 10**6))
def test_sinkhorn_follows_permutations_and_ignores_an_offset_of_a_prototype(
    rows: int, columns: int, n_iters: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = draw(generator, rows, columns).tanh()
    order, place = torch.randperm(rows, generator=generator), torch.randperm(columns, generator=generator)
    want = sinkhorn(scores, 0.1, n_iters)
    same(sinkhorn(scores[order][:, place], 0.1, n_iters), want[order][:, place], 1e-10)
    same(sinkhorn(scores + draw(generator, columns), 0.1, n_iters), want, 1e-9)


def test_many_rounds_give_every_prototype_the_same_mass() -> None:
    scores = draw(torch.Generator().manual_seed(0), 40, 5).tanh()
    errors = [column_marginal_error(sinkhorn(scores, 0.5, n_iters)).item() for n_iters in (1, 3, 200)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-10


def test_extra_rows_take_part_and_are_dropped() -> None:
    scores = draw(torch.Generator().manual_seed(0), 9, 4).tanh()
    same(sinkhorn(scores[:6], extra=scores[6:]), sinkhorn(scores)[:6], 1e-12)
    same(sinkhorn(scores, extra=scores[:0]), sinkhorn(scores), 1e-12)


def test_an_assignment_carries_no_gradient_and_leaves_its_scores_alone() -> None:
    scores = torch.randn(4, 3, requires_grad=True)
    before = scores.detach().clone()
    assert not sinkhorn(scores, n_iters=7).requires_grad
    assert torch.equal(scores, before)


def test_vmap_of_sinkhorn_equals_a_loop() -> None:
    scores = draw(torch.Generator().manual_seed(0), 3, 6, 4)
    loop = torch.stack([sinkhorn(each, n_iters=5) for each in scores])
    same(torch.func.vmap(lambda each: sinkhorn(each, n_iters=5))(scores), loop, 1e-12)


def test_marginal_error_of_a_collapse_is_the_largest() -> None:
    collapsed = F.one_hot(torch.zeros(6, dtype=torch.long), 4)
    assert column_marginal_error(collapsed.float()).item() == pytest.approx(2 * (1 - 1 / 4))
    assert column_marginal_error(torch.full((6, 4), 0.25)).item() == pytest.approx(0, abs=1e-7)


SCORES = torch.randn(10, 4, generator=torch.Generator().manual_seed(5)).tanh().double()
SHARES = ((SCORES[:3], SCORES[6:7]), (SCORES[3:6], SCORES[7:]))  # rank 1 brings three extra rows, rank 0 one


def assign_share(process: int) -> dict[str, Tensor]:
    rows, extra = SHARES[process]
    assignment = sinkhorn(rows, 0.02, 8, extra)
    return {"assignment": assignment, "error": column_marginal_error(assignment)}


def test_both_processes_get_their_rows_of_one_partition() -> None:
    ranks = run_two_processes(assign_share)
    want = sinkhorn(SCORES[:6], 0.02, 8, SCORES[6:])
    same(torch.cat([result["assignment"] for result in ranks]), want, 1e-12)
    for result in ranks:
        same(result["error"], column_marginal_error(want), 1e-12)


# -- sparsemax


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 300), st.floats(-3, 1), st.integers(0, 10**6))
def test_sparsemax_is_the_projection_on_the_simplex(width: int, log_scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = draw(generator, 3, width) * 10**log_scale
    p = sparsemax(z)
    assert (p >= 0).all()
    same(p.sum(dim=1), torch.ones(3), 1e-12)
    other = draw(generator, 3, width).softmax(dim=1)  # any point of the simplex is on the far side of the projection
    assert (((z - p) * (other - p)).sum(dim=1) <= 1e-9).all()
    same(sparsemax(z + 5), p, 1e-10)
    order = torch.randperm(width, generator=generator)
    same(sparsemax(z[:, order]), p[:, order], 1e-12)


@pytest.mark.parametrize("scale", [1.0, 0.03, 0.001, 0.0])
def test_wide_rows_find_their_support_however_large_it_is(scale: float) -> None:
    z = draw(torch.Generator().manual_seed(1), 5, 2500) * scale
    z[0] *= 100
    same(sparsemax(z), projection(z), 1e-12)
    same(sparsemax(z.float()), projection(z.float().double()), 1e-6)


def test_sparsemax_works_along_any_dimension() -> None:
    z = draw(torch.Generator().manual_seed(2), 3, 4, 5)
    same(sparsemax(z, dim=1), sparsemax(z.transpose(1, 2)).transpose(1, 2), 1e-12)
    same(sparsemax(z[0, 0]), projection(z[0, :1])[0], 1e-12)


def test_sparsemax_can_be_differentiated_twice_and_under_vmap() -> None:
    z = draw(torch.Generator().manual_seed(3), 4, 6).requires_grad_()
    assert torch.autograd.gradgradcheck(sparsemax, z)

    def square(row: Tensor) -> Tensor:
        return sparsemax(row).square().sum()

    (want,) = torch.autograd.grad(sparsemax(z).square().sum(), z)
    same(torch.func.vmap(torch.func.grad(square))(z), want, 1e-12)
    same(torch.func.vmap(sparsemax, in_dims=1)(z), sparsemax(z, dim=0).T, 1e-12)


def test_excluded_entries_get_nothing_and_pass_no_gradient() -> None:
    z = torch.tensor([[1.0, -torch.inf, 0.8]], requires_grad=True)
    out = sparsemax(z)
    (grad,) = torch.autograd.grad(out[0, 0], z)
    assert torch.equal(out[0, 1], torch.tensor(0.0))
    torch.testing.assert_close(grad, torch.tensor([[0.5, 0.0, -0.5]]))


# -- grounding


def test_padding_is_excluded_unless_asked_for_as_zero() -> None:
    tokens, codebook = -torch.ones(1, 2, 1), torch.tensor([[1.0], [2.0]])
    longer, mask = F.pad(tokens, (0, 0, 0, 3), value=9.0), torch.arange(5)[None] < 2
    for options in ({}, {"pool": "mean"}, {"pool": "sum", "activation": "softmax"}):
        padded, plain = ground(longer, codebook, mask=mask, **options), ground(tokens, codebook, **options)
        for got, want in zip(padded, plain, strict=True):
            same(got, want, 1e-7)
    floored, _ = ground(longer, codebook, mask=mask, pad_mode="zero")
    torch.testing.assert_close(floored, torch.tensor([[0.5, 0.5]]))  # max(negative, 0) is 0 for every entry


def test_a_sequence_of_padding_only_has_no_preference_and_no_gradient() -> None:
    tokens = torch.randn(2, 3, 4, requires_grad=True)
    mask = torch.tensor([[True, True, True], [False, False, False]])
    w, e = ground(tokens, torch.randn(5, 4), mask=mask)
    torch.testing.assert_close(w[1], torch.full((5,), 0.2))
    (grad,) = torch.autograd.grad(e.square().sum(), tokens)
    assert grad.isfinite().all()
    assert not grad[1].any()


def test_a_sigmoid_that_vanishes_everywhere_still_gives_an_embedding() -> None:
    w, e = ground(torch.full((1, 1, 2), -1e4), torch.tensor([[1.0, 1.0], [3.0, 3.0]]), activation="sigmoid")
    assert not w.any()
    torch.testing.assert_close(e, torch.ones(1, 2))  # the least impossible entry


@pytest.mark.parametrize("pool", ["max", "mean", "sum"])
@pytest.mark.parametrize("pad_mode", ["exclude", "zero"])
def test_the_relevance_of_a_sequence_is_the_pooled_one_of_its_tokens(pool: Any, pad_mode: Any) -> None:
    tokens, codebook = torch.randn(3, 5, 4).double(), torch.randn(7, 4).double()
    mask = torch.arange(5) < torch.tensor([[5], [2], [1]])
    relevance = token_relevance(tokens, codebook)
    same(relevance, torch.einsum("bnd,cd->bnc", tokens, codebook) / 2, 1e-12)
    counted = (relevance * mask[:, :, None], None) if pad_mode == "zero" else (relevance, mask)
    expected = pooled(*counted, pool)
    same(sequence_relevance(tokens, codebook, None, mask, pool, pad_mode), expected, 1e-12)


@pytest.mark.parametrize("support", [0.03, 0.3, 0.9])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_at_the_temperature_found_that_share_is_in_the_support(support: float, scale: float) -> None:
    z = scale * torch.randn(16, 50, generator=torch.Generator().manual_seed(1))
    temperature = sparsemax_temperature(z, support)
    share = (sparsemax(z / temperature) > 0).float().mean()
    assert share.item() == pytest.approx(support, abs=3 / z.numel())
    same(sparsemax_temperature(z + 5 * scale, support), temperature, 1e-3 * scale)


def test_the_temperature_grows_with_the_support_and_the_codebook() -> None:
    small, large = (torch.randn(8, count, generator=torch.Generator().manual_seed(2)) for count in (64, 1024))
    course = [sparsemax_temperature(small, support) for support in (0.1, 0.2, 0.4, 0.8)]
    assert course == sorted(course)
    ratio = sparsemax_temperature(large, 0.3) / sparsemax_temperature(small, 0.3)
    assert ratio.item() == pytest.approx(16, rel=0.2)


# -- matching


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))
def test_hungarian_matching_has_the_least_cost_of_all_matchings(rows: int, columns: int, seed: int) -> None:
    cost = draw(torch.Generator().manual_seed(seed), rows, columns)
    i, j = hungarian_matching(cost.requires_grad_())
    small = cost if rows <= columns else cost.T
    best = min(
        sum(small[k, place].item() for k, place in enumerate(places))
        for places in itertools.permutations(range(small.shape[1]), len(small))
    )
    assert cost[i, j].sum().item() == pytest.approx(best)
    assert len(i.unique()) == len(j.unique()) == len(small)


def test_hungarian_matching_without_scipy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("scipy"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install scipy"):
        hungarian_matching(torch.eye(2))


# -- messages


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sinkhorn(torch.zeros(3)), ShapeError, r"scores has shape \(3,\): expected 2 dimensions"),
        (lambda: sinkhorn(torch.zeros(0, 3)), ShapeError, r"scores has shape \(0, 3\): expected at least one row"),
        (lambda: sinkhorn(torch.eye(3), extra=torch.eye(2)), ShapeError, "extra .* expected 3 columns, as scores has"),
        (lambda: sinkhorn(torch.eye(3), eps=0.0), ValueError, "eps = 0.0: expected a finite number > 0"),
        (lambda: sinkhorn(torch.eye(3), n_iters=0), ValueError, "n_iters = 0"),
        (lambda: column_marginal_error(torch.zeros(3)), ShapeError, "assignment has shape"),
        (lambda: sparsemax(torch.tensor(1.0)), ShapeError, "at least one dimension"),
        (lambda: pool_relevance(torch.zeros(2, 3)), ShapeError, "r has shape"),
        (lambda: pool_relevance(torch.zeros(2, 3, 4), torch.zeros(2, 3)), ValueError, "mask has dtype torch.float32"),
        (lambda: pool_relevance(torch.zeros(2, 3, 4), torch.zeros(2, 4).bool()), ShapeError, "mask has shape"),
        (lambda: pool_relevance(torch.zeros(2, 3, 4), how="median"), ValueError, "how = 'median': expected one of max"),
        (lambda: ground(torch.zeros(2, 3, 4), torch.zeros(5, 3)), ShapeError, r"queries .* expected \(2, 3, 3\)"),
        (lambda: ground(torch.zeros(2, 3, 4), torch.eye(4), temperature=0.0), ValueError, "temperature = 0.0"),
        (lambda: ground(torch.zeros(2, 3, 4), torch.eye(4), pad_mode="keep"), ValueError, "pad_mode = 'keep'"),
        (lambda: ground(torch.zeros(2, 3, 4), torch.eye(4), activation="relu"), ValueError, "activation = 'relu'"),
        (lambda: sparsemax_temperature(torch.zeros(3), 0.5), ShapeError, "z has shape"),
        (lambda: sparsemax_temperature(torch.randn(2, 4), 0.25), ValueError, r"support = 0.25: .* \(0.25, 1\)"),
        (lambda: sparsemax_temperature(torch.ones(2, 4), 0.5), ValueError, "no temperature leaves 50%"),
        (lambda: token_relevance(torch.zeros(2, 3, 4), torch.zeros(5, 3)), ShapeError, "queries has shape"),
        (lambda: sequence_relevance(torch.zeros(2, 3, 4), torch.eye(4), pool="top"), ValueError, "pool = 'top'"),  # type: ignore[arg-type]
        (lambda: codebook_orthogonality(torch.zeros(3)), ShapeError, "codebook has shape"),
        (lambda: hungarian_matching(torch.zeros(3)), ShapeError, "cost has shape"),
    ],
)
def test_wrong_input_is_named(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
