"""Single 8×8 digits as tensors, and views of them: what a claim trains on in seconds, without a picture being made."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.digits import Digits


def as_pictures(digits: Digits) -> Tensor:
    """``(N, 3, 8, 8)`` in [-1, 1]."""
    return torch.from_numpy(digits.pixels).float()[:, None].expand(-1, 3, -1, -1) / 127.5 - 1


def view_of(x: Tensor, area: tuple[float, float] = (0.5, 1.0)) -> Tensor:
    """Another view of pictures ``(B, 3, 8, 8)``: a crop of so much of the area, a turn, another contrast, noise."""
    count, (low, high) = len(x), area
    side = (low + (high - low) * torch.rand(count)).sqrt()
    angle = 0.3 * torch.randn(count).clamp(-1, 1)
    shift = (2 * torch.rand(count, 2) - 1) * (1 - side)[:, None]
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    grid = F.affine_grid(torch.cat([side[:, None, None] * turn, shift[..., None]], dim=2), list(x.shape), False)
    seen = F.grid_sample(x + 1, grid, align_corners=False) - 1  # what lies outside is black
    contrast = 0.6 + 0.8 * torch.rand(count, 1, 1, 1)
    return ((seen + 1) * contrast - 1) + 0.1 * torch.randn_like(seen)
