"""Losses within one set: two views, many views, classes; against loops and the reference values."""

from __future__ import annotations

import math
from functools import partial
from itertools import combinations, permutations
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord import functional as AF
from accord.errors import ShapeError
from functional.tester import Case, LossTester, every
from two_processes import run_two_processes


def draw(rows: int, generator: torch.Generator, dim: int = 5) -> Tensor:
    return torch.randn(rows, dim, generator=generator, dtype=torch.float64)


def cos(a: Tensor, b: Tensor) -> Tensor:
    return F.normalize(a, dim=0) @ F.normalize(b, dim=0)


def lse(terms: list[Tensor]) -> Tensor:
    return torch.logsumexp(torch.stack(terms), 0)


# -- references: the papers' sums, term by term


def nt_xent_loop(a: Tensor, p: Tensor, temperature: Tensor) -> Tensor:
    z, n = torch.cat([a, p]), len(a)
    losses = []
    for i in range(2 * n):
        others = {k: cos(z[i], z[k]) / temperature for k in range(2 * n) if k != i}
        losses.append(lse(list(others.values())) - others[(i + n) % (2 * n)])
    return torch.stack(losses).mean()


def supcon_loop(z: Tensor, labels: Tensor, temperature: Tensor) -> Tensor:
    losses = []
    for i in range(len(z)):
        others = {k: cos(z[i], z[k]) / temperature for k in range(len(z)) if k != i}
        positives = [s for k, s in others.items() if labels[k] == labels[i]]
        if positives:
            losses.append(torch.stack([lse(list(others.values())) - s for s in positives]).mean())
    return torch.stack(losses).mean() if losses else (z * 0).sum()


def instances(views: Tensor, mask: Tensor | None) -> list[list[int]]:
    there = torch.ones(views.shape[:2], dtype=torch.bool) if mask is None else mask
    return [[view for view in range(len(views)) if there[view, i]] for i in range(views.shape[1])]


def mv_infonce_loop(views: Tensor, tau: Tensor, mask: Tensor | None = None, same_view_negatives: bool = True) -> Tensor:
    losses, there = [], instances(views, mask)
    for i, mine in enumerate(there):
        if len(mine) < 2:
            continue
        pull = lse([cos(views[a, i], views[b, i]) / tau for a, b in permutations(mine, 2)])
        push = [
            cos(views[a, i], views[b, j]) / tau
            for a in mine
            for j, theirs in enumerate(there)
            for b in theirs
            if (a, i) != (b, j) and (same_view_negatives or a != b)
        ]
        losses.append(lse(push) - pull)
    return torch.stack(losses).mean()


def mv_dhel_loop(views: Tensor, tau: Tensor, mask: Tensor | None = None, itself: bool = False) -> Tensor:
    losses, there = [], instances(views, mask)
    for i, mine in enumerate(there):
        if len(mine) < 2:
            continue
        loss = -lse([cos(views[a, i], views[b, i]) / tau for a, b in combinations(mine, 2)])
        for a in mine:
            rows = [j for j, theirs in enumerate(there) if (j != i or itself) and a in theirs]
            others = [cos(views[a, i], views[a, j]) / tau for j in rows]
            loss = loss + (lse(others) if others else 0)
        losses.append(loss)
    return torch.stack(losses).mean()


def pairwise_loop(views: Tensor, tau: Tensor) -> Tensor:
    return torch.stack([nt_xent_loop(views[a], views[b], tau) for a, b in combinations(range(len(views)), 2)]).mean()


def average_loop(views: Tensor, tau: Tensor) -> Tensor:
    unit = F.normalize(views, dim=-1)
    losses = []
    for a in range(len(unit)):
        mean = torch.stack([unit[b] for b in range(len(unit)) if b != a]).mean(dim=0)
        z, n = torch.cat([unit[a], mean]), len(mean)
        logits = (z @ z.T / tau).masked_fill(torch.eye(2 * n, dtype=torch.bool), -torch.inf)
        losses.append(-logits.log_softmax(dim=1)[range(2 * n), [(i + n) % (2 * n) for i in range(2 * n)]].mean())
    return torch.stack(losses).mean()


def poly_loop(views: Tensor, tau: Tensor, kind: str = "geometric") -> Tensor:
    n, m = len(views), views.shape[1]
    losses = []
    for a in range(n):
        for i in range(m):
            others = [cos(views[a, i], views[b, j]) / tau for j in range(m) if j != i for b in range(n)]
            own = [cos(views[a, i], views[b, i]) / tau for b in range(n) if b != a]
            log_p = torch.stack([s - lse([s, *others]) for s in own])
            losses.append(-log_p.mean() if kind == "geometric" else -(log_p.exp().mean().log()))
    return torch.stack(losses).mean()


