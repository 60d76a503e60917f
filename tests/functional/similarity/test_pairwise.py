"""Gates, kernels, attention and hard negatives against loops, the reference values, and their named traps."""

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
from accord.functional.engine import contrastive_loss, row_normalize
from accord.functional.similarity.pairwise import (
    gate_entropy,
    gated_similarity,
    hard_negative_weights,
    matching_pairs,
    pair_masks,
    pairwise_cosine_similarity,
    sample_hard_negatives,
    sample_partners,
    similarity_weights,
    stacked_cross_attention,
)
from functional.tester import Case, LossTester, every

DIM = 5


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def gated(rows: int, generator: torch.Generator) -> dict[str, Any]:
    inputs = {"z": normal(rows, DIM, generator=generator), "k": normal(rows + 2, DIM, generator=generator)}
    return inputs | {"gate": normal(rows, DIM, generator=generator).sigmoid()}


def subspace_reference(z: Tensor, k: Tensor, gate: Tensor) -> Tensor:
    return torch.stack(
        [torch.stack([F.cosine_similarity(g * a, g * b, dim=0) for b in k]) for a, g in zip(z, gate, strict=True)]
    )


def squared_reference(z: Tensor, k: Tensor, gate: Tensor) -> Tensor:
    rows = [[(g * a / a.norm()) @ (g * b / b.norm()) for b in k] for a, g in zip(z, gate, strict=True)]
    return torch.stack([torch.stack(row) for row in rows])


def attention_reference(query: Tensor, context: Tensor, query_mask: Tensor, smooth: float = 9.0) -> Tensor:
    result = torch.zeros_like(query)
    for b in range(len(query)):
        words = query[b][query_mask[b]]
        affinity = context[b] @ words.T  # regions, words
        affinity = torch.where(affinity > 0, affinity, 0.1 * affinity)
        affinity = affinity / (affinity.square().sum(dim=1, keepdim=True).sqrt() + 1e-8)
        weight = (smooth * affinity).exp()
        mixed = (weight / weight.sum(dim=0)).T @ context[b]
        result[b, query_mask[b]] = mixed / (mixed.square().sum(dim=1, keepdim=True).sqrt() + 1e-8)
    return result


def attending(rows: int, generator: torch.Generator) -> dict[str, Any]:
    query, context = (F.normalize(normal(rows, n, DIM, generator=generator), dim=2) for n in (4, 3))
    return {"query": query, "context": context, "query_mask": torch.arange(4) <= (torch.arange(rows) % 4)[:, None]}


