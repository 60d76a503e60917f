"""AdaMEOW's contrast: values and gradients against the dense form, blocks of any size, and memory without pairs."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import adaptive_infonce
from accord.functional.contrast import adaptive
from functional.tester import Case, Inputs, LossTester, every

NAMES = ("anchor", "other", "left", "right", "readout", "bias", "tau")
GROWTH = """
import resource, torch
import torch.nn.functional as F
from accord.functional import adaptive_infonce
torch.set_num_threads(1)

def step(rows):
    x = [F.normalize(torch.randn(rows, 32), dim=1).requires_grad_() for _ in range(2)]
    hidden = [torch.randn(rows, 8, requires_grad=True) for _ in range(2)]
    adaptive_infonce(*x, *hidden, torch.ones(8, requires_grad=True), torch.zeros(1), 0.5).backward()

step(64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
step(6000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def made(rows: int, generator: torch.Generator) -> Inputs:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    anchor, other = F.normalize(normal(2, rows, 6), dim=2)
    left, right = normal(2, rows, 3)
    tau = torch.tensor(0.4, dtype=torch.float64)
    return dict(zip(NAMES, (anchor, other, left, right, normal(3), normal(1), tau), strict=True))


def dense(
    anchor: Tensor,
    other: Tensor,
    left: Tensor,
    right: Tensor,
    readout: Tensor,
    bias: Tensor,
    tau: Tensor,
    normalize: bool = False,
) -> Tensor:
    weights = ((left[:, None] + right).tanh() @ readout + bias).sigmoid()
    if normalize:
        weights = weights / weights.mean(dim=1, keepdim=True)
    cosines = anchor @ other.T / tau
    return ((weights.log() + cosines).logsumexp(dim=1) - cosines.diagonal()).mean()


CASES = [
    Case(
        name,
        lambda chosen=normalize, **inputs: adaptive_infonce(**inputs, normalize=chosen),
        lambda chosen=normalize, **inputs: dense(**inputs, normalize=chosen),
        made,
        NAMES,
        extremes=({"tau": 0.005}, {"bias": torch.tensor([-200.0])}, {"bias": torch.tensor([200.0])}),
        fixed=("readout", "bias"),
        vmap=False,
        compiles=False,
    )
    for name, normalize in (("as they are", False), ("normalised", True))
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 50])
def test_blocks_of_any_size_give_the_same_values_and_gradients(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(adaptive, "HIDDEN_UNITS", 0)
    monkeypatch.setattr(adaptive, "LEAST_ROWS", rows)
    for case in CASES:
        LossTester().float64_equals_the_reference(case)


def test_memory_grows_with_the_rows_and_not_with_their_pairs() -> None:
    kilobytes = int(subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True).stdout)
    assert kilobytes < 70_000  # one matrix of pairs has 144,000, their hidden units eight times as many


def test_shapes_that_do_not_fit_are_named() -> None:
    unit, two = torch.eye(3), torch.zeros(3, 2)
    with pytest.raises(ShapeError, match="readout has shape"):
        adaptive_infonce(unit, unit, two, two, torch.ones(3), torch.zeros(1), 0.5)
    with pytest.raises(ShapeError, match="right has shape"):
        adaptive_infonce(unit, unit, two, two[:2], torch.ones(2), torch.zeros(1), 0.5)
    with pytest.raises(ShapeError, match="bias has shape"):
        adaptive_infonce(unit, unit, two, two, torch.ones(2), torch.zeros(2), 0.5)
    with pytest.raises(ValueError, match="tau"):
        adaptive_infonce(unit, unit, two, two, torch.ones(2), torch.zeros(1), 0.0)
