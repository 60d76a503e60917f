"""The learnable temperature of CLIP."""

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

    Raises:
        ValueError: init or max not finite and positive, or init outside [1, max].

    Example:
        >>> scale = LogitScale(init=10.0)
        >>> round(scale().item(), 4)
        10.0
    """

    def __init__(self, init: float = 1 / 0.07, max: float = 100.0) -> None:
        super().__init__()
        check_positive(init=init, max=max)
        if not 1 <= init <= max:
            raise ValueError(f"init = {init}: expected a factor in [1, max = {max}]")
        self.max = max
        self.log_scale = nn.Parameter(torch.tensor(math.log(init)))

    def forward(self) -> Tensor:
        """The factor, a scalar with gradient."""
        return self.log_scale.exp()

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bring the parameter itself back to [0, ln max], so that it cannot wander off beyond the clamp."""
        self.log_scale.clamp_(0, math.log(self.max))

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"max={self.max}"