CASES = [
    Case(
        "pairwise_cosine_similarity",
        pairwise_cosine_similarity,
        lambda a, b: torch.stack([F.cosine_similarity(x, b) for x in a]),
        lambda rows, g: {"a": normal(rows, DIM, generator=g), "b": normal(rows + 1, DIM, generator=g)},
        ("a", "b"),
    ),
    Case("gated_similarity", gated_similarity, subspace_reference, gated, ("z", "k", "gate")),
    Case(
        "gated_similarity squared",
        lambda **inputs: gated_similarity(**inputs, mode="squared"),
        squared_reference,
        gated,
        ("z", "k", "gate"),
    ),
    Case(
        "gate_entropy",
        gate_entropy,
        lambda gate: -(gate * gate.log() + (1 - gate) * (1 - gate).log()).mean(),
        lambda rows, g: {"gate": normal(rows, DIM, generator=g).sigmoid()},
        ("gate",),
    ),
    Case(
        "stacked_cross_attention",
        stacked_cross_attention,
        attention_reference,
        attending,
        ("query", "context"),
        extremes=({"smooth": 1e4},),
    ),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


# -- gates


def test_the_squared_gate_loss_equals_the_reference_values(golden: Callable[[str], dict[str, Tensor]]) -> None:
    prefix = "disparate_loss_gate_squared."
    arrays = {name.removeprefix(prefix): x for name, x in golden("hydra_pairs").items() if name.startswith(prefix)}
    leaves = [arrays[f"in.{name}"].clone().requires_grad_() for name in ("z", "keys", "gate")]
    logits = gated_similarity(*leaves, mode="squared") / 0.1
    positive, negative = pair_masks(arrays["in.y1"], arrays["in.y2"], arrays["in.y1"])
    loss = contrastive_loss(logits, positive, negative, denominator="own", reduction="pair")
    loss.backward()
    torch.testing.assert_close(loss.detach(), arrays["out.loss"], rtol=1e-5, atol=1e-6)
    for leaf, name in zip(leaves, ("z", "keys", "gate"), strict=True):
        torch.testing.assert_close(leaf.grad, arrays[f"out.grad_{name}"], rtol=1e-5, atol=1e-6)


@given(seed=st.integers(0, 1000), power=st.sampled_from([-22, -12, 0, 12]))
@settings(max_examples=25, deadline=None)
def test_the_subspace_cosine_ignores_every_scale_and_the_squared_gate_only_those_of_vectors(
    seed: int, power: int
) -> None:
    inputs = {name: x.float() for name, x in gated(5, torch.Generator().manual_seed(seed)).items()}
    scaled = {"z": 10.0**power * inputs["z"], "k": 10.0**-3 * inputs["k"], "gate": inputs["gate"]}
    small = scaled | {"gate": 10.0**power * inputs["gate"]}
    subspace, squared = gated_similarity(**inputs), gated_similarity(**inputs, mode="squared")
    if power > -12:  # below, a vector counts as zero, as in F.normalize
        torch.testing.assert_close(gated_similarity(**scaled), subspace)
        torch.testing.assert_close(gated_similarity(**scaled, mode="squared"), squared)
    torch.testing.assert_close(gated_similarity(inputs["z"], inputs["k"], small["gate"]), subspace)
    half = gated_similarity(inputs["z"], inputs["k"], inputs["gate"] / 2, mode="squared")
    torch.testing.assert_close(half, squared / 4)


def test_open_gates_give_the_cosine_and_closed_ones_zero_without_gradient() -> None:
    inputs = {name: x.float() for name, x in gated(5, torch.Generator().manual_seed(0)).items()}
    cosine = pairwise_cosine_similarity(inputs["z"], inputs["k"])
    for mode in ("subspace", "squared"):
        torch.testing.assert_close(gated_similarity(**(inputs | {"gate": torch.ones(5, DIM)}), mode=mode), cosine)
        leaves = [inputs["z"].requires_grad_(), inputs["k"].requires_grad_(), torch.zeros(5, DIM, requires_grad=True)]
        value = gated_similarity(*leaves, mode=mode)
        assert (value == 0).all()
        assert all((grad == 0).all() for grad in torch.autograd.grad(value.sum(), leaves))


def test_a_vector_without_anything_in_the_open_dimensions_stays_finite() -> None:
    z, gate = torch.eye(3)[:2].requires_grad_(), torch.tensor([[1.0, 0.0, 1.0]] * 2, requires_grad=True)
    value = gated_similarity(z, torch.eye(3), gate)
    assert value.tolist() == [[1, 0, 0], [0, 0, 0]]
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(value.sum(), (z, gate)))


def test_decided_gates_have_no_entropy_and_undecided_ones_the_most() -> None:
    gate = torch.tensor([0.0, 1.0, 1e-38], requires_grad=True)
    value = gate_entropy(gate)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert gate.grad is not None
    assert gate.grad.isfinite().all()
    assert gate_entropy(torch.full((2, 3), 0.5)).item() == pytest.approx(math.log(2))
    logits = torch.tensor([200.0, -200.0], requires_grad=True)
    gate_entropy(logits.sigmoid()).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


# -- pairs of classes


