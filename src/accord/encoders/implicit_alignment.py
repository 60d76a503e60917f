"""Implicit alignment: where in two neighbouring frames the thing is that they have in common, and what lies there.

Tu et al. 2023, ICCV. A small convolutional net looks at the maps of both frames and points to a place in either; soft
windows around the places weigh the frames' patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from accord.encoders.pooling import unpacked
from accord.errors import ConfigError
from accord.functional.checks import as_float
from accord.functional.dense import merge_pairs, neighbour_average, soft_window

Kind = Literal["separable", "dense"]
DELTA = 0.2  # how far away the neighbours of a point are, at first
REACH = 0.75  # the largest coordinate of a point


@dataclass(frozen=True)
class Alignment:
    """What :class:`ImplicitAlignment` makes of a clip.

    Args:
        aligned: ``(B, T, 1 + N, C)`` the tokens of each frame, its patches weighed by its windows.
        interactive: ``(B, T, 1 + N, C)`` what the net made of its pairs, behind the class token; None without.
        pair: two ``(B, T-1, C)``, the contents of the windows of each pair: sums over the weighed patches.
        points: ``(B, T-1, 2, 2)`` as (x, y) in the earlier frame and in the later one.
    """

    aligned: Tensor
    interactive: Tensor | None
    pair: tuple[Tensor, Tensor]
    points: Tensor

    @property
    def pooled(self) -> Tensor:
        """``(B, T, C)`` the mean of the aligned patches."""
        return self.aligned[:, :, 1:].mean(dim=2)


class ImplicitAlignment(nn.Module):
    """Points to a place in either frame of each pair of neighbours, and weighs their patches by windows around them.

    In training a window is the mean of nine, around the point and its neighbours ``delta`` away.

    Args:
        dim: width C of a token.
        grid: patches W on a side, at least 4: the net halves the map twice.
        hidden: channels of the net; a multiple of 8.
        kind: ``"separable"``, whose first convolution is depthwise, or ``"dense"``.
        interactive: whether what the net made of the pairs is returned as tokens.

    Raises:
        ConfigError: fewer patches.

    Example:
        >>> found = ImplicitAlignment(16, grid=4, hidden=16)(torch.rand(2, 3, 17, 16))
        >>> found.aligned.shape, found.points.shape
        (torch.Size([2, 3, 17, 16]), torch.Size([2, 2, 2, 2]))
    """

    delta: Tensor

    def __init__(
        self, dim: int, grid: int, hidden: int = 256, kind: Kind = "separable", *, interactive: bool = True
    ) -> None:
        super().__init__()
        if grid < 4:
            raise ConfigError(
                f"alignment: {grid} x {grid} patches of a frame are too few to point at: expected at least 4 x 4, "
                "from larger frames (size) or smaller patches (patch)"
            )
        self.grid, self.hidden = grid, hidden
        self.interact, self.points = _pair_net(2 * dim, hidden, kind), PointHead(hidden)
        self.temporal = nn.Conv3d(hidden // 2, hidden // 2, (3, 1, 1), padding=(1, 0, 0)) if interactive else None
        self.spread = nn.Linear(hidden // 2, dim) if interactive else None
        self.register_buffer("delta", torch.tensor(DELTA))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Alignment:
        """Tokens ``(B, T, 1 + N, C)``; pairs with a frame where ``mask (B, T)`` is False count as none."""
        prev, cur = tokens[:, :-1, 1:], tokens[:, 1:, 1:]  # (B, T-1, N, C)
        real = real_pairs(mask)
        maps, points = self._look(torch.cat([prev, cur], dim=-1), real)  # (B, T-1, h, W, W), (B, T-1, 2, 2)
        windows = self._windows(points).flatten(-2)[..., None].to(prev)  # (B, T-1, 2, N, 1)
        prev, cur = windows[:, :, 0] * prev, windows[:, :, 1] * cur
        own = tokens[:, :, :1]
        aligned = torch.cat([own, merge_pairs(prev, cur, real)], dim=2)
        there = torch.ones((), device=tokens.device) if real is None else real[..., None]
        pair = [as_float(patches).sum(dim=2) * there for patches in (prev, cur)]
        return Alignment(aligned, self._interactive(own, maps, real), (pair[0], pair[1]), points)

    def _look(self, patches: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the net makes of patches ``(B, T-1, N, 2C)``, of real pairs alone: padding moves no batch statistics."""
        chosen = patches.flatten(0, 1) if real is None else patches[real]
        chosen = chosen.mT.contiguous().unflatten(2, (self.grid, self.grid))  # (P, 2C, W, W)
        if len(chosen):
            maps = self.interact(chosen)
            points = REACH * as_float(self.points(maps))  # (P, 4)
        else:  # single frames, of which there are no batch statistics
            maps, points = chosen.new_zeros(0, self.hidden, self.grid, self.grid), chosen.new_zeros(0, 4)
        found = [unpacked(part, patches.shape[:2], real) for part in (maps, points)]
        return found[0], found[1].unflatten(2, (2, 2))

    def _windows(self, points: Tensor) -> Tensor:
        return neighbour_average(points, self.grid, self.delta) if self.training else soft_window(points, self.grid)

    def _interactive(self, own: Tensor, maps: Tensor, real: Tensor | None) -> Tensor | None:
        if self.temporal is None or self.spread is None:
            return None
        prev, cur = maps.chunk(2, dim=2)
        frames = self.temporal(merge_pairs(prev, cur, real).transpose(1, 2))  # (B, h/2, T, W, W)
        return torch.cat([own, self.spread(frames.flatten(3).permute(0, 2, 3, 1))], dim=2)


