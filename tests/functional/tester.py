"""One tester for every differentiable function: values and gradients against an independent dense reference.

A :class:`Case` names the function, a float64 re-derivation of it, how to make inputs, and what its extremes are;
every public check of :class:`LossTester` is one property that each case must have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

Inputs = dict[str, Any]

CHECKS = (
    "float64_equals_the_reference",
    "float32_equals_the_reference",
    "bfloat16_input_is_computed_in_float32",
    "autocast_changes_nothing",
    "extremes_stay_finite",
    "non_contiguous_input_gives_the_same",
)


@dataclass(frozen=True)
class Case:
    """A function under test.

    Args:
        name: what pytest prints.
        function: the function of ours, a scalar or a tensor.
        reference: the same by another, dense way; called with float64 inputs.
        make: ``(rows, generator) -> keyword arguments`` in float64.
        differentiable: arguments whose gradient is compared.
        rows: number of rows of the ordinary input.
        fewest: smallest number of rows that the function accepts.
        extremes: overrides of arguments that must stay finite, such as a temperature of 0.005.
        fixed: floating-point arguments that are no rows of features, and so are never made equal.
        vmap: whether ``torch.func.vmap`` over a leading dimension applies.
        compiles: whether ``torch.compile`` traces it as one graph.
        gradcheck: False where the function holds a part of its arguments constant on purpose.
    """

    name: str
    function: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    make: Callable[[int, torch.Generator], Inputs]
    differentiable: tuple[str, ...]
    rows: int = 7
    fewest: int = 1
    extremes: tuple[Inputs, ...] = field(default=())
    fixed: tuple[str, ...] = ("targets",)
    vmap: bool = True
    compiles: bool = True
    gradcheck: bool = True

    def __str__(self) -> str:
        return self.name


def every(cases: list[Case]) -> list[Any]:
    """Parameters ``(case, check)`` for pytest: each case with each check that applies to it."""
    pairs = [
        (case, check)
        for case in cases
        for check in (
            *CHECKS,
            *["gradients_pass_gradcheck"] * case.gradcheck,
            *["vmap_equals_a_loop"] * case.vmap,
            *["compiles_to_one_graph"] * case.compiles,
            "compiled_gradients_are_the_same",
        )
    ]
    return [pytest.param(case, check, id=f"{case}-{check}") for case, check in pairs]


class LossTester:
    """The checks; each takes a case."""

    @staticmethod
    def inputs(case: Case, rows: int | None = None, seed: int = 0) -> Inputs:
        return case.make(case.rows if rows is None else rows, torch.Generator().manual_seed(seed))

    @staticmethod
    def run(
        fn: Callable[..., Tensor], case: Case, inputs: Inputs, autocast: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Value, and the gradients of a fixed weighted sum of it."""
        leaves = {name: torch.as_tensor(inputs[name]).detach().clone().requires_grad_() for name in case.differentiable}
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            value = fn(**(inputs | leaves))
        if not leaves:
            return value, []
        weight = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).view_as(value)
        grads = torch.autograd.grad((value * weight).sum(), list(leaves.values()), materialize_grads=True)
        return value.detach(), list(grads)

    def check_equal(self, case: Case, inputs: Inputs, expected: Inputs, tolerance: float) -> None:
        """The function on ``inputs`` gives the reference's value and gradients on ``expected``."""
        value, grads = self.run(case.function, case, inputs)
        wanted, wanted_grads = self.run(case.reference, case, expected)
        torch.testing.assert_close(value.double(), wanted, rtol=tolerance, atol=tolerance)
        for name, got, want in zip(case.differentiable, grads, wanted_grads, strict=True):
            loose = max(tolerance, torch.finfo(got.dtype).eps * 2)
            scale = max(1.0, float(want.abs().max()))
            torch.testing.assert_close(
                got.double() / scale, want / scale, rtol=loose, atol=loose, msg=lambda m, n=name: f"{n}: {m}"
            )

    def float64_equals_the_reference(self, case: Case) -> None:
        inputs = self.inputs(case)
        self.check_equal(case, inputs, inputs, 1e-10)

    def float32_equals_the_reference(self, case: Case) -> None:
        single = cast(self.inputs(case), torch.float32)
        self.check_equal(case, single, cast(single, torch.float64), 1e-5)

    def bfloat16_input_is_computed_in_float32(self, case: Case) -> None:
        half = cast(self.inputs(case), torch.bfloat16)
        value, grads = self.run(case.function, case, half)
        wanted, _ = self.run(case.reference, case, cast(half, torch.float64))
        torch.testing.assert_close(value.double(), wanted, rtol=1e-4, atol=1e-4)
        assert all(grad.isfinite().all() for grad in grads)

    def autocast_changes_nothing(self, case: Case) -> None:
        single = cast(self.inputs(case), torch.float32)
        value, grads = self.run(case.function, case, single)
        cast_value, cast_grads = self.run(case.function, case, single, autocast=True)
        for got, want in zip([cast_value, *cast_grads], [value, *grads], strict=True):
            torch.testing.assert_close(got, want)

    def gradients_pass_gradcheck(self, case: Case) -> None:
        inputs = self.inputs(case, max(4, case.fewest))
        leaves = tuple(inputs[name].detach().clone().requires_grad_() for name in case.differentiable)

        def call(*values: Tensor) -> Tensor:
            return case.function(**(inputs | dict(zip(case.differentiable, values, strict=True))))

        assert not leaves or torch.autograd.gradcheck(call, leaves)

    def extremes_stay_finite(self, case: Case) -> None:
        for inputs in self._extreme_inputs(case):
            for overrides in ({}, *case.extremes):
                value, grads = self.run(case.function, case, cast(inputs, torch.float32) | overrides)
                assert value.isfinite().all(), (value, overrides)
                assert all(grad.isfinite().all() for grad in grads), overrides

    def non_contiguous_input_gives_the_same(self, case: Case) -> None:
        inputs = self.inputs(case)
        strided = {
            name: value.mT.contiguous().mT if isinstance(value, Tensor) and value.ndim >= 2 else value
            for name, value in inputs.items()
        }
        self.check_equal(case, strided, inputs, 1e-10)

    def vmap_equals_a_loop(self, case: Case) -> None:
        first, second = self.inputs(case, seed=0), self.inputs(case, seed=1)
        names = [name for name in case.differentiable if first[name].ndim]
        stacked = tuple(torch.stack([first[name], second[name]]) for name in names)
        rest = {name: value for name, value in first.items() if name not in names}

        def call(*values: Tensor) -> Tensor:
            return case.function(**rest, **dict(zip(names, values, strict=True)))

        loop = torch.stack([call(*(pair[i] for pair in stacked)) for i in range(2)])
        torch.testing.assert_close(torch.func.vmap(call)(*stacked), loop)

    def compiles_to_one_graph(self, case: Case) -> None:
        inputs = self.inputs(case)
        torch.compiler.reset()
        compiled = torch.compile(case.function, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(**inputs), case.function(**inputs))

    def compiled_gradients_are_the_same(self, case: Case) -> None:
        """Through a trace of forward and backward pass; what cannot be traced runs as it is."""
        inputs = self.inputs(case)
        torch.compiler.reset()
        compiled = torch.compile(case.function, backend="aot_eager")
        (value, grads), (expected, wanted) = (self.run(fn, case, inputs) for fn in (compiled, case.function))
        torch.testing.assert_close(value, expected)
        for got, want in zip(grads, wanted, strict=True):
            torch.testing.assert_close(got, want)

    def _extreme_inputs(self, case: Case) -> list[Inputs]:
        ordinary = self.inputs(case)
        features = [
            name
            for name, value in ordinary.items()
            if isinstance(value, Tensor) and value.is_floating_point() and value.ndim >= 2 and name not in case.fixed
        ]
        duplicate = {name: torch.cat([ordinary[name][:1], ordinary[name][:-1]]) for name in features}
        equal = {name: ordinary[name][:1].expand_as(ordinary[name]).contiguous() for name in features}
        return [ordinary, ordinary | duplicate, ordinary | equal, self.inputs(case, case.fewest)]


def cast(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """Every floating-point tensor in ``dtype``."""
    return {
        name: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in inputs.items()
    }
