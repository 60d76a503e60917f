"""The contrastive engine against loops over anchors and positives, for every combination of its options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord import functional as AF
from accord.errors import ShapeError
from accord.functional.engine import contrastive_loss
from functional.tester import Case, LossTester, every

OPTIONS: dict[str, dict[str, Any]] = {
    "diagonal": {"targets": None, "negatives": None},
    "diagonal both": {"targets": None, "negatives": None, "direction": "both"},
    "smoothed": {"targets": None, "negatives": None, "label_smoothing": 0.2},
    "masks": {},
    "masks columns": {"direction": "columns"},
    "masks smoothed": {"label_smoothing": 0.3},
    "pair mean": {"reduction": "pair"},
    "sum": {"reduction": "sum"},
    "none": {"reduction": "none"},
    "own": {"denominator": "own"},
    "own pair mean": {"denominator": "own", "reduction": "pair"},
    "decoupled": {"denominator": "negatives"},
    "joint": {"numerator": "joint"},
    "joint decoupled": {"numerator": "joint", "denominator": "negatives"},
    "margin": {"margin": 0.4},
    "own margin": {"denominator": "own", "margin": 0.4},
}


def reference(
    logits: Tensor,
    targets: Tensor | None = None,
    negatives: Tensor | None = None,
    log_weight: Tensor | None = None,
    extra: Tensor | None = None,
    margin: float = 0.0,
    numerator: str = "each",
    denominator: str = "all",
    label_smoothing: float = 0.0,
    direction: str = "rows",
    reduction: str = "anchor",
) -> Tensor:
    """Anchor by anchor, positive by positive, with explicit probabilities in float64."""
    if direction != "rows":
        options = {"log_weight": None if log_weight is None else log_weight.T, "margin": margin}
        options |= {"numerator": numerator, "denominator": denominator, "label_smoothing": label_smoothing}
        turned_targets = None if targets is None else targets.T
        if targets is not None and targets.is_floating_point():
            turned_targets = targets.T / targets.T.sum(dim=1, keepdim=True)
        turned_negatives = None if negatives is None else negatives.T
        turned = reference(logits.T, turned_targets, turned_negatives, reduction=reduction, **options)
        if direction == "columns":
            return turned
        return (reference(logits, targets, negatives, reduction=reduction, **options) + turned) / 2
    share = torch.eye(len(logits)) if targets is None else targets.double()
    soft = targets is not None and targets.is_floating_point()
    totals, counts = [], []
    for i in range(len(logits)):
        positives = [j for j in range(logits.shape[1]) if share[i, j] > 0]
        others = [
            j for j in range(logits.shape[1]) if (j not in positives if negatives is None else bool(negatives[i, j]))
        ]
        score = {j: logits[i, j] - (margin if j in positives else 0) for j in range(logits.shape[1])}
        heavy = {j: s + (0 if log_weight is None else log_weight[i, j]) for j, s in score.items()}
        queue = [] if extra is None else list(extra[i])

        def below(own: int | None, others=others, positives=positives, score=score, heavy=heavy, queue=queue) -> Any:
            terms = [heavy[j] for j in others] + queue
            if denominator == "all":
                terms += [heavy[j] for j in positives]
            if denominator == "own":
                terms += [score[own]]
            return torch.logsumexp(torch.stack(terms), 0) if terms else None

        if not positives or (denominator != "own" and below(None) is None):
            totals.append(logits.new_zeros(()))
            counts.append(0.0)
        elif numerator == "joint":
            totals.append(below(None) - torch.logsumexp(torch.stack([score[j] for j in positives]), 0))
            counts.append(1.0)
        else:
            weight = {j: float(share[i, j]) for j in positives}
            norm = sum(weight.values())
            if label_smoothing:
                candidates = positives + others
                weight = {
                    j: norm * ((1 - label_smoothing) * weight.get(j, 0.0) / norm + label_smoothing / len(candidates))
                    for j in candidates
                }
            totals.append(torch.stack([w * (below(j) - score[j]) for j, w in weight.items()]).sum())
            counts.append(norm)
    total, count = torch.stack(totals), torch.tensor(counts, dtype=torch.float64)
    if reduction == "pair":
        return total.sum() / count.sum()
    per_anchor = total if soft else total / count.clamp(min=1)
    if reduction == "none":
        return per_anchor
    return per_anchor.sum() if reduction == "sum" else per_anchor.sum() / max(1, int((count > 0).sum()))


def make(options: dict[str, Any]) -> Any:
    def draw(rows: int, generator: torch.Generator) -> dict[str, Any]:
        logits = 3 * torch.randn(rows, rows, generator=generator, dtype=torch.float64)
        labels = torch.arange(rows) % 3
        positive = labels[:, None] == (labels + (torch.arange(rows) == rows - 1))  # the last key fits another class
        negative = ~positive & (torch.rand(rows, rows, generator=generator) < 0.8)
        return {"logits": logits, "targets": positive, "negatives": negative} | options

    return draw


def weighted(rows: int, generator: torch.Generator) -> dict[str, Any]:
    made = make({"denominator": "negatives"})(rows, generator)
    log_weight = torch.randn(rows, rows, generator=generator, dtype=torch.float64)
    extra = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
    return made | {"log_weight": log_weight, "extra": extra}


def soft(rows: int, generator: torch.Generator) -> dict[str, Any]:
    targets = torch.rand(rows, rows + 2, generator=generator, dtype=torch.float64).softmax(dim=1)
    return {"logits": torch.randn(rows, rows + 2, generator=generator, dtype=torch.float64), "targets": targets}


FIXED = ("targets", "log_weight")
CASES = [
    Case(name, contrastive_loss, reference, make(options), ("logits",), extremes=({"margin": 30.0},), fixed=FIXED)
    for name, options in OPTIONS.items()
] + [
    Case("weights and extra", contrastive_loss, reference, weighted, ("logits", "log_weight", "extra"), fixed=FIXED),
    Case("soft", contrastive_loss, reference, soft, ("logits",), fixed=FIXED),
    Case(
        "soft both",
        lambda **given_: contrastive_loss(**given_, direction="both"),
        lambda **given_: reference(**given_, direction="both"),
        soft,
        ("logits",),
        fixed=FIXED,
    ),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_combination_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_logits_of_ten_thousand_and_anchors_without_partners_stay_finite(options: dict[str, Any]) -> None:
    made = make(options)(6, torch.Generator().manual_seed(0))
    logits = (1e4 * made.pop("logits").float()).requires_grad_()
    for masks in ({}, {"targets": torch.zeros(6, 6, dtype=torch.bool)}, {"negatives": torch.zeros(6, 6).bool()}):
        loss = contrastive_loss(logits, **made | (masks if made["targets"] is not None else {})).sum()
        assert loss.isfinite()
        (grad,) = torch.autograd.grad(loss, logits)
        assert grad.isfinite().all()


def test_without_any_positive_the_loss_is_zero_and_keeps_its_graph() -> None:
    logits = torch.randn(3, 3, requires_grad=True)
    loss = contrastive_loss(logits, torch.zeros(3, 3, dtype=torch.bool))
    assert loss.item() == 0
    assert torch.autograd.grad(loss, logits)[0].abs().sum() == 0


@settings(max_examples=20, deadline=None)
@given(shift=st.floats(-50, 50), name=st.sampled_from(["masks", "own", "joint", "decoupled", "smoothed"]))
def test_a_constant_added_to_a_row_changes_nothing(shift: float, name: str) -> None:
    made = make(OPTIONS[name])(6, torch.Generator().manual_seed(1))
    moved = made["logits"].clone()
    moved[2] += shift
    torch.testing.assert_close(contrastive_loss(**made | {"logits": moved}), contrastive_loss(**made))


def test_leading_dimensions_are_a_batch_of_problems() -> None:
    parts = [make({})(5, torch.Generator().manual_seed(seed)) for seed in range(3)]
    stacked = {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
    loop = torch.stack([contrastive_loss(**part, reduction="none") for part in parts])
    torch.testing.assert_close(contrastive_loss(**stacked, reduction="none"), loop)


def test_hydra_anchor_mean_equals_the_reference_values(golden) -> None:
    given_ = {key.rsplit(".", 1)[1]: value for key, value in golden("hydra_pairs").items() if "anchor_mean" in key}
    logits = given_["logits"].clone().requires_grad_()
    loss = AF.multi_positive_nce(logits, given_["pos_mask"], given_["neg_mask"], reduction="anchor")
    loss.backward()
    torch.testing.assert_close(loss.detach(), given_["loss"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits.grad, given_["grad"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"numerator": "any"}, "numerator = 'any': expected one of each, joint"),
        ({"reduction": "mean"}, "reduction = 'mean': expected one of anchor, pair, sum, none"),
        ({"numerator": "joint", "denominator": "own"}, "one term per anchor"),
        ({"numerator": "joint", "targets": torch.eye(3)}, "not soft targets"),
        ({"label_smoothing": 0.1, "denominator": "own"}, "label_smoothing needs"),
        ({"extra": torch.zeros(3, 1), "direction": "both"}, "extra negatives belong to rows"),
        ({"reduction": "none", "direction": "both"}, "once per direction"),
        ({"negatives": torch.ones(3, 3)}, "negatives has type torch.float32: expected bool"),
        ({"targets": torch.ones(3, 3, dtype=torch.long)}, "targets has type torch.int64"),
        ({"targets": torch.ones(2, 3)}, r"targets has shape \(2, 3\): expected \(..., 3, 3\)"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        contrastive_loss(torch.zeros(3, 3), **options)


def test_a_vector_of_logits_and_an_oblong_without_targets_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected \(..., anchors, keys\)"):
        contrastive_loss(torch.zeros(3))
    with pytest.raises(ShapeError, match="expected a square without targets"):
        contrastive_loss(torch.zeros(2, 3))


def test_the_usual_case_is_one_fused_cross_entropy() -> None:
    logits = torch.randn(5, 5)
    torch.testing.assert_close(contrastive_loss(logits), F.cross_entropy(logits, torch.arange(5)))