@given(seed=st.integers(0, 1000), classes=st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_partners_are_permuted_equal_or_different_and_reproducible(seed: int, classes: int) -> None:
    y = torch.randint(classes, (40,), generator=torch.Generator().manual_seed(seed))
    for mode in ("arbitrary", "identical", "distinct"):
        first, again = (sample_partners(y, mode, classes, torch.Generator().manual_seed(seed)) for _ in range(2))
        assert torch.equal(first, again)
        assert ((first >= 0) & (first < classes)).all()
        if mode == "distinct":
            assert (first != y).all()
        else:
            assert torch.equal(first.sort().values, y.sort().values)
    assert torch.equal(sample_partners(y, "identical"), y)


def test_distinct_partners_are_uniform_over_the_other_classes() -> None:
    y = torch.full((6000,), 2)
    share = sample_partners(y, "distinct", 4, torch.Generator().manual_seed(0)).bincount(minlength=4) / len(y)
    torch.testing.assert_close(share, torch.tensor([1 / 3, 1 / 3, 0.0, 1 / 3]), atol=0.03, rtol=0)


def test_pair_masks_take_the_partner_class_and_ignore_the_own() -> None:
    y1, y2, keys = torch.tensor([0, 0, 1]), torch.tensor([1, 0, 2]), torch.tensor([0, 1, 2, 0])
    positive, negative = pair_masks(y1, y2, keys)
    for i in range(3):
        for j in range(4):
            assert positive[i, j] == (keys[j] == y2[i])
            assert negative[i, j] == (keys[j] not in (y1[i], y2[i]))


def test_an_anchor_can_be_kept_from_being_its_own_positive() -> None:
    y = torch.tensor([0, 1, 0])
    positive, _ = pair_masks(y, y, y, exclude_self=True)
    assert positive.tolist() == [[False, False, True], [False, False, False], [True, False, False]]
    assert pair_masks(y, y, y)[0].diagonal().all()


# -- weights of soft targets


def test_the_affine_weights_give_the_reference_loss(golden: Callable[[str], dict[str, Tensor]]) -> None:
    arrays = golden("cwcl")
    logits = arrays["log_inv_tau"].exp() * arrays["anchor"] @ arrays["other"].T
    soft = row_normalize(similarity_weights(arrays["ref_single"]))
    loss = contrastive_loss(logits, soft) + contrastive_loss(logits, direction="columns")
    torch.testing.assert_close(loss, arrays["loss_single"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kernel", ["affine", "exp", "topk", "rbf"])
@pytest.mark.parametrize("channels", [None, 3])
def test_weights_equal_the_loop_lie_in_0_1_and_carry_no_gradient(kernel: str, channels: int | None) -> None:
    shape = (6, DIM) if channels is None else (6, channels, DIM)
    ref = normal(*shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    options = {"affine": {}, "exp": {"temperature": 0.2}, "topk": {"k": 3}, "rbf": {"temperature": 1.7}}[kernel]
    weight = similarity_weights(ref, kernel, **options)
    x = ref.detach().view(6, -1, DIM)
    for i in range(6):
        cosine = F.cosine_similarity(x[i][None], x, dim=2).mean(dim=1)
        square = (x[i] - x).square().sum(dim=2).mean(dim=1)
        wanted = {"exp": ((cosine - 1) / 0.2).exp(), "rbf": (-square / 3.4).exp()}.get(kernel, cosine / 2 + 0.5)
        if kernel == "topk":
            wanted = wanted * (wanted >= wanted.sort().values[-3])
        torch.testing.assert_close(weight[i], wanted)
    assert not weight.requires_grad
    assert ((weight >= 0) & (weight <= 1)).all()
    assert (weight.diagonal() == 1).all()


def test_top_k_keeps_the_item_itself_even_among_duplicates_and_takes_the_sharper_kernel_if_given() -> None:
    ref = torch.ones(4, 3)
    weight = similarity_weights(ref, "topk", k=2)
    assert (weight.diagonal() == 1).all()
    assert (weight.count_nonzero(dim=1) == 2).all()
    ref = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    sharp = similarity_weights(ref, "topk", temperature=0.3, k=4)
    torch.testing.assert_close(sharp, similarity_weights(ref, "exp", temperature=0.3))
    assert similarity_weights(ref[:1], "topk", k=1).tolist() == [[1.0]]


def test_weights_of_zero_rows_and_of_low_temperatures_are_finite_and_half_precision_is_widened() -> None:
    ref = torch.cat([torch.zeros(1, 4), torch.randn(3, 4, generator=torch.Generator().manual_seed(0))])
    for weight in (similarity_weights(ref), similarity_weights(ref, "exp", temperature=1e-4)):
        assert weight.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        assert similarity_weights(ref.bfloat16()).dtype == torch.float32


# -- attention


def test_cross_attention_equals_the_reference_values(golden: Callable[[str], dict[str, Tensor]]) -> None:
    arrays = golden("pc2")
    got = stacked_cross_attention(arrays["scan_attention.in.query"], arrays["scan_attention.in.context"], smooth=9.0)
    torch.testing.assert_close(got, arrays["scan_attention.out.attended"], rtol=1e-5, atol=1e-6)


def test_padding_words_take_no_part_in_the_attention() -> None:
    inputs = attending(6, torch.Generator().manual_seed(0))
    noisy = inputs["query"].masked_fill(~inputs["query_mask"][..., None], 7.0)
    torch.testing.assert_close(
        stacked_cross_attention(**(inputs | {"query": noisy})), stacked_cross_attention(**inputs)
    )


# -- hard negatives


def test_weights_of_hard_negatives_equal_the_reference_values(golden: Callable[[str], dict[str, Tensor]]) -> None:
    arrays = golden("gram")
    logits = -arrays["neg_volume_over_temp"]
    for own in (torch.arange(len(logits)), torch.eye(len(logits), dtype=torch.bool)):
        torch.testing.assert_close(hard_negative_weights(logits, own), arrays["neg_weights"], rtol=1e-5, atol=1e-7)


def test_negatives_are_drawn_in_proportion_to_their_weights() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, 5.0]]).expand(8000, 4)
    own = torch.full((8000,), 3)
    drawn = sample_hard_negatives(logits, own, generator=torch.Generator().manual_seed(0))
    share = drawn.bincount(minlength=4) / len(drawn)
    weight = hard_negative_weights(logits[:1], own[:1])[0]
    torch.testing.assert_close(share, weight / weight.sum(), atol=0.02, rtol=0)
    again = sample_hard_negatives(logits, own, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)


@given(seed=st.integers(0, 1000), scale=st.sampled_from([1.0, 1e4]), floor=st.sampled_from([0.0, 1e-4]))
@settings(max_examples=25, deadline=None)
def test_an_excluded_candidate_is_never_drawn(seed: int, scale: float, floor: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(6, 6, generator=generator)
    exclude = (torch.rand(6, 6, generator=generator) < 0.5) | torch.eye(6, dtype=torch.bool)
    exclude[:, 0], exclude[0, :2] = False, torch.tensor([True, False])
    drawn = sample_hard_negatives(logits, exclude, floor, generator)
    assert not exclude[torch.arange(6), drawn].any()
    assert (sample_hard_negatives(logits, torch.arange(6), floor, generator) != torch.arange(6)).all()


def test_matching_pairs_give_each_side_a_wrong_partner_from_its_own_direction() -> None:
    x_to_y, y_to_x = torch.zeros(3, 3), torch.zeros(3, 3)
    x_to_y[:, 2], x_to_y[2, 0] = 1e4, 1e5  # every x is drawn to y 2, and x 2 to y 0
    y_to_x[:, 1], y_to_x[1, 2] = 1e4, 1e5
    x, y, together = matching_pairs(x_to_y, y_to_x, torch.arange(3), floor=0.0)
    assert together.tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert x.tolist() == [0, 1, 2, 0, 1, 2, 1, 2, 1]
    assert y.tolist() == [0, 1, 2, 2, 2, 0, 0, 1, 2]


def test_with_nothing_left_the_draw_is_uniform_over_the_others() -> None:
    sure = torch.tensor([[1e4, 0.0, 0.0]])  # softmax leaves exactly 0 for the others
    assert hard_negative_weights(sure, torch.tensor([0]), floor=0.0).tolist() == [[0, 1, 1]]
    everything = torch.ones(2, 3, dtype=torch.bool)
    assert hard_negative_weights(torch.zeros(2, 3), everything).tolist() == [[0, 1, 1], [1, 0, 1]]


# -- errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: gated_similarity(x, x, x[:2]), ShapeError, "gate has shape"),
        (lambda x: gated_similarity(x, x[:, :2], x), ShapeError, "k has shape"),
        (lambda x: gated_similarity(x, x, x, mode="cosine"), ValueError, "mode = 'cosine': expected one of subspace"),
        (lambda x: sample_partners(x, "identical"), ShapeError, "y has shape"),
        (lambda x: sample_partners(x[0], "random"), ValueError, "mode = 'random': expected one of arbitrary"),
        (lambda x: sample_partners(x[0].long(), "distinct"), ValueError, "num_classes = None: expected at least 2"),
        (lambda x: sample_partners(x[0].long(), "distinct", 1), ValueError, "num_classes = 1: expected at least 2"),
        (lambda x: pair_masks(x[0], x[0, :2], x[0]), ShapeError, "y2 has shape"),
        (lambda x: pair_masks(x[0], x[0], x[0, :2], exclude_self=True), ShapeError, "y_keys has shape"),
        (lambda x: similarity_weights(x[0]), ShapeError, "ref has shape"),
        (lambda x: similarity_weights(x, "cosine"), ValueError, "kernel = 'cosine': expected one of affine"),
        (lambda x: similarity_weights(x, "topk"), ValueError, r"k = 0: expected an integer in \[1, 3\]"),
        (lambda x: similarity_weights(x, "rbf"), ValueError, "temperature = None"),
        (lambda x: similarity_weights(x, "exp", temperature=0.0), ValueError, "temperature = 0"),
        (lambda x: stacked_cross_attention(x[None], x[None, :, :2]), ShapeError, "context has shape"),
        (lambda x: stacked_cross_attention(x[None], x[None], smooth=0.0), ValueError, "smooth = 0"),
        (lambda x: hard_negative_weights(x, torch.arange(2)), ShapeError, "own_index has shape"),
        (lambda x: hard_negative_weights(x, x), ValueError, "own_index has type"),
        (lambda x: hard_negative_weights(x[:, :1], torch.arange(3)), ShapeError, "expected at least two candidates"),
        (lambda x: hard_negative_weights(x, torch.arange(3), floor=-1.0), ValueError, "floor = -1.0"),
    ],
)
def test_a_wrong_argument_is_named(call: Callable[[Tensor], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(torch.ones(3, 3))
