"""Classification among prototypes against loops and the reference values."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord import functional as AF
from functional.tester import Case, LossTester, every


def unit(rows: int, generator: torch.Generator, dim: int = 5) -> Tensor:
    return F.normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64), dim=1)


def soft_loop(
    x: Tensor,
    student_centroids: Tensor,
    labels: Tensor,
    logit_scale: Tensor,
    teacher_centroids: Tensor,
    target_temperature: float,
    valid: Tensor | None = None,
) -> Tensor:
    losses = []
    kept = [k for k in range(len(student_centroids)) if valid is None or valid[k]]
    for row, label in zip(x, labels, strict=True):
        scores = torch.stack([logit_scale * (row @ student_centroids[k]) for k in kept])
        near = torch.stack([teacher_centroids[label] @ teacher_centroids[k] / target_temperature for k in kept])
        losses.append(-(near.softmax(0) * scores.log_softmax(0)).sum())
    return torch.stack(losses).mean()


def proto_nce_loop(anchor: Tensor, assignment: Tensor, centroids: Tensor, phi: Tensor) -> Tensor:
    losses = []
    for row, own in zip(anchor, assignment, strict=True):
        scores = torch.stack([row @ c / p for c, p in zip(centroids, phi, strict=True)])
        losses.append(torch.logsumexp(scores, 0) - scores[own])
    return torch.stack(losses).mean()


def soft(rows: int, generator: torch.Generator) -> dict[str, Any]:
    made = {"x": unit(rows, generator), "student_centroids": unit(4, generator), "labels": torch.arange(rows) % 4}
    made |= {"logit_scale": torch.tensor(9.0).double(), "teacher_centroids": unit(4, generator, 3)}
    return made | {"target_temperature": 0.3}


def holed(rows: int, generator: torch.Generator) -> dict[str, Any]:
    labels = torch.arange(rows) % 3
    return soft(rows, generator) | {"labels": labels, "valid": torch.tensor([True, True, True, False])}


def concentrated(rows: int, generator: torch.Generator) -> dict[str, Any]:
    made = {"anchor": unit(rows, generator), "assignment": torch.arange(rows) % 3, "centroids": unit(3, generator)}
    return made | {"phi": torch.tensor([0.1, 0.2, 0.4]).double()}


HARSH = ({"logit_scale": 1e4}, {"target_temperature": 0.005})
CASES = [
    Case("prototype_loss", AF.prototype_loss, soft_loop, soft, ("x", "logit_scale"), extremes=HARSH),
    Case("prototype_loss empty", AF.prototype_loss, soft_loop, holed, ("x", "logit_scale"), extremes=HARSH),
    Case(
        "proto_nce", AF.proto_nce, proto_nce_loop, concentrated, ("anchor",), extremes=({"phi": torch.ones(3) / 1e3},)
    ),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


def test_soft_prototype_loss_equals_protoclip(golden) -> None:
    given_ = golden("protoclip")
    student, scale = (given_[name].clone().requires_grad_() for name in ("student", "logit_scale_proto"))
    centroids, teacher, labels = (given_[name] for name in ("student_centroids", "teacher_centroids", "labels"))
    loss = AF.prototype_loss(student, centroids, labels, scale, teacher_centroids=teacher, target_temperature=0.01)
    loss.backward()
    accuracy = 100 * ((student @ centroids.T).argmax(dim=1) == labels).double().mean()
    assert math.isclose(accuracy, given_["acc_soft"])
    for got, name in (
        (loss.detach(), "loss_soft"),
        (student.grad, "grad_student_soft"),
        (scale.grad, "grad_scale_soft"),
    ):
        torch.testing.assert_close(got, given_[name], rtol=1e-9, atol=1e-9)


def test_concentrated_prototypes_equal_gpc(golden) -> None:
    given_ = {k.split(".")[-1]: v for k, v in golden("gpc_gcd").items() if k.startswith("prototypical")}
    prototypes, phi, own = given_["prototypes"], given_["density"], given_["assign"]
    loss = (AF.proto_nce(given_["q"], own, prototypes, phi) + AF.proto_nce(given_["k"], own, prototypes, phi)) / 2
    torch.testing.assert_close(loss, given_["loss"], rtol=1e-5, atol=1e-5)


def test_concentrated_prototypes_equal_meow_up_to_its_constant(golden) -> None:
    given_ = golden("meow")
    anchor = given_["z_anchor"].clone().requires_grad_()
    losses = []
    for t, k in enumerate((4, 7)):
        loss = AF.proto_nce(anchor, given_[f"assign{t}"], given_[f"centroid{t}"], given_[f"density{t}"])
        losses.append(loss + math.log(len(anchor) / k))  # the released denominator is N times a mean, not a sum
    loss = torch.stack(losses).mean()
    loss.backward()
    torch.testing.assert_close(loss.detach(), given_["proto_loss"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(anchor.grad, given_["proto_grad_anchor"], rtol=1e-4, atol=1e-6)


def test_hard_targets_are_the_plain_prototype_loss_and_get_no_gradient_to_the_centroids() -> None:
    generator = torch.Generator().manual_seed(0)
    x, centroids, labels = unit(6, generator), unit(3, generator).requires_grad_(), torch.arange(6) % 3
    loss = AF.prototype_loss(x, centroids, labels, 10.0)
    torch.testing.assert_close(loss, AF.prototype_nce(x, centroids.detach(), labels, 0.1))
    assert not loss.requires_grad


def test_an_empty_cluster_takes_mass_unless_it_is_masked() -> None:
    centroids = torch.eye(3)
    centroids[2] = 0  # empty
    x, labels = torch.eye(3)[:2], torch.tensor([0, 1])
    phantom = AF.prototype_loss(x, centroids, labels, 2.0)
    masked = AF.prototype_loss(x, centroids, labels, 2.0, valid=torch.tensor([True, True, False]))
    torch.testing.assert_close(masked, AF.prototype_loss(x, centroids[:2], labels, 2.0))
    assert masked < phantom


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_temperature": 0.1}, "target_temperature needs teacher_centroids"),
        ({"target_temperature": 0.0, "teacher_centroids": torch.eye(3)}, "target_temperature = 0.0"),
        ({"valid": torch.ones(2)}, r"valid has shape \(2,\)"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AF.prototype_loss(torch.eye(3), torch.eye(3), torch.arange(3), 1.0, **options)
