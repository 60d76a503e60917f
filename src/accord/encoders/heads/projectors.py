"""Projectors and predictors: multilayer perceptrons with batch norm, on vectors and on the cells of a map."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.functional.checks import check_choice, check_range

Activation = Literal["relu", "gelu"]


class MLPHead(nn.Sequential):
    """Projector or predictor of self-supervised learning: Linear, BatchNorm, ReLU, …, Linear (SimCLR, BYOL, SwAV).

    With ``layers`` hidden layers, ``[Linear(→ hidden), BatchNorm, ReLU] × layers, Linear(→ d_out)``. Batch norm sees
    the rows of the batch, so that training needs at least two.

    Args:
        d_in: width of the input.
        d_out: width of the output.
        hidden: width of the hidden layers.
        layers: number of hidden layers; 0 is a linear map.
        bias: the linear maps of the hidden layers have a bias.
        last_bias: the last linear map has one; by default as ``bias``.
        norm_last: a batch norm after the last map: ``"affine"``, ``"plain"`` (without scale and shift) or ``"none"``.
        activation: ``"relu"`` or ``"gelu"`` (SlotCon).

    Raises:
        ValueError: an unknown ``norm_last`` or activation, a negative number of layers.

    Example:
        >>> import torch
        >>> MLPHead(8, 4, hidden=16, layers=2)(torch.randn(3, 8)).shape
        torch.Size([3, 4])
        >>> z = MLPHead(8, 4, hidden=16, norm_last="plain")(torch.randn(9, 8))
        >>> torch.allclose(z.mean(dim=0), torch.zeros(4), atol=1e-6)
        True
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        hidden: int = 4096,
        layers: int = 1,
        *,
        bias: bool = True,
        last_bias: bool | None = None,
        norm_last: Literal["none", "affine", "plain"] = "none",
        activation: Activation = "relu",
    ) -> None:
        check_range(0, max(layers, 0), layers=layers)
        check_choice(("none", "affine", "plain"), norm_last=norm_last)
        widths = [d_in, *[hidden] * layers]
        parts: list[nn.Module] = []
        for before, after in pairwise(widths):
            parts += [nn.Linear(before, after, bias=bias), nn.BatchNorm1d(after), _activation(activation)]
        parts.append(nn.Linear(widths[-1], d_out, bias=bias if last_bias is None else last_bias))
        if norm_last != "none":
            parts.append(nn.BatchNorm1d(d_out, affine=norm_last == "affine"))
        super().__init__(*parts)


class ConvHead(nn.Sequential):
    """:class:`MLPHead` for every cell of a map: 1×1 convolutions with batch norm over all cells (PixPro, SlotCon).

    Args:
        d_in: channels of the input.
        d_out: channels of the output.
        hidden: channels of the hidden layers.
        layers: number of hidden layers.
        activation: ``"relu"`` or ``"gelu"``.

    Raises:
        ValueError: an unknown activation, a negative number of layers.

    Example:
        >>> import torch
        >>> ConvHead(8, 4, hidden=16)(torch.randn(2, 8, 3, 3)).shape
        torch.Size([2, 4, 3, 3])
    """

    def __init__(
        self, d_in: int, d_out: int, hidden: int = 4096, layers: int = 1, *, activation: Activation = "relu"
    ) -> None:
        check_range(0, max(layers, 0), layers=layers)
        widths = [d_in, *[hidden] * layers]
        parts: list[nn.Module] = []
        for before, after in pairwise(widths):
            parts += [nn.Conv2d(before, after, 1), nn.BatchNorm2d(after), _activation(activation)]
        super().__init__(*parts, nn.Conv2d(widths[-1], d_out, 1))


class DINOHead(nn.Module):
    """Projector of DINO: an MLP without batch norm, a narrow unit-norm vector, and its cosines with directions.

    ``[Linear(→ hidden), GELU] × (layers - 1), Linear(→ bottleneck)``, unit norm, and a weight-normalised linear map
    without bias whose gains stay 1. Weights begin as a truncated normal of deviation 0.02, biases as 0.

    Args:
        d_in: width of the input.
        d_out: number of directions.
        hidden: width of the hidden layers.
        bottleneck: width of the narrow vector.
        layers: number of linear maps before it, at least 1.

    Raises:
        ValueError: fewer than one layer.

    Source:
        Caron et al. (2021, ICCV), appendix C.

    Example:
        >>> DINOHead(8, 4, hidden=16, bottleneck=6)(torch.randn(3, 8)).abs().max() <= 1
        tensor(True)
    """

    def __init__(self, d_in: int, d_out: int, hidden: int = 2048, bottleneck: int = 256, layers: int = 3) -> None:
        super().__init__()
        check_range(1, max(layers, 1), layers=layers)
        widths = [d_in, *[hidden] * (layers - 1)]
        parts = [part for before, after in pairwise(widths) for part in (nn.Linear(before, after), nn.GELU())]
        self.mlp = nn.Sequential(*parts, nn.Linear(widths[-1], bottleneck))
        self.directions = nn.Parameter(torch.empty(d_out, bottleneck))
        for weight in (self.directions, *(part.weight for part in self.mlp if isinstance(part, nn.Linear))):
            nn.init.trunc_normal_(weight, std=0.02)
        for part in self.mlp:
            if isinstance(part, nn.Linear):
                nn.init.zeros_(part.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Cosines ``(B, d_out)``, in float32, of ``x (B, d_in)`` with the directions."""
        narrow = self.mlp(x)
        with torch.autocast(narrow.device.type, enabled=False):
            return F.normalize(narrow.float(), dim=-1) @ F.normalize(self.directions.float(), dim=-1).T


def _activation(name: Activation) -> nn.Module:
    check_choice(("relu", "gelu"), activation=name)
    return nn.ReLU(inplace=True) if name == "relu" else nn.GELU()