class PointHead(nn.Module):
    """A point in either frame of a pair, from the map that a net made of the two; at first the centre.

    Args:
        hidden: channels h of the map; a multiple of 8.

    Example:
        >>> PointHead(16)(torch.rand(5, 16, 4, 4))[0]
        tensor([0., 0., 0., 0.], grad_fn=<SelectBackward0>)
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        half, quarter = hidden // 2, hidden // 4
        self.maps = nn.Sequential(
            *[_conv(hidden, half, 3), nn.BatchNorm2d(half), nn.MaxPool2d(2), nn.ReLU()],
            *[_conv(half, half, 3), nn.BatchNorm2d(half), nn.MaxPool2d(2), nn.ReLU()],
            nn.AdaptiveMaxPool2d(1),
        )
        # In two groups, so that the points of the two frames come from channels of their own.
        last = at_zero(nn.Conv1d(quarter, 4, 1, groups=2))
        self.coordinates = nn.Sequential(nn.Conv1d(half, quarter, 1, groups=2), nn.ReLU(), last)

    def forward(self, maps: Tensor) -> Tensor:
        """``(P, h, W, W)`` to ``(P, 4)`` in (-1, 1): x and y in the earlier frame, x and y in the later one."""
        return self.coordinates(self.maps(maps).flatten(2)).flatten(1).tanh()


def real_pairs(mask: Tensor | None) -> Tensor | None:
    """Which pairs of neighbours ``(B, T-1)`` have no padding, of ``mask (B, T)``.

    >>> real_pairs(torch.tensor([[True, True, False]]))
    tensor([[ True, False]])
    """
    return None if mask is None else mask[:, :-1] & mask[:, 1:]


def _pair_net(channels: int, hidden: int, kind: Kind) -> nn.Sequential:
    """The net on the maps of a pair, one behind the other."""
    if kind == "dense":
        first: list[nn.Module] = [_conv(channels, hidden, 3)]
    else:
        depthwise: list[nn.Module] = [
            _conv(channels, channels, 3, groups=channels),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
        first = [*depthwise, _conv(channels, hidden, 1)]
    second = [nn.BatchNorm2d(hidden), nn.ReLU(), _conv(hidden, hidden, 3), nn.BatchNorm2d(hidden), nn.ReLU()]
    return nn.Sequential(*first, *second)


def _conv(inputs: int, outputs: int, side: int, groups: int = 1) -> nn.Conv2d:
    """Without bias: a batch norm follows."""
    return nn.Conv2d(inputs, outputs, side, padding=side // 2, groups=groups, bias=False)


def at_zero(layer: Any) -> Any:
    """The layer with nothing but zeros in it.

    >>> float(at_zero(nn.Linear(2, 2)).weight.abs().sum())
    0.0
    """
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
