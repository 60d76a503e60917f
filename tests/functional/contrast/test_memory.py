"""Distillation of one table of scores into another."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import kl_rows
from functional.tester import Case, Inputs, LossTester, every


def inputs(rows: int, generator: torch.Generator) -> Inputs:
    student, teacher = (torch.randn(2, rows, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    return {"student": student, "teacher": teacher}


def reference(student: Tensor, teacher: Tensor) -> Tensor:
    total = student.new_zeros(())
    for found, wanted in zip(student.flatten(0, 1), teacher.flatten(0, 1), strict=True):
        total = total + F.kl_div(found.log_softmax(0), wanted.log_softmax(0), reduction="sum", log_target=True)
    return total / student.shape[:2].numel()


def both(student: Tensor, teacher: Tensor) -> Tensor:
    return kl_rows(student, teacher, detach_teacher=False)


CASE = Case(
    "kl_rows", both, reference, inputs, ("student", "teacher"), extremes=({"student": 1e4 * torch.eye(4)[None]},)
)


class TestKlRows(LossTester):
    @pytest.mark.parametrize(("case", "check"), every([CASE]))
    def test_property(self, case: Case, check: str) -> None:
        if check == "extremes_stay_finite":
            student = (1e4 * torch.eye(4)[None]).requires_grad_()
            loss = kl_rows(student, -1e4 * torch.eye(4)[None])
            loss.backward()
            assert loss.isfinite()
            assert student.grad is not None
            assert student.grad.isfinite().all()
        else:
            getattr(self, check)(case)


def test_masked_rows_and_columns_are_as_if_they_were_not_there() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 3, 5, generator=generator, requires_grad=True) for _ in range(2))
    rows, columns = torch.tensor([[True, True, False]] * 2), torch.tensor([[True, True, True, False, False]] * 2)
    found = kl_rows(student, teacher, row_mask=rows, column_mask=columns)
    torch.testing.assert_close(found, kl_rows(student[:, :2, :3], teacher[:, :2, :3]))
    gradient = torch.autograd.grad(found, student)[0]
    assert (gradient[:, 2] == 0).all()
    assert (gradient[:, :, 3:] == 0).all()


def test_tables_count_alike_however_many_rows_they_have() -> None:
    student, teacher = torch.zeros(2, 3, 2), torch.zeros(2, 3, 2)
    teacher[0, 0, 0] = teacher[1, :, 0] = 99.0
    rows = torch.tensor([[True, False, False], [True, True, True]])
    assert kl_rows(student, teacher, row_mask=rows).item() == pytest.approx(0.6931, abs=1e-4)


def test_by_elements_it_is_smaller_by_the_number_of_columns() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(6, 4, generator=generator) for _ in range(2))
    torch.testing.assert_close(4 * kl_rows(student, teacher, reduction="numel"), kl_rows(student, teacher))
    torch.testing.assert_close(kl_rows(2 * student, 2 * teacher, temperature=2.0), kl_rows(student, teacher))


def test_the_teacher_is_pulled_only_if_it_is_asked_to_be() -> None:
    student, teacher = torch.zeros(1, 2, requires_grad=True), torch.tensor([[1.0, 0.0]], requires_grad=True)
    kl_rows(student, teacher).backward()
    assert teacher.grad is None
    kl_rows(student, teacher, detach_teacher=False).backward()
    assert teacher.grad is not None
    assert teacher.grad.abs().sum() > 0


def test_tables_of_different_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="teacher"):
        kl_rows(torch.zeros(2, 3), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="reduction"):
        kl_rows(torch.zeros(2, 3), torch.zeros(2, 3), reduction="sum")  # type: ignore[arg-type]
