"""Volumes against float64 determinants, the reference values, and vectors that nearly or exactly coincide."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.errors import ShapeError
from accord.functional.similarity import spans
from accord.functional.similarity.volumes import (
    gram_contrastive_loss,
    gram_matrix,
    joint_scores,
    log_volume,
    score_and_cosine,
    span_distance,
    tuple_scores,
    tuple_volume,
    volume,
)
from functional.tester import Case, LossTester, every

DIM = 6
NAMES = ("anchor", "m1", "m2", "m3")


def vectors(rows: int, generator: torch.Generator) -> Tensor:
    return F.normalize(torch.randn(rows, DIM, generator=generator, dtype=torch.float64), dim=1)


def made(count: int, more: int = 1, **options: Any) -> Callable[[int, torch.Generator], dict[str, Any]]:
    """Anchor of ``rows`` and ``count - 1`` others of ``rows + more``."""

    def make(rows: int, generator: torch.Generator) -> dict[str, Any]:
        sizes = [rows] + [rows + more] * (count - 1)
        return {name: vectors(size, generator) for name, size in zip(NAMES, sizes, strict=False)} | options

    return make


def with_absent(rows: int, generator: torch.Generator) -> dict[str, Any]:
    present = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
    return made(3)(rows, generator) | {"present": present[torch.arange(rows + 1) % 4]}


def tuple_with_absent(rows: int, generator: torch.Generator) -> dict[str, Any]:
    inputs = made(4, more=0)(rows, generator)
    return inputs | {"present": (torch.arange(4) + torch.arange(rows)[:, None]) % 4 > 0}


def positional(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function with its modalities as keywords, as the tester gives them."""

    def call(**inputs: Any) -> Tensor:
        mods = [inputs.pop(name) for name in NAMES if name in inputs]
        return function(*mods, **inputs)

    return call


def gram(*mods: Tensor) -> Tensor:
    stacked = torch.stack(mods)
    return stacked @ stacked.T


def every_pair(of: Callable[..., Tensor], anchor: Tensor, others: tuple[Tensor, ...], present: Tensor | None) -> Tensor:
    rows = []
    for a in anchor:
        for j in range(len(others[0])):
            rows.append(of(a, *(x[j] for p, x in enumerate(others) if present is None or present[j, p])))
    return torch.stack(rows).view(len(anchor), -1)


def volume_reference(anchor: Tensor, *others: Tensor, present: Tensor | None = None) -> Tensor:
    return every_pair(lambda *x: torch.linalg.det(gram(*x)).sqrt(), anchor, others, present)


def distance_reference(anchor: Tensor, *others: Tensor, present: Tensor | None = None) -> Tensor:
    def distance(a: Tensor, *x: Tensor) -> Tensor:
        span = torch.stack(x, dim=1)
        return torch.linalg.vector_norm(a - span @ torch.linalg.solve(span.T @ span, span.T @ a))

    return every_pair(distance, anchor, others, present)


def log_reference(anchor: Tensor, *others: Tensor, eps: float, present: Tensor | None = None) -> Tensor:
    def regular(*x: Tensor) -> Tensor:
        return torch.linalg.det(gram(*x) + eps * torch.eye(len(x), dtype=x[0].dtype)).log() / 2

    return every_pair(regular, anchor, others, present)


def tuple_reference(*mods: Tensor, present: Tensor | None = None) -> Tensor:
    present = torch.ones(len(mods[0]), len(mods), dtype=torch.bool) if present is None else present
    tuples = [[x[b] for p, x in enumerate(mods) if present[b, p]] for b in range(len(mods[0]))]
    return torch.stack([torch.linalg.det(gram(*x)).sqrt() for x in tuples])


def cosine(anchor: Tensor, *others: Tensor, present: Tensor | None = None, **options: Any) -> Tensor:
    return score_and_cosine(anchor, *others, present=present, **options)[1]


def cosine_reference(anchor: Tensor, *others: Tensor, present: Tensor | None = None, **options: Any) -> Tensor:
    def of(a: Tensor, *x: Tensor) -> Tensor:
        mean = torch.stack([*x, torch.zeros_like(a)]).sum(dim=0)
        return a @ mean / mean.norm() if x else a @ mean

    return every_pair(of, anchor, others, present)