def pair(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"a": draw(rows, generator), "p": draw(rows, generator), "temperature": torch.tensor(0.3).double()}


def classed(rows: int, generator: torch.Generator) -> dict[str, Any]:
    labels = torch.arange(rows) % 3
    return {"z": draw(rows, generator), "labels": labels, "temperature": torch.tensor(0.3).double()}


def many(rows: int, generator: torch.Generator) -> dict[str, Any]:
    views = torch.stack([draw(rows, generator) for _ in range(3)])
    return {"views": views, "tau": torch.tensor(0.3).double()}


def holed(rows: int, generator: torch.Generator) -> dict[str, Any]:
    mask = torch.ones(3, rows, dtype=torch.bool)
    mask[0, 0] = mask[1, 1] = mask[2, 1] = False
    return many(rows, generator) | {"mask": mask}


COLD = ({"temperature": 0.005},)
COLD_TAU = ({"tau": 0.005},)
CASES = [
    Case("nt_xent", AF.nt_xent, nt_xent_loop, pair, ("a", "p", "temperature"), rows=5, extremes=COLD),
    Case("supcon", AF.supcon, supcon_loop, classed, ("z", "temperature"), fewest=2, extremes=COLD),
    Case("mv_infonce", AF.mv_infonce, mv_infonce_loop, many, ("views", "tau"), rows=5, extremes=COLD_TAU),
    Case("mv_infonce missing", AF.mv_infonce, mv_infonce_loop, holed, ("views", "tau"), 5, 3, COLD_TAU),
    Case(
        "mv_infonce other views",
        lambda **x: AF.mv_infonce(**x, same_view_negatives=False),
        lambda **x: mv_infonce_loop(**x, same_view_negatives=False),
        many,
        ("views", "tau"),
        rows=4,
    ),
    Case("mv_dhel", AF.mv_dhel, mv_dhel_loop, many, ("views", "tau"), 5, 2, COLD_TAU),
    Case("mv_dhel missing", AF.mv_dhel, mv_dhel_loop, holed, ("views", "tau"), 5, 3, COLD_TAU),
    Case(
        "mv_dhel with itself, missing",
        partial(AF.mv_dhel, itself=True),
        partial(mv_dhel_loop, itself=True),
        holed,
        ("views", "tau"),
        5,
        3,
        COLD_TAU,
    ),
    Case(
        "pairwise_nt_xent",
        AF.pairwise_nt_xent,
        pairwise_loop,
        many,
        ("views", "tau"),
        rows=4,
        fewest=2,
        extremes=COLD_TAU,
        vmap=False,
        compiles=False,
    ),
    Case("average_view_nt_xent", AF.average_view_nt_xent, average_loop, many, ("views", "tau"), 4, extremes=COLD_TAU),
    Case("poly_view_loss", AF.poly_view_loss, poly_loop, many, ("views", "tau"), 4, extremes=COLD_TAU),
    Case(
        "poly_view_loss arithmetic",
        lambda **x: AF.poly_view_loss(**x, kind="arithmetic"),
        lambda **x: poly_loop(**x, kind="arithmetic"),
        many,
        ("views", "tau"),
        rows=4,
        extremes=COLD_TAU,
    ),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


@pytest.mark.parametrize("n_views", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["MVINFONCE", "PVC", "AVG"])
def test_the_multi_view_losses_equal_the_released_code(golden, n_views: int, name: str) -> None:
    given_ = golden("multiview_infonce")
    if f"n{n_views}_{name}_loss" not in given_:
        pytest.skip("no reference values")
    function = {"MVINFONCE": AF.mv_infonce, "PVC": AF.poly_view_loss, "AVG": AF.average_view_nt_xent}[name]
    tau = {2: 0.5, 3: 0.2, 4: 0.5, 5: 0.1}[n_views]
    z = given_[f"n{n_views}_z"].clone().requires_grad_()
    loss = function(AF.split_views(z, n_views), tau)
    loss.backward()
    torch.testing.assert_close(loss.detach(), given_[f"n{n_views}_{name}_loss"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(z.grad, given_[f"n{n_views}_{name}_grad"], rtol=1e-4, atol=1e-5)


def test_copies_of_one_thing_are_no_negatives_of_each_other() -> None:
    a, p = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    copies = torch.tensor([7, 2, 7, 7, 4])
    unit = F.normalize(torch.cat([a, p]), dim=1)
    losses = []
    for anchor in range(10):
        there = [k for k in range(10) if k % 5 == (anchor % 5) or copies[k % 5] != copies[anchor % 5]]
        cosines = {k: unit[anchor] @ unit[k] / 0.2 for k in there if k != anchor}
        losses.append(torch.stack(list(cosines.values())).logsumexp(0) - cosines[(anchor + 5) % 10])
    torch.testing.assert_close(AF.nt_xent(a, p, 0.2, copies=copies), torch.stack(losses).mean())
    torch.testing.assert_close(AF.nt_xent(a, p, 0.2, copies=torch.arange(5)), AF.nt_xent(a, p, 0.2))


def test_negatives_of_the_own_label_are_all_of_a_pure_batch_none_of_a_mixed_one_and_else_those_of_each_label() -> None:
    generator = torch.Generator().manual_seed(0)
    a, p = draw(6, generator).requires_grad_(), draw(6, generator)
    torch.testing.assert_close(AF.nt_xent(a, p, 0.1, labels=torch.full((6,), 3)), AF.nt_xent(a, p, 0.1))
    alone = AF.nt_xent(a, p, 0.1, labels=torch.arange(6))
    torch.testing.assert_close(alone, torch.zeros(()).double())
    torch.testing.assert_close(torch.autograd.grad(alone, a)[0], torch.zeros_like(a))
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    pure = [AF.nt_xent(a[labels == c], p[labels == c], 0.1) for c in (0, 1)]
    torch.testing.assert_close(AF.nt_xent(a, p, 0.1, labels=labels), torch.stack(pure).mean())
    with pytest.raises(ShapeError, match="labels has shape"):
        AF.nt_xent(a, p, 0.1, labels=labels[:2])


def test_nt_xent_equals_the_loss_that_mirror_bert_calls(golden) -> None:
    given_ = {k.rsplit(".", 1)[1]: v for k, v in golden("text_contrastive").items() if k.startswith("mirror")}
    leaves = [given_[name].clone().requires_grad_() for name in ("anchors", "positives")]
    loss = AF.nt_xent(*leaves, 0.04)
    loss.backward()
    torch.testing.assert_close(loss.detach(), given_["loss"], rtol=1e-5, atol=1e-5)
    for leaf, name in zip(leaves, ("anchors", "positives"), strict=True):
        torch.testing.assert_close(leaf.grad, given_[f"grad_{name}"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("function", [AF.mv_infonce, AF.mv_dhel, AF.pairwise_nt_xent, AF.poly_view_loss])
@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(4)), views=st.permutations(range(3)))
def test_the_order_of_views_and_of_instances_does_not_matter(function, order: list[int], views: list[int]) -> None:
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(function(x[views][:, order], 0.2), function(x, 0.2))


def test_a_constant_on_all_similarities_moves_mv_dhel_only() -> None:
    x = F.normalize(torch.randn(3, 6, 4).double(), dim=-1)
    lifted = torch.cat([x, torch.full((3, 6, 1), math.sqrt(0.7)).double()], dim=-1)  # adds 0.7 to every product
    plain, moved = ([f(v, 0.5, normalize=False) for v in (x, lifted)] for f in (AF.mv_infonce, AF.mv_dhel))
    torch.testing.assert_close(plain[1], plain[0])
    torch.testing.assert_close(moved[1] - moved[0], torch.tensor(2 * 0.7 / 0.5).double())


def test_orthogonal_views_give_the_known_values() -> None:
    u = torch.eye(12).view(3, 4, 12).double()
    assert math.isclose(AF.mv_infonce(u, 0.1), math.log(3 * 11) - math.log(6), rel_tol=1e-9)
    assert math.isclose(AF.mv_dhel(u, 0.1), 3 * math.log(3) - math.log(3), rel_tol=1e-9)


def test_similar_views_at_a_low_temperature_do_not_overflow() -> None:
    base = F.normalize(torch.randn(1, 1, 8), dim=-1)
    views = F.normalize(base + 0.05 * torch.randn(6, 256, 8), dim=-1)
    assert AF.mv_dhel(views, 0.1).isfinite()


@pytest.mark.parametrize("function", [AF.mv_infonce, AF.mv_dhel, AF.pairwise_nt_xent, AF.poly_view_loss])
def test_terms_of_the_instances_average_to_the_loss(function) -> None:
    x = torch.randn(3, 5, 4)
    terms = function(x, 0.2, reduction="none")
    assert terms.shape == (5,)
    torch.testing.assert_close(terms.mean(), function(x, 0.2))


def test_what_stands_for_a_missing_view_does_not_matter() -> None:
    x, mask = torch.randn(3, 4, 5), torch.tensor([[True] * 4, [True, False, True, True], [False, True, True, True]])
    changed = x.clone()
    changed[~mask] = float("nan")
    for function in (AF.mv_infonce, AF.mv_dhel):
        torch.testing.assert_close(function(changed, 0.3, mask=mask), function(x, 0.3, mask=mask))


@pytest.mark.parametrize("name", ["nt_xent", "supcon", "mv_infonce", "mv_dhel"])
def test_a_large_set_is_tiled_and_gives_the_dense_values(name: str, monkeypatch) -> None:
    x = torch.randn(700, 8, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.arange(700) % 13
    calls = {
        "nt_xent": lambda z: AF.nt_xent(z, z.flip(0), 0.1),
        "supcon": lambda z: AF.supcon(z, labels, 0.1),
        "mv_infonce": lambda z: AF.mv_infonce([z, z.flip(0)], 0.1),
        "mv_dhel": lambda z: AF.mv_dhel([z, z.flip(0)], 0.1),
    }
    results = []
    for limit in (0, 10_000):
        monkeypatch.setattr("accord.functional.tiled.DENSE_ROWS", limit)
        monkeypatch.setattr("accord.functional.contrast.views.DENSE_ROWS", limit)
        leaf = x.clone().requires_grad_()
        loss = calls[name](leaf)
        loss.backward()
        results.append((loss.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-11)


def test_supcon_with_one_row_per_class_is_zero_and_keeps_its_graph() -> None:
    z = torch.randn(4, 3, requires_grad=True)
    loss = AF.supcon(z, torch.arange(4))
    assert loss.item() == 0
    loss.backward()
    assert z.grad.abs().sum() == 0


def gathered(rank: int, z: Tensor) -> dict[str, Tensor]:
    """The loss of the gathered rows, and the gradient of the own ones."""
    mine = z.chunk(2, dim=1)[rank].clone().requires_grad_()
    loss = AF.mv_infonce(AF.gather_features(mine.transpose(0, 1), with_grad=True).transpose(0, 1), 0.2)
    loss.backward()
    return {"loss": loss.detach(), "grad": mine.grad}


def test_gathered_views_give_the_loss_and_gradient_of_one_process() -> None:
    z = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0)).double()
    whole = z.clone().requires_grad_()
    loss = AF.mv_infonce(whole, 0.2)
    loss.backward()
    ranks = run_two_processes(gathered, z)
    for result in ranks:
        torch.testing.assert_close(result["loss"], loss.detach())
    torch.testing.assert_close(torch.cat([r["grad"] for r in ranks], dim=1) / 2, whole.grad)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AF.mv_infonce(torch.zeros(1, 3, 2), 0.1), r"expected \(views ≥ 2, instances, width\)"),
        (lambda: AF.mv_infonce([torch.zeros(3, 2), torch.zeros(2, 2)], 0.1), "views have shapes"),
        (lambda: AF.mv_dhel(torch.zeros(2, 3, 2), 0.1, mask=torch.ones(3, 2)), r"mask has shape \(3, 2\)"),
        (lambda: AF.mv_dhel(torch.zeros(2, 1, 2), 0.1), "x has 1 rows"),
        (lambda: AF.poly_view_loss(torch.zeros(2, 3, 2), 0.1, kind="mean"), "kind = 'mean'"),
        (lambda: AF.nt_xent(torch.zeros(3, 2), torch.zeros(3, 2), 0.0), "temperature = 0.0"),
        (lambda: AF.split_views(torch.zeros(5, 2), 2), "z has 5 rows: expected a multiple of 2 views"),
    ],
)
def test_wrong_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_views_of_different_shapes_raise_a_shape_error() -> None:
    with pytest.raises(ShapeError):
        AF.mv_infonce([torch.zeros(3, 2), torch.zeros(3, 4)], 0.1)


@pytest.mark.parametrize("dense", [True, False])
def test_supcon_leaves_rows_out_that_are_not_present(dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not dense:
        monkeypatch.setattr("accord.functional.contrast.views.DENSE_ROWS", 0)
    z, labels = draw(8, torch.Generator().manual_seed(0)).requires_grad_(), torch.tensor([0, 0, -1, 1, 1, -1, 2, -1])
    loss = AF.supcon(z, labels, 0.2, present=labels >= 0)
    torch.testing.assert_close(loss, AF.supcon(z[labels >= 0], labels[labels >= 0], 0.2))
    (gradient,) = torch.autograd.grad(loss, z)
    assert torch.equal(gradient[labels < 0], torch.zeros(3, 5, dtype=gradient.dtype))
    nobody = AF.supcon(z, labels, 0.2, present=labels > 9)
    assert nobody == 0
    assert torch.autograd.grad(nobody, z)[0].abs().sum() == 0
    with pytest.raises(ShapeError, match="present"):
        AF.supcon(z, labels, present=labels[:3] >= 0)
