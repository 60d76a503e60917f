"""The learnable temperature: as the logarithm of its inverse (CLIP), or as it is (ALBEF, TCL)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from accord.functional.checks import check_positive
from accord.state.base import FullPrecisionState


class LogitScale(FullPrecisionState):
    """Factor on the cosine, learned as its logarithm (CLIP): ``forward() = exp(log_scale)``.

    Call :meth:`clamp_` after each optimiser step.

    Args:
        init: the factor to begin with, 1 / temperature.
        max: the largest factor that :meth:`clamp_` allows.
        min: the smallest one.

    Raises:
        ValueError: init, max or min not finite and positive, or init outside [min, max].

    Example:
        >>> scale = LogitScale(init=10.0)
        >>> round(scale().item(), 4)
        10.0
    """

    def __init__(self, init: float = 1 / 0.07, max: float = 100.0, min: float = 1.0) -> None:
        super().__init__()
        check_positive(init=init, max=max, min=min)
        if not min <= init <= max:
            raise ValueError(f"init = {init}: expected a factor in [min, max] = [{min}, {max}]")
        self.max, self.min = max, min
        self.log_scale = nn.Parameter(torch.tensor(math.log(init)))

    def forward(self) -> Tensor:
        """The factor, a scalar with gradient."""
        return self.log_scale.exp()

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bring the parameter itself back to [ln min, ln max], so that it cannot wander off beyond the clamp."""
        self.log_scale.clamp_(math.log(self.min), math.log(self.max))

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"min={self.min}, max={self.max}"


class Temperature(FullPrecisionState):
    """Divisor of the cosine, learned as it is (ALBEF; Li et al. 2021, NeurIPS; TCL): ``forward() = value``.

    Call :meth:`clamp_` after each optimiser step.

    Args:
        init: the temperature to begin with.
        min: the smallest that :meth:`clamp_` allows.
        max: the largest.

    Raises:
        ValueError: init, min or max not finite and positive, or init outside [min, max].

    Example:
        >>> temperature = Temperature(0.07)
        >>> _ = temperature.value.data.fill_(-1.0)
        >>> temperature.clamp_()
        >>> round(temperature().item(), 4)
        0.001
    """

    def __init__(self, init: float = 0.07, min: float = 0.001, max: float = 0.5) -> None:
        super().__init__()
        check_positive(init=init, min=min, max=max)
        if not min <= init <= max:
            raise ValueError(f"init = {init}: expected a temperature in [min = {min}, max = {max}]")
        self.min, self.max = min, max
        self.value = nn.Parameter(torch.tensor(float(init)))

    def forward(self) -> Tensor:
        """The temperature, a scalar with gradient."""
        return self.value

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bring the parameter itself back to [min, max]: a step may carry it below 0."""
        self.value.clamp_(self.min, self.max)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"min={self.min}, max={self.max}"
