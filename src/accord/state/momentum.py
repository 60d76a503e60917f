"""The slow copy of an encoder that makes stable keys (MoCo; He et al. 2020, CVPR, eq. 2)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from accord.functional.checks import check_share


class MomentumEncoder(nn.Module):
    """An exponential moving average of a module, without gradient: ``slow <- m slow + (1 - m) online``.

    The copy starts equal to the module. Its buffers (batch-norm statistics) are its own unless ``buffers`` is
    set.

    Args:
        module: the online module; copied, not held.
        momentum: m.
        buffers: average floating-point buffers too, and copy the others.

    Raises:
        ValueError: momentum outside [0, 1].

    Example:
        >>> online = nn.Linear(2, 2)
        >>> slow = MomentumEncoder(online, momentum=0.9)
        >>> nn.init.zeros_(online.weight).sum().item()
        0.0
        >>> before = slow.module.weight.clone()
        >>> slow.update(online)
        >>> torch.allclose(slow.module.weight, 0.9 * before)
        True
    """

    def __init__(self, module: nn.Module, momentum: float = 0.999, *, buffers: bool = False) -> None:
        super().__init__()
        check_share(momentum=momentum)
        self.module = deepcopy(module).requires_grad_(False)
        self.momentum, self.buffers_too = momentum, buffers

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the slow module returns, without gradient."""
        return self.module(*args, **kwargs)

    @torch.no_grad()
    def update(self, online: nn.Module, momentum: float | None = None) -> None:
        """Move towards the online module; call it once per optimiser step.

        Args:
            online: the module that was copied.
            momentum: this step's m when it follows a schedule, by default the constructor's.

        Raises:
            ValueError: momentum outside [0, 1], or a module whose parameters have other names.
        """
        momentum = self.momentum if momentum is None else momentum
        check_share(momentum=momentum)
        _blend(dict(self.module.named_parameters()), dict(online.named_parameters()), momentum)
        if self.buffers_too:
            _blend(dict(self.module.named_buffers()), dict(online.named_buffers()), momentum)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"momentum={self.momentum}"


def _blend(slow: dict[str, Tensor], online: dict[str, Tensor], momentum: float) -> None:
    if slow.keys() != online.keys():
        differing = sorted(slow.keys() ^ online.keys())
        raise ValueError(f"the online module differs from the copied one in {', '.join(differing)}")
    for name, tensor in slow.items():
        if tensor.is_floating_point():
            tensor.lerp_(online[name].to(tensor), 1 - momentum)
        else:
            tensor.copy_(online[name])
