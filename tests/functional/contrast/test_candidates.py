"""A row's own candidates: what is masked, what competes with what, and what the teacher's likeness does."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import candidate_ce, candidate_distill, candidate_logits, swap_sensitivity
from functional.tester import Case, Inputs, LossTester, every

ROWS, K, DIM, TAU, TEACHER = 6, 3, 5, 0.2, 0.1


def drawn(rows: int, generator: torch.Generator) -> Inputs:
    anchor = F.normalize(torch.randn(rows, DIM, generator=generator, dtype=torch.float64), dim=-1)
    texts = F.normalize(torch.randn(rows, 1 + K, DIM, generator=generator, dtype=torch.float64), dim=-1)
    return {"video": anchor, "candidates": texts, "tau": torch.tensor(TAU, dtype=torch.float64)}


def masked(rows: int, generator: torch.Generator) -> Inputs:
    mask = torch.rand(rows, 1 + K, generator=generator) > 0.3
    mask[:, 0] = True
    mask[0, 1:] = False
    return drawn(rows, generator) | {"mask": mask}


def taught(rows: int, generator: torch.Generator) -> Inputs:
    likeness = torch.rand(rows, 1 + K, generator=generator, dtype=torch.float64)
    likeness[:, 0] = 1
    return masked(rows, generator) | {"teacher_sim": likeness, "tau_teacher": TEACHER}


def each_row(
    video: Tensor, candidates: Tensor, tau: Tensor, mask: Tensor, teacher_sim: Tensor | None = None, **_: float
) -> Tensor:
    """One row after the other, of the candidates that it has."""
    losses = []
    for row, there in enumerate(mask):
        if there[1:].any():
            p = (candidates[row, there] @ video[row] / tau).softmax(dim=0)
            if teacher_sim is None:
                losses.append(-p[0].log())
            else:
                q = (teacher_sim[row, there] / TEACHER).softmax(dim=0)
                losses.append((q * (q / p).log()).sum())
    return torch.stack(losses).mean() if losses else 0 * candidates.sum()


def whole(**given: Tensor) -> Tensor:
    return each_row(mask=torch.ones(given["candidates"].shape[:2], dtype=torch.bool), **given)


DIFFERENTIABLE = ("video", "candidates", "tau")
COLD = ({"tau": torch.tensor(0.01, dtype=torch.float64)},)
CASES = [
    Case("candidate_ce", candidate_ce, whole, drawn, DIFFERENTIABLE, extremes=COLD),
    Case("candidate_ce, masked", candidate_ce, each_row, masked, DIFFERENTIABLE, rows=ROWS, extremes=COLD),
    Case(
        "candidate_distill",
        candidate_distill,
        each_row,
        taught,
        DIFFERENTIABLE,
        rows=ROWS,
        extremes=COLD,
        fixed=("teacher_sim",),
    ),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_property(case: Case, check: str) -> None:
    getattr(LossTester, check)(LossTester(), case)


def test_a_candidate_that_is_not_there_changes_nothing() -> None:
    given = taught(ROWS, torch.Generator().manual_seed(0))
    other = given | {"candidates": given["candidates"].clone()}
    other["candidates"][~given["mask"]] = 9.0
    assert candidate_distill(**given) == candidate_distill(**other)


def test_a_row_without_altered_texts_counts_nothing() -> None:
    given = masked(ROWS, torch.Generator().manual_seed(0))
    others = {name: part if name == "tau" else part[1:] for name, part in given.items()}
    assert candidate_ce(**given) == candidate_ce(**others)
    assert candidate_ce(**given, average="none")[0] == 0
    alone = {name: part if name == "tau" else part[:1] for name, part in given.items()}
    assert candidate_ce(**alone) == 0
    assert candidate_ce(given["video"], given["candidates"][:, :1], 0.1) == 0


def test_a_cold_teacher_is_the_hard_label() -> None:
    given = taught(ROWS, torch.Generator().manual_seed(1)) | {"tau_teacher": 1e-3}
    hard = {name: given[name] for name in ("video", "candidates", "tau", "mask")}
    torch.testing.assert_close(candidate_distill(**given), candidate_ce(**hard))


def test_the_divergence_is_zero_where_the_order_is_the_teachers() -> None:
    given = drawn(ROWS, torch.Generator().manual_seed(2))
    video, texts = given["video"], given["candidates"]
    likeness = TEACHER * candidate_logits(video, texts, TAU)
    assert candidate_distill(video, texts, likeness, TAU, TEACHER).abs() < 1e-12


def test_the_teacher_gets_no_gradient() -> None:
    given = taught(ROWS, torch.Generator().manual_seed(0))
    likeness = given["teacher_sim"].requires_grad_()
    video = given["video"].clone().requires_grad_()
    candidate_distill(**given | {"video": video, "teacher_sim": likeness}).backward()
    assert likeness.grad is None
    assert video.grad is not None


def test_equal_candidates_cost_the_logarithm_of_their_number() -> None:
    text = torch.eye(DIM)[:1].expand(2, 1 + K, DIM)
    assert candidate_ce(torch.eye(DIM)[:2], text, 0.1).item() == pytest.approx(math.log(1 + K))


def test_sensitivity_is_a_difference_of_cosines_of_any_norm() -> None:
    video, text, other = (torch.randn(4, DIM, dtype=torch.float64) for _ in range(3))
    expected = F.cosine_similarity(video, other) - F.cosine_similarity(video, text)
    torch.testing.assert_close(swap_sensitivity(3 * video, 0.5 * text, 7 * other), expected)


def test_shapes_and_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="candidates"):
        candidate_ce(torch.eye(2), torch.zeros(3, 2, 2), 0.1)
    with pytest.raises(ShapeError, match="mask"):
        candidate_ce(torch.eye(2), torch.zeros(2, 3, 2), 0.1, torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ShapeError, match="teacher_sim"):
        candidate_distill(torch.eye(2), torch.zeros(2, 3, 2), torch.zeros(2, 2), 0.1, 0.1)
    with pytest.raises(ValueError, match="average"):
        candidate_ce(torch.eye(2), torch.zeros(2, 3, 2), 0.1, average="all")
