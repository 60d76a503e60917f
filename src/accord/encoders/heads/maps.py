"""Heads on maps of cells: propagation among similar pixels, and grouping into slots."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from accord.functional.checks import check_range
from accord.functional.dense.losses import pixel_propagation
from accord.functional.dense.slots import semantic_grouping


class PixelPropagation(nn.Module):
    """Smooth a map by its similarity with itself, with a learned value transform (PixPro; Xie et al. 2021, CVPR).

    Args:
        dim: channels C.
        power: exponent of the similarity.
        num_layers: 1×1 convolutions of the transform: 0 is the identity, 1 a linear map, 2 have batch norm and ReLU
            between them.
        clamp: lower end of the similarity.

    Example:
        >>> PixelPropagation(8)(torch.randn(2, 8, 3, 3)).shape
        torch.Size([2, 8, 3, 3])
    """

    def __init__(self, dim: int, power: float = 2.0, num_layers: int = 1, clamp: float = 0.0) -> None:
        super().__init__()
        check_range(0, 2, num_layers=num_layers)
        self.power, self.clamp = power, clamp
        layers: list[nn.Module] = [nn.Conv2d(dim, dim, 1)] if num_layers else []
        if num_layers == 2:
            layers += [nn.BatchNorm2d(dim), nn.ReLU(), nn.Conv2d(dim, dim, 1)]
        self.transform = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~accord.functional.dense.losses.pixel_propagation` of ``x (N, C, H, W)``."""
        return pixel_propagation(x, self.transform, self.power, self.clamp)


class SemanticGrouping(nn.Module):
    """Assign the cells of a map to K learned prototypes and pool each into a slot (SlotCon; Wen et al. 2022, NeurIPS).

    Args:
        num_prototypes: K.
        dim: channels D.
        temp: temperature of the assignment.
        eps: added to every assignment.

    Example:
        >>> slots, dots = SemanticGrouping(5, 8)(torch.randn(2, 8, 3, 3))
        >>> slots.shape, dots.shape
        (torch.Size([2, 5, 8]), torch.Size([2, 5, 3, 3]))
    """

    def __init__(self, num_prototypes: int, dim: int, temp: float = 0.07, eps: float = 1e-6) -> None:
        super().__init__()
        self.temp, self.eps = temp, eps
        self.prototypes = nn.Parameter(torch.randn(num_prototypes, dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """:func:`~accord.functional.dense.slots.semantic_grouping` of ``x (B, D, H, W)``: slots and cosines."""
        return semantic_grouping(x, self.prototypes, self.temp, self.eps)
