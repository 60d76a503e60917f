"""The low-dimensional heads of CAPro for one label per image and for several (section "Multi-label branch")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SingleLabelHead(nn.Module):
    """One linear classifier on the projection; its weights are not normalised, its input is.

    Args:
        classes: C.
        dim: width d of the projection.
    """

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.low = nn.Linear(dim, classes, bias=False)

    def prototype_input(self, z: Tensor) -> Tensor:
        """What is compared with the prototypes: ``z (B, d)`` itself."""
        return z

    def forward(self, z: Tensor) -> Tensor:
        """Logits ``(B, C)`` of unit-norm ``z (B, d)``."""
        return self.low(z)


class MultiLabelHead(nn.Module):
    """Per class a projection of its own (linear, unit norm) and a one-logit classifier on it.

    Args:
        classes: C.
        dim: width d of the projection.
    """

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, dim, dim).uniform_(-(dim**-0.5), dim**-0.5))
        self.bias = nn.Parameter(torch.zeros(classes, dim))
        self.low = nn.Parameter(torch.empty(classes, dim).uniform_(-(dim**-0.5), dim**-0.5))

    def prototype_input(self, z: Tensor) -> Tensor:
        """Class-specific unit vectors ``(B, C, d)`` of ``z (B, d)``."""
        return F.normalize((torch.einsum("bd,ced->bce", z, self.weight) + self.bias).float(), dim=-1)

    def forward(self, z: Tensor) -> Tensor:
        """Logits ``(B, C)`` of unit-norm ``z (B, d)``."""
        return torch.einsum("bcd,cd->bc", self.prototype_input(z), self.low)