def sized_reference(anchor: Tensor, *others: Tensor, present: Tensor) -> Tensor:
    """The volume of those present, to the power that makes a product of as many sines of it as others could be."""
    count = present.sum(dim=1).clamp(min=1)
    return volume_reference(anchor, *others, present=present) ** (len(others) / count)


def two_to_two(rows: int, generator: torch.Generator) -> dict[str, Any]:
    """Queries of two vectors, and twice as many candidates of two, some of which lack one."""
    present = torch.tensor([[True, True], [True, False], [False, True]])
    asked = {name: vectors(rows, generator) for name in NAMES[:2]}
    found = {name: vectors(2 * rows, generator) for name in NAMES[2:]}
    return asked | found | {"present": present[torch.arange(2 * rows) % 3]}


def joint(anchor: Tensor, m1: Tensor, m2: Tensor, m3: Tensor, **options: Any) -> Tensor:
    return joint_scores([anchor, m1], [m2, m3], **options)


def joint_reference(anchor: Tensor, m1: Tensor, m2: Tensor, m3: Tensor, *, score: str, present: Tensor) -> Tensor:
    rows = []
    for i in range(len(anchor)):
        for j in range(len(m2)):
            found = [x[j] for x, here in zip((m2, m3), present[j], strict=True) if here]
            whole = torch.linalg.det(gram(anchor[i], m1[i], *found)).sqrt()
            power = 3 / (1 + len(found))
            own = torch.linalg.det(gram(*found)).sqrt()
            rows.append(
                {"volume": whole**power, "distance": (whole / own) ** power, "logvol": whole.log() * power}[score]
            )
    return torch.stack(rows).view(len(anchor), -1)


def loss_reference(*mods: Tensor, temperature: Tensor, label_smoothing: float = 0.1) -> Tensor:
    logits = -volume_reference(*mods) / temperature
    loss = logits.new_zeros(())
    for scores in (logits, logits.T):
        log_prob = scores - scores.exp().sum(dim=1, keepdim=True).log()
        loss = loss - ((1 - label_smoothing) * log_prob.diagonal() + label_smoothing * log_prob.mean(dim=1)).mean() / 2
    return loss


