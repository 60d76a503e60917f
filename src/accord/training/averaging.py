"""Exponential moving average of the trained weights, kept beside them and put in their place at the end of a stage."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from accord.functional.distributed import is_sharded, shard_like
from accord.methods.shapes import Resized


class WeightAverage:
    """Averaged copy of parameters: after step t, ``a <- d a + (1 - d) w`` with ``d = min(decay, (1 + t) / (10 + t))``.

    The smaller decay of the first steps keeps the random start out of the average. Only the parameters given are
    copied, so frozen encoders cost no memory; buffers (batch-norm statistics, queues) stay those of the last step.

    Args:
        named: the trained parameters by name.
        decay: in (0, 1).

    Example:
        >>> weight = nn.Parameter(torch.zeros(1))
        >>> average = WeightAverage([("weight", weight)], decay=0.9)
        >>> weight.data += 1.0
        >>> average.update()
        >>> average.apply()
        >>> round(weight.item(), 4)
        0.8182
    """

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self._live = dict(named)
        self._copy = {name: parameter.detach().clone() for name, parameter in self._live.items()}
        parts = [[name for name, weight in self._live.items() if is_sharded(weight) is kind] for kind in (True, False)]
        self._alike = [part for part in parts if part]  # no operation takes both

    @torch.no_grad()
    def update(self) -> None:
        """Take the current weights into the average."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for names in self._alike:
            live = [self._live[name].detach() for name in names]
            torch._foreach_lerp_([self._copy[name] for name in names], live, 1 - decay)

    def follow(self, resized: Resized) -> None:
        """Keep the rows of the average that a parameter kept."""
        if resized.name in self._copy:
            self._copy[resized.name] = resized.follow(self._copy[resized.name])

    @torch.no_grad()
    def apply(self) -> None:
        """Replace the current weights by their average."""
        for name, parameter in self._live.items():
            parameter.copy_(self._copy[name])

    def state_dict(self) -> dict[str, Tensor | int]:
        """The average and its step count."""
        return {"steps": self.steps, **{f"average.{name}": value for name, value in self._copy.items()}}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Continue from :meth:`state_dict`."""
        self.steps = int(state["steps"])
        for name, value in self._copy.items():
            saved = state[f"average.{name}"]
            assert isinstance(saved, Tensor)
            value.copy_(shard_like(saved, value))
