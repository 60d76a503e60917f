"""A tower that training cannot touch."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import nn


class LockedTower(nn.Module):
    """Holds a module frozen: no gradient, and eval mode whatever ``train()`` says, so that batch norm stands still.

    Locked-image tuning (LiT; Zhai et al. 2022, CVPR) and CWCL (Srinivasa et al. 2023, NeurIPS) train one tower
    against such another.

    Args:
        module: held and frozen, not copied.

    Example:
        >>> tower = LockedTower(nn.BatchNorm1d(2)).train()
        >>> tower(torch.randn(4, 2, requires_grad=True)).requires_grad, tower.module.training
        (False, False)
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.requires_grad_(False)
        self.train()

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module returns, without gradient."""
        return self.module(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """As :meth:`torch.nn.Module.train`, but the module remains in eval mode."""
        super().train(mode)
        self.module.eval()
        return self