TEMPERATURE = torch.tensor(0.3, dtype=torch.float64)
CASES = [
    *[
        Case(f"volume of {n}", positional(volume), positional(volume_reference), made(n), NAMES[:n], rows=5)
        for n in (2, 3, 4)
    ],
    Case(
        "volume with absent modalities",
        positional(volume),
        positional(volume_reference),
        with_absent,
        NAMES[:3],
        rows=5,
    ),
    Case(
        "volume of equal size with absent modalities",
        positional(tuple_scores),
        positional(sized_reference),
        with_absent,
        NAMES[:3],
        rows=5,
    ),
    *[
        Case(
            f"{score} of pairs with pairs",
            partial(joint, score=score),
            partial(joint_reference, score=score),
            two_to_two,
            NAMES,
            rows=3,
            vmap=False,
        )
        for score in ("volume", "distance")
    ],
    Case("span_distance", positional(span_distance), positional(distance_reference), made(3), NAMES[:3], rows=5),
    Case("log_volume", positional(log_volume), positional(log_reference), made(3, eps=1e-2), NAMES[:3], rows=5),
    Case(
        "log_volume with absent modalities",
        positional(log_volume),
        positional(log_reference),
        lambda rows, generator: with_absent(rows, generator) | {"eps": 1e-3},
        NAMES[:3],
        rows=5,
        extremes=({"eps": 1e-8}, {"eps": 1e-20}),
    ),
    *[
        Case(
            f"score_and_cosine, {score}, cosine",
            positional(cosine),
            positional(cosine_reference),
            made(3, score=score),
            NAMES[:3],
            rows=5,
        )
        for score in ("volume", "logvol")
    ],
    Case(
        "score_and_cosine with absent modalities, cosine",
        positional(cosine),
        positional(cosine_reference),
        with_absent,
        NAMES[:3],
        rows=5,
    ),
    Case("tuple_volume", positional(tuple_volume), positional(tuple_reference), made(4, more=0), NAMES),
    Case(
        "tuple_volume with absent modalities",
        positional(tuple_volume),
        positional(tuple_reference),
        tuple_with_absent,
        NAMES,
    ),
    Case(
        "gram_matrix",
        positional(gram_matrix),
        lambda **inputs: torch.stack([gram(*x) for x in zip(*inputs.values(), strict=True)]),
        made(3, more=0),
        NAMES[:3],
    ),
    Case(
        "gram_contrastive_loss",
        positional(gram_contrastive_loss),
        positional(loss_reference),
        made(3, more=0, temperature=TEMPERATURE),
        (*NAMES[:3], "temperature"),
        rows=5,
        extremes=({"temperature": 0.005}, {"temperature": 1e-4}, {"score": "distance"}, {"score": "logvol"}),
    ),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


# -- reference values


def unit_leaves(x: Tensor) -> tuple[Tensor, list[Tensor]]:
    raw = x.clone().requires_grad_()
    return raw, list(F.normalize(raw, dim=2))


@pytest.mark.parametrize("n", [2, 4, 6])
def test_volumes_and_gradients_equal_the_reference_values(golden: Callable[[str], dict[str, Tensor]], n: int) -> None:
    arrays = golden("gram")
    raw, mods = unit_leaves(arrays[f"v{n}_x"])
    value = volume(*mods)
    (value * arrays[f"v{n}_probe"]).sum().backward()
    torch.testing.assert_close(value.detach(), arrays[f"v{n}_volume"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(raw.grad, arrays[f"v{n}_grad"], rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_loss_equals_the_reference_values(golden: Callable[[str], dict[str, Tensor]], n: int) -> None:
    arrays = golden("gram")
    raw, mods = unit_leaves(arrays[f"l{n}_s_x"])
    temperature = torch.tensor(0.07, requires_grad=True)
    loss = gram_contrastive_loss(*mods, temperature=temperature)
    loss.backward()
    torch.testing.assert_close(loss.detach(), arrays[f"l{n}_s_loss"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(raw.grad, arrays[f"l{n}_s_grad"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(temperature.grad, arrays[f"l{n}_s_grad_temp"], rtol=1e-4, atol=3e-5)


# -- vectors that nearly coincide


def determinant_volume(*mods: Tensor) -> Tensor:
    """The released way, for the tuples (i, i)."""
    stacked = torch.stack(mods, dim=1)
    return torch.linalg.det(stacked @ stacked.mT).abs().sqrt()


def at_angle(angle: float, order: tuple[int, ...], rows: int = 16) -> list[Tensor]:
    """Two unit vectors at an angle and, where ``order`` names it, a third one; float32."""
    generator = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(rows, 32, 3, generator=generator, dtype=torch.float64))
    x, y, z = q.unbind(dim=2)
    near = torch.cos(torch.tensor(angle)) * x + torch.sin(torch.tensor(angle)) * y
    return [(x, near, (x + z) / 2**0.5)[place].float() for place in order]


@pytest.mark.parametrize("angle", [1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("order", [(0, 1), (0, 1, 2), (2, 0, 1), (0, 2, 1)])
def test_small_volumes_are_more_exact_than_by_determinants(angle: float, order: tuple[int, ...]) -> None:
    mods = at_angle(angle, order)
    exact = determinant_volume(*(x.double() for x in mods))
    ours = ((volume(*mods).diagonal() - exact) / exact).abs().max()
    tuples = ((tuple_volume(*mods) - exact) / exact).abs().max()
    released = ((determinant_volume(*mods) - exact) / exact).abs().max()
    assert max(ours, tuples) < 1e-6 < released


@pytest.mark.parametrize("angle", [1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("order", [(0, 1), (0, 1, 2), (2, 0, 1)])
def test_gradients_of_small_volumes_are_more_exact_than_by_determinants(angle: float, order: tuple[int, ...]) -> None:
    mods = [x.requires_grad_() for x in at_angle(angle, order)]
    double = [x.detach().double().requires_grad_() for x in mods]
    exact, ours, released = (
        torch.stack([g.double() for g in torch.autograd.grad(value.sum(), leaves)])
        for value, leaves in (
            (determinant_volume(*double), double),
            (volume(*mods).diagonal(), mods),
            (determinant_volume(*mods), mods),
        )
    )
    error = (ours - exact).norm() / exact.norm()
    assert error < 1e-3
    assert error < (released - exact).norm() / exact.norm() / 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("order", [(0, 0), (0, 0, 1), (1, 0, 0), (0, 0, 0), (0, 1, 0, 1)])
def test_coinciding_vectors_have_volume_zero_and_no_gradient(order: tuple[int, ...], dtype: torch.dtype) -> None:
    x = F.normalize(torch.randn(2, 5, 512, generator=torch.Generator().manual_seed(0)), dim=2).to(dtype)
    mods = [x[place].clone().requires_grad_() for place in order]
    for value in (volume(*mods).diagonal(), tuple_volume(*mods)):
        assert (value == 0).all()
        grads = torch.autograd.grad(value.sum(), mods, materialize_grads=True)
        assert all((grad == 0).all() for grad in grads)


def test_zero_vectors_and_more_vectors_than_dimensions_have_volume_zero() -> None:
    mods = [torch.randn(4, 2, generator=torch.Generator().manual_seed(i)).requires_grad_() for i in range(3)]
    zero = torch.zeros(4, 2, requires_grad=True)
    for inputs in (mods, [zero, mods[0]], [mods[0], zero]):
        value = volume(*inputs)
        assert (value == 0).all()
        assert all(g.isfinite().all() for g in torch.autograd.grad(value.sum(), inputs))


def test_log_volume_of_coinciding_vectors_is_finite_and_pushes_nothing_to_infinity() -> None:
    x = F.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), dim=1).requires_grad_()
    value = log_volume(x, x, x, eps=1e-8)
    grad = torch.autograd.grad(value.sum(), x)[0]
    assert value.isfinite().all()
    assert grad.isfinite().all()
    torch.testing.assert_close(value.diagonal(), torch.full((5,), 0.5 * torch.log(torch.tensor(3e-16)).item()))


# -- properties


@given(seed=st.integers(0, 1000), n=st.integers(2, 4))
@settings(max_examples=20, deadline=None)
def test_order_signs_and_rotations_do_not_change_a_volume_and_lengths_scale_it(seed: int, n: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mods = [vectors(5, generator) for _ in range(n)]
    value = tuple_volume(*mods)
    rotation, _ = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator, dtype=torch.float64))
    order = torch.randperm(n, generator=generator).tolist()
    torch.testing.assert_close(tuple_volume(*(mods[i] for i in order)), value)
    torch.testing.assert_close(tuple_volume(-mods[0], *mods[1:]), value)
    torch.testing.assert_close(tuple_volume(*(x @ rotation for x in mods)), value)
    torch.testing.assert_close(tuple_volume(3 * mods[0], *mods[1:]), 3 * value)
    torch.testing.assert_close(volume(*mods).diagonal(), value)
    assert ((value >= 0) & (value <= 1 + 1e-12)).all()


def test_the_volume_is_the_size_of_the_tuple_times_the_distance_to_its_span() -> None:
    anchor, *others = (vectors(5, torch.Generator().manual_seed(i)) for i in range(3))
    torch.testing.assert_close(volume(anchor, *others), tuple_volume(*others) * span_distance(anchor, *others))


def test_of_two_the_volume_is_the_sine_and_small_eps_leaves_its_logarithm() -> None:
    x, y = (vectors(5, torch.Generator().manual_seed(i)) for i in range(2))
    torch.testing.assert_close(volume(x, y), (1 - (x @ y.T).square()).sqrt())
    torch.testing.assert_close(log_volume(x, y, eps=1e-12), volume(x, y).log(), rtol=0, atol=1e-8)


def test_a_tuple_whose_own_vectors_nearly_coincide_is_a_hub_for_volumes_but_not_for_distances() -> None:
    anchor = vectors(20, torch.Generator().manual_seed(0))
    x, y = (vectors(20, torch.Generator().manual_seed(i)) for i in (1, 2))
    y[0] = F.normalize(x[0] + 1e-3 * y[0], dim=0)
    assert (volume(anchor, x, y).argmin(dim=1) == 0).all()
    assert (span_distance(anchor, x, y).argmin(dim=1) == 0).float().mean() < 0.5


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_tiles_of_any_size_give_the_same_values_and_gradients(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    mods = [vectors(7, torch.Generator().manual_seed(i)).requires_grad_() for i in range(3)]
    results = []
    for smallest in (256, rows):
        monkeypatch.setattr(spans, "SMALLEST_TILE", smallest)
        monkeypatch.setattr(spans, "TILE_ELEMENTS", 1)
        value = volume(*mods)
        results.append((value, *torch.autograd.grad(value.sin().sum(), mods)))
    torch.testing.assert_close(results[0], results[1])


def test_second_derivatives_are_right() -> None:
    mods = tuple(vectors(3, torch.Generator().manual_seed(i)).requires_grad_() for i in range(3))
    assert torch.autograd.gradgradcheck(lambda *x: volume(*x).pow(2), mods)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("score", ["volume", "distance", "logvol"])
def test_scores_beside_cosines_are_those_without_and_both_gradients_add_up(score: Any, dtype: torch.dtype) -> None:
    measure = {"volume": volume, "distance": span_distance, "logvol": log_volume}[score]
    mods = [vectors(5, torch.Generator().manual_seed(i)).to(dtype).requires_grad_() for i in range(3)]
    weights = [vectors(5, torch.Generator().manual_seed(3 + i))[:, :5].to(dtype) for i in range(2)]
    scores, cosines = score_and_cosine(*mods, score=score)
    together = torch.autograd.grad((scores * weights[0] + cosines * weights[1]).sum(), mods)
    apart = torch.autograd.grad((measure(*mods) * weights[0] + cosine_reference(*mods) * weights[1]).sum(), mods)
    torch.testing.assert_close(scores, measure(*mods))
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("angle", [1e-1, 1e-3, 1e-5, 0.0])
def test_cosines_with_the_mean_of_nearly_equal_vectors_keep_their_gradient(angle: float) -> None:
    anchor, first, off = (vectors(6, torch.Generator().manual_seed(i)).float() for i in range(3))
    mods = [x.requires_grad_() for x in (anchor, first, F.normalize(first + angle * off, dim=1))]
    expected = torch.autograd.grad(cosine_reference(*mods).square().sum(), mods)
    torch.testing.assert_close(torch.autograd.grad(cosine(*mods).square().sum(), mods), expected)


def test_a_tuple_of_opposite_vectors_has_no_direction() -> None:
    x = vectors(4, torch.Generator().manual_seed(0)).float().requires_grad_()
    value = cosine(x, x, 1e-7 * x.roll(1, 0) - x)
    assert (value == 0).all()
    assert (torch.autograd.grad(value.sum(), x)[0] == 0).all()


def test_second_derivatives_of_cosines_beside_scores_are_right() -> None:
    mods = tuple(vectors(3, torch.Generator().manual_seed(i)).requires_grad_() for i in range(3))
    assert torch.autograd.gradgradcheck(lambda *x: sum(part.square() for part in score_and_cosine(*x)), mods)


def test_smaller_volumes_of_the_matching_tuples_make_a_smaller_loss() -> None:
    x = vectors(6, torch.Generator().manual_seed(0))
    near = F.normalize(x + 0.1 * vectors(6, torch.Generator().manual_seed(1)), dim=1)
    for score in ("volume", "distance", "logvol"):
        matched = gram_contrastive_loss(x, near, temperature=0.07, score=score)
        assert matched < gram_contrastive_loss(x, near.roll(1, 0), temperature=0.07, score=score)


# -- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: volume(torch.ones(2, 3)), "got no modality"),
        (lambda: tuple_volume(), "got no modality"),
        (lambda: volume(torch.ones(2, 3), torch.ones(2, 4)), "others has shape"),
        (lambda: volume(torch.ones(2, 3), torch.ones(2, 3), torch.ones(4, 3)), "modality 1 has shape"),
        (lambda: volume(torch.ones(2, 3), torch.ones(2, 3), present=torch.ones(2, 2).bool()), "present has shape"),
        (lambda: gram_contrastive_loss(torch.ones(2, 3), torch.ones(4, 3), temperature=0.1), r"others\[0\] has shape"),
    ],
)
def test_a_wrong_shape_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call()


def test_a_wrong_option_is_refused() -> None:
    x = torch.eye(3)
    with pytest.raises(ValueError, match="score = 'det': expected one of volume, distance, logvol"):
        gram_contrastive_loss(x, x, temperature=0.1, score="det")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="temperature = 0"):
        gram_contrastive_loss(x, x, temperature=0.0)
    with pytest.raises(ValueError, match="eps = 0"):
        log_volume(x, x, eps=0.0)
    with pytest.raises(ValueError, match="present has type"):
        volume(x, x, present=torch.ones(3, 1))


@pytest.mark.parametrize(
    "share", [pytest.param(1, id="one pair in 64"), pytest.param(8, id="one in 8"), pytest.param(64, id="all")]
)
@pytest.mark.parametrize("tuples", ["apart", "nearly the same"])
def test_few_or_many_pairs_near_the_span_keep_their_digits_in_single_precision(share: int, tuples: str) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second, off = (F.normalize(torch.randn(64, 48, generator=generator), dim=1) for _ in range(3))
    if tuples == "nearly the same":
        second[:3] = F.normalize(first[:3] + 1e-3 * second[:3], dim=1)
    angle = torch.logspace(-3, -1, 64)[:, None]
    anchor = F.normalize(torch.randn(64, 48, generator=generator), dim=1)
    anchor[:share] = F.normalize(first[:share] + angle[:share] * off[:share], dim=1)
    leaves = [x.clone().requires_grad_() for x in (anchor, first, second)]
    exact = [x.double().requires_grad_() for x in (anchor, first, second)]
    for function in (volume, span_distance):
        got, want = function(*leaves), function(*exact)
        assert ((got - want).abs() / want).max() < 2e-5
        grads = [torch.autograd.grad(value.sum(), inputs) for value, inputs in ((got, leaves), (want, exact))]
        for mine, true in zip(*grads, strict=True):
            torch.testing.assert_close(mine.double(), true, rtol=1e-3, atol=1e-3 * float(true.abs().max()))


def test_a_few_dependent_pairs_among_many_have_no_volume_and_no_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second, anchor = (F.normalize(torch.randn(64, 48, generator=generator), dim=1) for _ in range(3))
    anchor[5] = first[5]
    anchor.requires_grad_()
    value = volume(anchor, first, second)
    assert value[5, 5] == 0
    assert (value > 0).sum() == value.numel() - 1
    assert torch.autograd.grad(value[5, 5], anchor)[0].abs().sum() == 0


def test_the_logarithm_of_a_joint_volume_is_that_of_the_volume_and_stays_finite() -> None:
    inputs = two_to_two(3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        joint(**inputs, score="logvol"), joint_reference(**inputs, score="logvol"), atol=1e-5, rtol=1e-5
    )
    same = torch.ones(2, DIM) / DIM**0.5
    assert joint_scores([same, same], [same, same], "logvol").isfinite().all()


def test_one_vector_against_a_tuple_is_its_anchor_on_either_side() -> None:
    x, y, z = (vectors(4, torch.Generator().manual_seed(seed)) for seed in range(3))
    for score in ("volume", "distance", "logvol"):
        there = tuple_scores(x, y, z, score=score)
        torch.testing.assert_close(joint_scores([x], [y, z], score), there)
        torch.testing.assert_close(joint_scores([y, z], [x], score), there.T)
    with pytest.raises(ValueError, match="score = 'area'"):
        joint_scores([x, y], [y, z], "area")
    with pytest.raises(ShapeError):
        joint_scores([x, y], [y[:, 1:], z[:, 1:]])
