"""Noisy correspondence: soft margins, ranking, pseudo-classes and pseudo-captions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.errors import ShapeError
from accord.functional.noise.pairs import (
    assign_pseudo_captions,
    prediction_oscillation,
    pseudo_classification_loss,
    rectify_labels,
    soft_margin,
    triplet_ranking_loss,
)
from functional.tester import Case, LossTester, every


def draw(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# -- references


def margin_reference(y: Tensor, alpha: float, kind: str = "exponential") -> Tensor:
    curves = {
        "exponential": lambda v: (10**v - 1) / 9,
        "linear": lambda v: v,
        "sin": lambda v: (1 - torch.cos(math.pi * v)) / 2,
    }
    return torch.stack([alpha * curves[kind](v) for v in y])


def triplet_reference(sims: Tensor, margin: Tensor, mode: str = "hard", reduction: str = "sum") -> Tensor:
    count = len(sims)

    def cost(i: int, j: int, own: Tensor) -> Tensor:
        return torch.maximum(margin[i] + sims[i, j] - own, torch.tensor(1e-8).double()) if i != j else sims.sum() * 0

    rows = [torch.stack([cost(i, j, sims[i, i]) for j in range(count)]) for i in range(count)]
    columns = [torch.stack([cost(i, j, sims[j, j]) for i in range(count)]) for j in range(count)]
    pick = (lambda costs: costs.max()) if mode == "hard" else (lambda costs: costs.sum() / count)
    each = torch.stack([pick(row) + pick(column) for row, column in zip(rows, columns, strict=True)])
    return each.sum() if reduction == "sum" else each


def classified(img_logits: Tensor, txt_logits: Tensor, entropy: str) -> Tensor:
    return pseudo_classification_loss(img_logits, txt_logits, lambda_en=2.0, entropy=entropy)["total"]  # type: ignore[arg-type]


def classified_reference(img_logits: Tensor, txt_logits: Tensor, entropy: str) -> Tensor:
    prob = img_logits.exp() / img_logits.exp().sum(dim=1, keepdim=True)
    loss = -torch.stack([row[caption.argmax()].log() for row, caption in zip(prob, txt_logits, strict=True)]).mean()
    mean = prob.mean(dim=0)
    spread = -(mean * mean.log()).sum() if entropy == "marginal" else -(prob * prob.log()).sum(dim=1).mean()
    return loss - 2 * spread


# -- inputs


def labelled(kind: str) -> Any:
    def make(rows: int, generator: torch.Generator) -> dict[str, Any]:
        return {"y": torch.rand(rows, generator=generator, dtype=torch.float64), "alpha": 0.2, "kind": kind}

    return make


def ranked(**options: Any) -> Any:
    def make(rows: int, generator: torch.Generator) -> dict[str, Any]:
        margin = 0.3 * torch.rand(rows, generator=generator, dtype=torch.float64)
        return {"sims": draw(rows, rows, generator=generator).sigmoid(), "margin": margin} | options

    return make


def predicted(entropy: str) -> Any:
    def make(rows: int, generator: torch.Generator) -> dict[str, Any]:
        made: dict[str, Any] = {name: draw(rows, 4, generator=generator) for name in ("img_logits", "txt_logits")}
        return made | {"entropy": entropy}

    return make


CASES = [
    *[
        Case(f"soft_margin {kind}", soft_margin, margin_reference, labelled(kind), ("y",))
        for kind in ("exponential", "linear", "sin")
    ],
    *[
        Case(
            f"triplet_ranking_loss {mode} {reduction}",
            triplet_ranking_loss,
            triplet_reference,
            ranked(mode=mode, reduction=reduction),
            ("sims", "margin"),
        )
        for mode in ("hard", "mean")
        for reduction in ("sum", "none")
    ],
    *[
        Case(
            f"pseudo_classification_loss {entropy}",
            classified,
            classified_reference,
            predicted(entropy),
            ("img_logits",),
            fixed=("txt_logits",),
            extremes=({"img_logits": 1e4 * torch.eye(7, 4), "txt_logits": torch.zeros(7, 4)},),
        )
        for entropy in ("marginal", "per_sample")
    ],
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


# -- reference values


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got.double(), want.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "kind"), [("exp", "exponential"), ("lin", "linear"), ("sin", "sin")])
def test_soft_margin_triplets_equal_the_released_code(golden, name: str, kind: Any) -> None:
    given_ = {key.rpartition(".")[2]: value for key, value in golden("pc2").items() if "soft_margin" in key}
    sims = given_["scores"].clone().requires_grad_()
    loss = triplet_ranking_loss(sims, soft_margin(given_["label"].squeeze(1), 0.2, kind))
    (grad,) = torch.autograd.grad(loss, sims)
    close(loss.detach(), given_[f"train_{name}"])
    close(grad, given_[f"grad_train_{name}"])


def test_mean_triplets_equal_the_released_code(golden) -> None:
    given_ = {key.rpartition(".")[2]: value for key, value in golden("pc2").items() if "soft_margin" in key}
    sims = given_["scores"].clone().requires_grad_()
    loss = triplet_ranking_loss(sims, 0.2, mode="mean")
    (grad,) = torch.autograd.grad(loss, sims)
    close(loss.detach(), given_["warmup"])
    close(grad, given_["grad_warmup"])
    close(triplet_ranking_loss(sims, 0.2, mode="mean", reduction="none").detach(), given_["eval_loss"])


def test_pseudo_captions_equal_the_released_code(golden) -> None:
    given_ = {key.rpartition(".")[2]: value for key, value in golden("pc2").items() if "pseudo_captioning" in key}
    index, label = assign_pseudo_captions(given_["pred_noisy"], given_["pred_clean"])
    close(label, given_["label"])
    close(given_["cap_clean"][index], given_["caption_tokens"])


# -- properties


@pytest.mark.parametrize("kind", ["exponential", "linear", "sin"])
def test_margins_rise_from_nothing_to_alpha(kind: Any) -> None:
    margins = soft_margin(torch.linspace(0, 1, 11).double(), 0.4, kind)
    assert margins[0].item() == pytest.approx(0, abs=1e-12)
    assert margins[-1].item() == pytest.approx(0.4)
    assert (margins.diff() > 0).all()


def test_a_number_is_the_margin_of_every_row() -> None:
    sims = torch.rand(5, 5)
    expected = triplet_ranking_loss(sims, torch.full((5,), 0.2))
    torch.testing.assert_close(triplet_ranking_loss(sims, 0.2), expected)
    torch.testing.assert_close(triplet_ranking_loss(sims, torch.tensor(0.2)), expected)


def test_distant_pairs_cost_the_floor_and_give_no_gradient() -> None:
    sims = torch.eye(3).requires_grad_()
    loss = triplet_ranking_loss(sims, 0.2)
    assert loss.item() == pytest.approx(6e-8)
    assert torch.autograd.grad(loss, sims)[0].abs().sum() == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.floats(-3, 3), st.integers(0, 100))
def test_ranking_ignores_a_shift_and_the_order_of_pairs(rows: int, shift: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sims, margin = draw(rows, rows, generator=generator), torch.rand(rows, generator=generator).double()
    loss = triplet_ranking_loss(sims, margin)
    torch.testing.assert_close(triplet_ranking_loss(sims + shift, margin), loss, rtol=1e-9, atol=1e-9)
    order = torch.randperm(rows, generator=generator)
    torch.testing.assert_close(triplet_ranking_loss(sims[order][:, order], margin[order]), loss)


def test_the_margin_belongs_to_the_image_in_both_directions() -> None:
    sims, margin = torch.zeros(2, 2), torch.tensor([0.5, 0.1])
    each = triplet_ranking_loss(sims, margin, reduction="none")
    torch.testing.assert_close(each, torch.tensor([0.5 + 0.1, 0.1 + 0.5]))  # column 0 is asked by image 1


def test_a_single_pair_has_nothing_to_beat() -> None:
    sims = torch.ones(1, 1, requires_grad=True)
    for mode in ("hard", "mean"):
        loss = triplet_ranking_loss(sims, 0.2, mode=mode)
        assert loss.item() == 0
        assert torch.autograd.grad(loss, sims)[0].item() == 0


def test_the_caption_teaches_without_being_taught() -> None:
    img, txt = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    terms = pseudo_classification_loss(img, txt, lambda_en=10.0)
    terms["total"].backward()
    assert txt.grad is None
    torch.testing.assert_close(terms["total"], terms["classify"] - 10 * terms["entropy"])


def test_the_default_entropy_rewards_sure_and_balanced_classes() -> None:
    balanced, collapsed = 30 * torch.eye(4), 30 * torch.eye(4)[:1].expand(4, 4)
    uniform = torch.zeros(4, 4)

    def total(logits: Tensor, entropy: Any = "marginal") -> float:
        return pseudo_classification_loss(logits, logits, 1.0, entropy)["total"].item()

    assert total(balanced) < min(total(collapsed), total(uniform))
    assert pseudo_classification_loss(uniform, balanced, 10.0, "per_sample")["total"] < total(balanced, "per_sample")


def test_borrowed_captions_come_from_the_most_similar_prediction() -> None:
    generator = torch.Generator().manual_seed(0)
    noisy, clean = (draw(rows, 5, generator=generator).softmax(dim=1) for rows in (6, 9))
    index, label = assign_pseudo_captions(noisy, clean, floor=0.8)
    for i in range(6):
        cosines = [float(noisy[i] @ c / (noisy[i].norm() * c.norm())) for c in clean]
        assert index[i] == int(np.argmax(cosines))
        assert label[i].item() == pytest.approx(max(cosines) if max(cosines) >= 0.8 else 0)
    assert assign_pseudo_captions(noisy[:0], clean)[0].shape == (0,)


def test_oscillation_is_the_divergence_and_zero_without_change() -> None:
    generator = torch.Generator().manual_seed(0)
    prev, cur = (draw(6, 4, generator=generator).softmax(dim=1) for _ in range(2))
    expected = torch.nn.functional.kl_div(prev.log(), cur, reduction="none").sum(dim=1)
    torch.testing.assert_close(prediction_oscillation(prev, cur), expected)
    assert prediction_oscillation(cur, cur).abs().max() < 1e-12
    assert prediction_oscillation(torch.eye(3), torch.eye(3).flip(0)).isfinite().all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100))
def test_rectified_labels_only_rise_and_stay_probabilities(seed: int) -> None:
    p, q = torch.rand(2, 8, generator=torch.Generator().manual_seed(seed)).unbind()
    y = rectify_labels(p.requires_grad_(), q, q > 0.5)
    assert not y.requires_grad
    assert (y >= p).all()
    assert (y <= 1).all()
    assert torch.equal(y[q <= 0.5], p[q <= 0.5])
    torch.testing.assert_close(y[q > 0.5], (1 - (1 - p) * (1 - q))[q > 0.5])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: soft_margin(torch.ones(2), 0.0), ValueError, "alpha = 0.0"),
        (lambda: soft_margin(torch.ones(2), 0.1, "cubic"), ValueError, "kind = 'cubic'"),  # type: ignore[arg-type]
        (lambda: triplet_ranking_loss(torch.ones(2, 3), 0.1), ShapeError, r"sims has shape \(2, 3\)"),
        (lambda: triplet_ranking_loss(torch.ones(2, 2), torch.ones(2, 1)), ShapeError, r"margin has shape \(2, 1\)"),
        (lambda: triplet_ranking_loss(torch.ones(2, 2), 0.1, "soft"), ValueError, "mode = 'soft'"),  # type: ignore[arg-type]
        (
            lambda: pseudo_classification_loss(torch.ones(2, 3), torch.ones(2, 2), 1.0),
            ShapeError,
            "txt_logits has shape",
        ),
        (
            lambda: pseudo_classification_loss(torch.ones(2, 3), torch.ones(2, 3), 1.0, "both"),  # type: ignore[arg-type]
            ValueError,
            "entropy = 'both'",
        ),
        (lambda: assign_pseudo_captions(torch.ones(2, 3), torch.ones(2, 2)), ShapeError, "p_clean has shape"),
        (lambda: assign_pseudo_captions(torch.ones(2, 3), torch.ones(0, 3)), ValueError, "p_clean has no rows"),
        (lambda: prediction_oscillation(torch.ones(2, 3), torch.ones(3, 3)), ShapeError, "cur has shape"),
        (lambda: rectify_labels(torch.ones(2), torch.ones(3), torch.ones(2)), ShapeError, "Q has shape"),
    ],
)
def test_wrong_input_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
