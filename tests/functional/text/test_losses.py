"""Text losses, pseudo-labels, masking, spans and captions."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import RandomState
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import (
    append_class_token_mask,
    binary_nce,
    caption_loss,
    caption_nll,
    cline_sentence_loss,
    contrastive_tension_loss,
    electric_nce_logits,
    info_nce,
    mlm_mask,
    pool,
    pseudo_labels,
    sample_spans,
    simcse_loss,
    token_mean,
    uncertainty_weighted,
)
from accord.functional.text import captions
from functional.tester import Case, LossTester, every
from two_processes import run_two_processes

DIM = 5


def draw(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / (a.norm() * b.norm())


# -- references


def simcse_reference(
    z1: Tensor,
    z2: Tensor,
    hard: Tensor | None = None,
    temperature: float = 0.05,
    hard_log_weight: float = 0.0,
    symmetric: bool = False,
) -> Tensor:
    losses = []
    for i, anchor in enumerate(z1):
        logits = [cosine(anchor, other) / temperature for other in z2]
        if hard is not None:
            logits += [cosine(anchor, h) / temperature + hard_log_weight * (i == j) for j, h in enumerate(hard)]
        losses.append(torch.logsumexp(torch.stack(logits), 0) - logits[i])
    rows = torch.stack(losses).mean()
    return (rows + simcse_reference(z2, z1, temperature=temperature)) / 2 if symmetric else rows


def bce(score: Tensor, label: Tensor) -> Tensor:
    prob = 1 / (1 + torch.exp(-score))
    return -(label * prob.log() + (1 - label) * (1 - prob).log())


def tension_reference(e1: Tensor, e2: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    each = torch.stack([bce(a @ b, y) for a, b, y in zip(e1, e2, labels, strict=True)])
    return each.mean() if reduction == "mean" else each.sum()


def cline_reference(orig: Tensor, syn: Tensor, ant: Tensor) -> Tensor:
    right = [bce((a * b).mean(), torch.tensor(1.0)) for a, b in zip(orig, syn, strict=True)]
    wrong = [bce((a * b).mean(), torch.tensor(0.0)) for a, b in zip(orig, ant, strict=True)]
    return torch.stack(right + wrong).mean()


def weighted_reference(losses: Tensor, log_vars: Tensor) -> Tensor:
    parts = [loss * torch.exp(-s) + torch.maximum(s, s * 0) for loss, s in zip(losses, log_vars, strict=True)]
    return torch.stack(parts).sum()


def nce_reference(scores: Tensor, targets: Tensor, pos_weight: Tensor, mask: Tensor) -> Tensor:
    kept = [
        bce(scores[i, k], targets[i, k]) * (pos_weight[k] if targets[i, k] else 1)
        for i in range(len(scores))
        for k in range(scores.shape[1])
        if mask[i, k]
    ]
    return torch.stack(kept).mean()


def caption_reference(
    logits: Tensor, ids: Tensor, pad_id: int, already_shifted: bool = False, label_smoothing: float = 0.0
) -> Tensor:
    losses = []
    for b in range(len(ids)):
        for t in range(ids.shape[1] - (not already_shifted)):
            wanted = int(ids[b, t] if already_shifted else ids[b, t + 1])
            log_prob = logits[b, t] - torch.logsumexp(logits[b, t], 0)
            loss = -(1 - label_smoothing) * log_prob[wanted] - label_smoothing * log_prob.mean()
            losses += [loss] if wanted != pad_id else []
    return torch.stack(losses).mean()


def pool_reference(hidden: Tensor, mask: Tensor) -> Tensor:
    return torch.stack([row[keep.bool()].mean(dim=0) for row, keep in zip(hidden, mask, strict=True)])


# -- inputs


def sentences(rows: int, generator: torch.Generator) -> dict[str, Any]:
    made: dict[str, Any] = {name: draw(rows, DIM, generator=generator) for name in ("z1", "z2")}
    return made | {"temperature": 0.2}


def contradictions(rows: int, generator: torch.Generator) -> dict[str, Any]:
    made = sentences(rows, generator)
    return made | {"hard": draw(rows, DIM, generator=generator), "hard_log_weight": 0.7, "symmetric": True}


def encoded(rows: int, generator: torch.Generator) -> dict[str, Any]:
    made: dict[str, Any] = {name: draw(rows, DIM, generator=generator) for name in ("e1", "e2")}
    return made | {"labels": torch.arange(rows) % 3 // 2}


def versions(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {name: draw(rows, DIM, generator=generator) for name in ("orig", "syn", "ant")}


def tasks(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"losses": draw(rows, generator=generator).exp(), "log_vars": draw(rows, generator=generator)}


def scored(rows: int, generator: torch.Generator) -> dict[str, Any]:
    place = torch.arange(rows)[:, None] + torch.arange(4)
    made: dict[str, Any] = {"scores": 3 * draw(rows, 4, generator=generator), "targets": (place % 2).double()}
    return made | {"mask": place % 3 > 0, "pos_weight": draw(4, generator=generator).exp()}


def captioned(rows: int, generator: torch.Generator) -> dict[str, Any]:
    ids = torch.randint(1, 6, (rows, 4), generator=generator)
    ids[::2, -1] = 0
    return {"logits": 2 * draw(rows, 4, 6, generator=generator), "ids": ids, "pad_id": 0, "label_smoothing": 0.1}


def hidden_states(rows: int, generator: torch.Generator) -> dict[str, Any]:
    mask = torch.arange(4) <= torch.arange(rows)[:, None] % 4
    return {"hidden": draw(rows, 4, DIM, generator=generator), "mask": mask.int()}


def energies(rows: int, generator: torch.Generator) -> dict[str, Any]:
    made: dict[str, Any] = {name: draw(rows, 4, generator=generator) for name in ("score", "log_noise")}
    return made | {"mask_prob": 0.15}


def in_chunks(**inputs: Any) -> Tensor:
    """The recomputing path, two tokens at a time."""
    limit = captions.CHUNK_ELEMENTS
    captions.CHUNK_ELEMENTS = 12
    try:
        loss = caption_loss(**inputs)
        return loss.clone()
    finally:
        captions.CHUNK_ELEMENTS = limit


HARSH = ({"temperature": 0.005}, {"temperature": 1e-4})
CASES = [
    Case("simcse_loss", simcse_loss, simcse_reference, sentences, ("z1", "z2"), extremes=HARSH),
    Case("simcse_loss hard", simcse_loss, simcse_reference, contradictions, ("z1", "z2", "hard"), extremes=HARSH),
    Case("contrastive_tension_loss", contrastive_tension_loss, tension_reference, encoded, ("e1", "e2")),
    Case(
        "contrastive_tension_loss sum",
        lambda **inputs: contrastive_tension_loss(**inputs, reduction="sum"),
        lambda **inputs: tension_reference(**inputs, reduction="sum"),
        encoded,
        ("e1", "e2"),
    ),
    Case("cline_sentence_loss", cline_sentence_loss, cline_reference, versions, ("orig", "syn", "ant")),
    Case("uncertainty_weighted", uncertainty_weighted, weighted_reference, tasks, ("losses", "log_vars")),
    Case("binary_nce", binary_nce, nce_reference, scored, ("scores",), fixed=("targets", "pos_weight")),
    Case("caption_loss", caption_loss, caption_reference, captioned, ("logits",)),
    Case("caption_loss in chunks", in_chunks, caption_reference, captioned, ("logits",), vmap=False, compiles=False),
    Case("pool", pool, pool_reference, hidden_states, ("hidden",)),
    Case(
        "electric_nce_logits",
        electric_nce_logits,
        lambda score, log_noise, mask_prob: score + log_noise.detach() + math.log(mask_prob / (1 - mask_prob)),
        energies,
        ("score",),
    ),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


# -- reference values


def close(got: Any, want: Any, tolerance: float = 1e-5) -> None:
    for one, other in zip(got, want, strict=True):
        scale = max(1.0, float(other.abs().max()))
        torch.testing.assert_close(one.double(), other.double(), rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize(("case", "sentences_", "weight"), [("unsup", 2, 0.0), ("sup_hard_negative", 3, 0.7)])
def test_simcse_equals_the_released_code(golden, case: str, sentences_: int, weight: float) -> None:
    given_ = {
        name.partition(".")[2]: value for name, value in golden("text_contrastive").items() if f"_{case}." in name
    }
    hidden = given_["in.hidden"].clone().requires_grad_()
    parts = pool(hidden, given_["in.attention_mask"]).view(-1, sentences_, hidden.shape[-1]).unbind(dim=1)
    loss = simcse_loss(*parts, temperature=0.05, hard_log_weight=weight)
    (grad,) = torch.autograd.grad(loss, hidden)
    close([loss.detach(), grad], [given_["out.loss"], given_["out.grad_hidden"]], 3e-5)


def test_contrastive_tension_equals_both_released_forms(golden) -> None:
    given_ = golden("text_contrastive")
    e1, e2, labels = (given_[f"contrastive_tension.in.{name}"] for name in ("rep1", "rep2", "label"))
    e1 = e1.clone().requires_grad_()
    total = contrastive_tension_loss(e1, e2, labels, reduction="sum")
    (grad,) = torch.autograd.grad(total, e1)
    mean = contrastive_tension_loss(e1, e2, labels).detach()
    names = ("loss_sum", "grad_rep1", "loss_mean")
    close([total.detach(), grad, mean], [given_[f"contrastive_tension.out.{name}"] for name in names])


def test_the_captioning_objective_equals_open_clip(golden) -> None:
    given_ = golden("coca")
    leaves = [given_[name].clone().requires_grad_() for name in ("logits", "image", "text")]
    caption = 2 * caption_loss(leaves[0], given_["labels"], pad_id=0, already_shifted=True)
    contrast = info_nce(leaves[1], leaves[2], given_["logit_scale"])
    grads = torch.autograd.grad(caption + contrast, leaves)
    found = [caption.detach(), contrast.detach(), (caption + contrast).detach(), *grads]
    names = ("cap", "clip", "total", "grad_logits", "grad_image", "grad_text")
    close(found, [given_[f"{name}_c2_k1"] for name in names], 1e-9)


def test_the_captioning_objective_equals_the_other_implementation(golden) -> None:
    given_ = golden("coca")
    caption = caption_loss(given_["lr_logits"], given_["lr_text"][:, 1:], pad_id=0, already_shifted=True)
    contrast = info_nce(given_["lr_image_latents"], given_["lr_text_latents"], math.e)
    close([caption + contrast], [given_["lr_loss"]], 1e-6)


def test_the_class_token_mask_equals_the_corrected_one(golden) -> None:
    given_ = golden("coca")
    assert torch.equal(append_class_token_mask(given_["ids"], pad_id=0), given_["cls_mask_ok"])


# -- pooling and sentence losses


def test_padding_may_hold_anything() -> None:
    hidden = torch.tensor([[[1.0], [3.0], [torch.nan]]], requires_grad=True)
    pooled = pool(hidden, torch.tensor([[1, 1, 0]]))
    assert pooled.item() == 2
    assert torch.autograd.grad(pooled.sum(), hidden)[0].isfinite().all()
    assert pool(hidden.detach(), torch.zeros(1, 3)).item() == 0


def test_pooling_modes() -> None:
    first, last = torch.zeros(2, 3, 1), torch.arange(6.0).view(2, 3, 1)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert pool([first, last], mask).flatten().tolist() == [0.5, 4]
    assert pool((first, last), mask, "first_last").flatten().tolist() == [0.25, 2]
    assert pool(last, mask, "cls").flatten().tolist() == [0, 3]
    assert pool(last, None).flatten().tolist() == [1, 4]


def test_simcse_is_one_directional_by_default() -> None:
    z1, z2 = torch.randn(5, 4), torch.randn(5, 4)
    assert not torch.isclose(simcse_loss(z1, z2), simcse_loss(z2, z1))
    both = (simcse_loss(z1, z2) + simcse_loss(z2, z1)) / 2
    torch.testing.assert_close(simcse_loss(z1, z2, symmetric=True), both)


def test_the_weight_of_hard_negatives_is_a_logarithm_on_the_own_one() -> None:
    z, hard = torch.randn(3, 4), torch.randn(3, 4)
    without = simcse_loss(z, z.roll(1, 0), temperature=1.0)
    shut = simcse_loss(z[:1], z[1:2], hard[:1], temperature=1.0, hard_log_weight=-1e4)
    torch.testing.assert_close(shut, simcse_loss(z[:1], z[1:2], temperature=1.0))
    assert simcse_loss(z, z.roll(1, 0), hard, temperature=1.0, hard_log_weight=-1e4) > without  # others' remain


def test_lengths_do_not_matter_to_simcse() -> None:
    z1, z2, hard = torch.randn(3, 5, 4).unbind()
    torch.testing.assert_close(simcse_loss(2 * z1, z2 / 3, 5 * hard), simcse_loss(z1, z2, hard))


def test_the_sentence_score_of_bounded_vectors_is_bounded() -> None:
    x = torch.ones(3, 8)
    assert cline_sentence_loss(x, x, -x).item() == pytest.approx(-math.log(1 / (1 + math.exp(-1))))


def test_learned_weights_start_with_the_full_penalty() -> None:
    s = torch.zeros(2, requires_grad=True)
    total = uncertainty_weighted([torch.tensor(3.0), torch.tensor(0.5)], s)
    (grad,) = torch.autograd.grad(total, s)
    assert total.item() == 3.5
    assert grad.tolist() == [-2.0, 0.5]


@pytest.mark.parametrize("score", [1e4, -1e4])
def test_binary_losses_survive_huge_scores(score: float) -> None:
    scores = torch.full((1, 2), score, requires_grad=True)
    loss = binary_nce(scores, torch.tensor([[0, 1]]), pos_weight=2.0)
    assert torch.autograd.grad(loss, scores)[0].isfinite().all()
    e = torch.full((2, 1), 100.0)
    assert contrastive_tension_loss(e, e, torch.tensor([0, 1])).isfinite()


def test_a_fully_masked_batch_loses_nothing() -> None:
    scores = torch.full((2, 2), torch.nan, requires_grad=True)
    loss = binary_nce(scores, torch.ones(2, 2), mask=torch.zeros(2, 2))
    assert loss.item() == 0
    assert torch.autograd.grad(loss, scores)[0].abs().sum() == 0


# -- pseudo-labels


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 5), st.integers(0, 5), st.integers(0, 1000))
def test_pseudo_labels_are_own_and_foreign_words(rows: int, length: int, n_pos: int, n_neg: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 9, (rows, length), generator=generator)
    mask = torch.rand(rows, length, generator=generator) < 0.8
    ids, targets = pseudo_labels(tokens, mask, n_pos, n_neg, generator)
    assert ids.shape == targets.shape == (rows, n_pos + n_neg)
    positives = [set(ids[i][targets[i] == 1].tolist()) for i in range(rows)]
    for i in range(rows):
        own = set(tokens[i][mask[i]].tolist())
        foreign = set().union(*positives) - own
        negatives = ids[i][targets[i] == 0].tolist()
        assert positives[i] <= own
        assert len(positives[i]) == min(n_pos, len(own))
        assert set(negatives) <= foreign
        assert len(set(negatives)) == len(negatives) == min(n_neg, len(foreign))


def test_frequent_words_are_frequent_negatives() -> None:
    tokens = torch.tensor([[0, 0]] + [[1, 1]] * 9 + [[2, 2]])
    generator = torch.Generator().manual_seed(0)
    drawn = [pseudo_labels(tokens, torch.ones(11, 2), 1, 1, generator)[0][0, 1].item() for _ in range(400)]
    assert drawn.count(1) / 400 == pytest.approx(0.9, abs=0.05)


def test_one_text_alone_has_no_negatives() -> None:
    ids, targets = pseudo_labels(torch.tensor([[4, 5]]), torch.ones(1, 2), 3, 2)
    assert sorted(ids[0].tolist()) == [0, 0, 0, 4, 5]
    assert targets.tolist() == [[1, 1, -1, -1, -1]]


# -- spans


def spans_reference(
    n: int, anchors: int, positives: int, longest: int, shortest: int, strategy: str, rng: RandomState
) -> list[tuple[int, int]]:
    """The published order of draws, followed step by step."""
    free = [start for start in range(0, n, longest) if start <= n - longest]
    out = []
    for i in range(anchors):
        length = int(rng.beta(4, 2) * (longest - shortest) + shortest)
        few = len(free) // (anchors - i) < anchors - i
        index = rng.choice([0, len(free) - 1]) if few else rng.randint(len(free))
        start = rng.randint(free[index], free[index] + longest - length + 1)
        free = [block for k, block in enumerate(free) if k not in (index - 1, index, index + 1)]
        end = start + length
        out.append((start, end))
        for _ in range(positives):
            share = rng.beta(2, 4)
            if strategy == "subsuming":
                size = int(share * (length - shortest) + shortest)
                first = rng.randint(start, end - size + 1)
            elif strategy == "adjacent":
                size = int(share * (min(longest, max(start, n - end)) - shortest) + shortest)
                options = [start - size] * (start - size > 0) + [end] * (end + size <= n)
                first = rng.choice(options)
            else:
                size = int(share * (longest - shortest) + shortest)
                first = rng.randint(max(0, start - size), min(end, n - size) + 1)
            out.append((first, first + size))
    return out


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(4, 40),
    st.integers(0, 200),
    st.sampled_from(["default", "subsuming", "adjacent"]),
    st.integers(0, 10_000),
)
def test_spans_follow_the_published_draws(
    anchors: int, positives: int, longest: int, more: int, strategy: Any, seed: int
) -> None:
    n, shortest = 2 * anchors * longest + more, longest // 4
    spans = sample_spans(n, anchors, positives, longest, shortest, strategy, RandomState(seed))
    assert spans == spans_reference(n, anchors, positives, longest, shortest, strategy, RandomState(seed))
    assert all(type(edge) is int for span in spans for edge in span)
    for i, (start, end) in enumerate(spans):
        assert 0 <= start < end <= n
        assert shortest <= end - start <= longest
        left, right = spans[i - i % (1 + positives)]
        assert start <= right
        assert end >= left
        if i % (1 + positives) and strategy == "subsuming":
            assert left <= start
            assert end <= right
        if i % (1 + positives) and strategy == "adjacent":
            assert start == right or end == left


def test_anchors_do_not_overlap() -> None:
    for seed in range(50):
        anchors = sample_spans(200, 4, 2, 20, 5, None, RandomState(seed))[::3]
        ordered = sorted(anchors)
        assert all(one[1] <= other[0] for one, other in pairwise(ordered))


def test_the_same_state_gives_the_same_spans_under_either_name_of_the_default() -> None:
    first, second = (sample_spans(99, 2, 2, 20, 5, name, RandomState(3)) for name in (None, "default"))
    assert first == second


# -- masking


def test_a_share_of_the_tokens_is_masked_in_the_proportions_of_bert() -> None:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(10, 1000, (200, 500), generator=generator)
    special = torch.zeros_like(ids)
    special[:, 0] = 1
    found, labels = mlm_mask(ids, special, vocab=1000, mask_id=3, generator=generator)
    chosen = labels != -100
    assert not chosen[:, 0].any()
    assert torch.equal(found[~chosen], ids[~chosen])
    assert torch.equal(labels[chosen], ids[chosen])
    assert chosen.float().mean().item() == pytest.approx(0.15 * 499 / 500, abs=0.005)
    assert (found[chosen] == 3).float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert (found[chosen] == ids[chosen]).float().mean().item() == pytest.approx(0.1, abs=0.01)
    changed = found[chosen & (found != 3) & (found != ids)]
    assert changed.min() < 50
    assert changed.max() > 950


def test_masking_repeats_with_the_generator_and_does_nothing_at_zero() -> None:
    ids = torch.arange(40).view(2, 20)
    none = torch.zeros(2, 20)
    first, second = (
        mlm_mask(ids, none, 40, 0.5, mask_id=3, generator=torch.Generator().manual_seed(1)) for _ in range(2)
    )
    assert torch.equal(first[0], second[0])
    untouched, labels = mlm_mask(ids, none, 40, 0.0, mask_id=3)
    assert torch.equal(untouched, ids)
    assert (labels == -100).all()


# -- captions


def test_shifting_the_targets_equals_slicing_the_logits() -> None:
    logits, ids = torch.randn(3, 6, 8), torch.randint(0, 8, (3, 6))
    sliced = caption_loss(logits[:, :-1], ids[:, 1:], pad_id=0, already_shifted=True)
    torch.testing.assert_close(caption_loss(logits, ids, pad_id=0), sliced)


def test_a_copy_of_the_input_is_no_solution() -> None:
    ids = torch.tensor([[1, 2, 3, 4]])
    assert caption_loss(100 * F.one_hot(ids, 5).float(), ids, pad_id=0) > 50
    ahead = 100 * F.one_hot(ids.roll(-1, 1), 5).float()
    assert caption_loss(ahead, ids, pad_id=0).item() == 0


def test_padding_of_released_weights_is_shifted_by_one_position() -> None:
    ids = torch.tensor([[5, 6, 0, 0]])
    mask = append_class_token_mask(ids, pad_id=0, shifted_padding=True)
    visible = torch.tensor([True, True, True, False, False])  # key k stands for token k - 1
    assert torch.equal(mask[0], visible & torch.ones(5, 5).tril().bool())
    assert not torch.equal(mask, append_class_token_mask(ids, pad_id=0))


def test_the_mean_is_over_tokens_and_not_over_captions() -> None:
    logits = torch.zeros(2, 4, 3)
    logits[1, :, 1] = 4
    ids = torch.tensor([[1, 2, 2, 2], [1, 1, 0, 0]])
    each = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), ignore_index=0, reduction="sum") / 4
    torch.testing.assert_close(caption_loss(logits, ids, pad_id=0), each)


def test_the_loss_of_a_batch_is_put_together_from_parts_of_it() -> None:
    logits, ids = torch.randn(3, 5, 7), torch.tensor([[1, 2, 3, 0, 0], [4, 5, 6, 1, 2], [3, 1, 0, 0, 0]])
    parts = [caption_nll(logits[rows], ids[rows], pad_id=0) for rows in (slice(0, 2), slice(2, 3))]
    assert [float(row) for row in parts[0][0, 2:]] == [0, 0, 0]
    total, count = sum(part.sum() for part in parts), (ids[:, 1:] != 0).sum()
    torch.testing.assert_close(token_mean(total, count), caption_loss(logits, ids, pad_id=0))
    assert token_mean(torch.zeros(()), torch.tensor(0)) == 0


@pytest.mark.parametrize("length", [0, 1, 3])
def test_captions_without_targets_lose_nothing(length: int) -> None:
    logits = torch.full((2, length, 5), torch.nan, requires_grad=True)
    loss = caption_loss(torch.nan_to_num(logits), torch.zeros(2, length).long(), pad_id=0)
    assert loss.item() == 0
    assert torch.autograd.grad(loss, logits)[0].nan_to_num(9).abs().sum() == 0


def test_huge_logits_and_masked_words_stay_finite(monkeypatch) -> None:
    logits = torch.zeros(2, 3, 6)
    logits[..., 1], logits[..., 2] = 1e4, -torch.inf
    ids = torch.tensor([[1, 3, 1], [3, 1, 0]])
    losses = []
    for limit in (captions.CHUNK_ELEMENTS, 7):
        monkeypatch.setattr(captions, "CHUNK_ELEMENTS", limit)
        leaf = logits.clone().requires_grad_()
        loss = caption_loss(leaf, ids, pad_id=0)
        assert torch.autograd.grad(loss, leaf)[0].isfinite().all()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[0], losses[1])


def test_large_logits_are_not_held_twice(monkeypatch) -> None:
    monkeypatch.setattr(captions, "CHUNK_ELEMENTS", 64)
    logits = torch.randn(4, 8, 32, dtype=torch.bfloat16, requires_grad=True)
    held: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        loss = caption_loss(logits, torch.ones(4, 8).long(), pad_id=0)
    others = sum(size for at, size in held.items() if at != logits.untyped_storage().data_ptr())
    assert others < logits.nbytes / 2
    (grad,) = torch.autograd.grad(loss, logits)
    assert grad.dtype == torch.bfloat16


def test_the_class_token_sees_all_words_and_no_word_sees_it() -> None:
    seen = append_class_token_mask(torch.tensor([[5, 6, 7, 0], [5, 0, 0, 0], [0, 0, 0, 0]]), pad_id=0)
    assert seen[:, -1].sum(dim=1).tolist() == [4, 2, 1]
    assert not seen[:, :-1, -1].any()
    assert not seen.triu(1).any()
    assert not seen[1, :, 1:4].any()


# -- errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pool(torch.ones(2, 3), None), ShapeError, "hidden has shape"),
        (lambda: pool(torch.ones(2, 3, 1), torch.ones(2, 2)), ShapeError, "mask has shape"),
        (lambda: pool(torch.ones(2, 3, 1), None, "max"), ValueError, "mode = 'max'"),
        (lambda: pool(torch.ones(2, 3, 1), None, "first_last"), ValueError, "tensors of all layers"),
        (lambda: simcse_loss(torch.ones(2, 3), torch.ones(2, 3), torch.ones(1, 3)), ShapeError, "hard has shape"),
        (lambda: simcse_loss(torch.ones(2, 3), torch.ones(2, 3), temperature=0), ValueError, "temperature = 0"),
        (
            lambda: contrastive_tension_loss(torch.ones(2, 3), torch.ones(2, 3), torch.ones(3)),
            ShapeError,
            "labels has shape",
        ),
        (
            lambda: contrastive_tension_loss(torch.ones(1, 3), torch.ones(1, 3), torch.ones(1), "none"),
            ValueError,
            "reduction = 'none'",
        ),
        (lambda: cline_sentence_loss(*torch.ones(2, 2, 3), torch.ones(1, 3)), ShapeError, "ant has shape"),
        (lambda: uncertainty_weighted(torch.ones(2), torch.ones(3)), ShapeError, "log_vars has shape"),
        (lambda: binary_nce(torch.ones(2, 3), torch.ones(2, 2)), ShapeError, "targets has shape"),
        (lambda: pseudo_labels(torch.ones(2, 3).long(), torch.ones(2, 2), 1, 1), ShapeError, "mask has shape"),
        (lambda: pseudo_labels(torch.ones(2, 3).long(), torch.ones(2, 3), -1, 1), ValueError, "n_pos = -1"),
        (lambda: electric_nce_logits(torch.ones(1, 1), torch.ones(1, 1), 1.0), ValueError, "mask_prob = 1.0"),
        (lambda: sample_spans(30, 2, 1, 8, 2, None, RandomState(0)), ValueError, "n_tokens = 30"),
        (lambda: sample_spans(64, 2, 1, 8, 9, None, RandomState(0)), ValueError, "min_len = 9"),
        (lambda: sample_spans(64, 2, 1, 8, 2, "near", RandomState(0)), ValueError, "strategy = 'near'"),  # type: ignore[arg-type]
        (lambda: mlm_mask(torch.ones(1, 2), torch.ones(1, 3), 5, mask_id=1), ShapeError, "special_mask has shape"),
        (lambda: mlm_mask(torch.ones(1, 2), torch.ones(1, 2), 5, 1.5, mask_id=1), ValueError, "p = 1.5"),
        (lambda: caption_loss(torch.ones(1, 2, 3), torch.ones(1, 3).long(), 0), ShapeError, "ids has shape"),
        (
            lambda: caption_loss(torch.ones(1, 2, 3), torch.ones(1, 2).long(), 0, label_smoothing=2),
            ValueError,
            "label_smoothing = 2",
        ),
        (lambda: append_class_token_mask(torch.ones(3), 0), ShapeError, "ids has shape"),
    ],
)
def test_wrong_input_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# -- two processes


def made_captions() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 6, (4, 5), generator=generator)
    ids[0, 2:], ids[1, 3:] = 0, 0  # the first process has the short captions
    return draw(4, 5, 6, generator=generator), ids


def caption_of_my_rows(process: int) -> dict[str, Tensor]:
    logits, ids = (x.chunk(2)[process].clone() for x in made_captions())
    loss = caption_loss(logits.requires_grad_(), ids, pad_id=0, across_processes=True)
    loss.backward()
    return {"loss": loss.detach(), "grad": logits.grad}


def test_two_processes_share_one_mean_over_tokens() -> None:
    ranks = run_two_processes(caption_of_my_rows)
    logits, ids = made_captions()
    loss = caption_loss(logits.requires_grad_(), ids, pad_id=0)
    (grad,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(torch.stack([result["loss"] for result in ranks]).mean(), loss.detach())
    torch.testing.assert_close(torch.cat([result["grad"] for result in ranks]), 2 * grad)
    alone = [caption_loss(*(x.chunk(2)[i] for x in made_captions()), pad_id=0) for i in range(2)]
    assert not torch.isclose(torch.stack(alone).mean(), loss)
