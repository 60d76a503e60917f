"""From clips to a map of moments: pooling of all that lie in a moment, and convolutions that see only what is kept.

Both are of 2D-TAN (Zhang et al. 2020, AAAI), as MMN and G2L use them; the kept cells are those of
:func:`accord.functional.sparse_moment_mask`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.errors import ConfigError
from accord.functional import moment_lengths, sparse_moment_mask


class SparseMomentMap(nn.Module):
    """The largest value of the clips of each moment, by a chain of short poolings: each builds on the one before.

    Args:
        num_clips: number N of clips.
        pooling_counts: diagonals of each stage, see :func:`accord.functional.sparse_moment_mask`.

    Example:
        >>> clips = torch.tensor([[[3.0, 1.0, 2.0]]])
        >>> SparseMomentMap(3, [1])(clips)
        tensor([[[[3., 3., 0.],
                  [0., 1., 2.],
                  [0., 0., 2.]]]])
    """

    mask: Tensor

    def __init__(self, num_clips: int, pooling_counts: Sequence[int]) -> None:
        super().__init__()
        self.lengths = moment_lengths(num_clips, pooling_counts)
        self.register_buffer("mask", sparse_moment_mask(num_clips, pooling_counts), persistent=False)

    def forward(self, clips: Tensor) -> Tensor:
        """``(B, D, N)`` to ``(B, D, N, N)``, zero outside the mask."""
        count = clips.shape[2]
        moments = clips.new_zeros(*clips.shape[:2], count * count)
        moments[..., :: count + 1] = clips  # the diagonal
        pooled = clips
        for (_, before), (length, step) in pairwise([(0, 1), *self.lengths]):
            width, stride = (2, 1) if step == before else (3, 2)
            pooled = F.max_pool1d(pooled, width, stride)  # of moments longer by a step, from every step-th clip on
            first = length
            moments[..., first : (count - length) * count : step * (count + 1)] = pooled
        return moments.unflatten(2, (count, count))


class ProposalConv(nn.Module):
    """Convolutions over the map of moments, each divided by how many of the cells under its kernel are there.

    Only the first is padded, by as much as all of them together take away, so that the map has its size at the end.
    What is there grows with each: every cell whose kernel saw one.

    Args:
        mask: ``(N, N)`` bool, the cells that are there at first.
        channels: width of the map.
        hidden: width of each layer.
        kernel: side of the kernels, odd.
        layers: number of convolutions.

    Raises:
        ConfigError: an even kernel.

    Example:
        >>> proposals = ProposalConv(sparse_moment_mask(4, [3]), 2, 8, kernel=3, layers=2)
        >>> proposals(torch.zeros(1, 2, 4, 4)).shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(self, mask: Tensor, channels: int, hidden: int, kernel: int = 9, layers: int = 4) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ConfigError(f"kernel = {kernel}: expected an odd number, so that a cell is in its middle")
        self.convs = nn.ModuleList(
            nn.Conv2d(
                hidden if number else channels,
                hidden,
                kernel,
                padding=_padding(kernel, layers, number),
                bias=False,  # batch norm takes it away again
            )
            for number in range(layers)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(hidden) for _ in range(layers))
        for parameter in self.convs.parameters():
            nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")
        for number, share in enumerate(_shares(mask, kernel, layers)):
            self.register_buffer(f"share{number}", share, persistent=False)

    def forward(self, moments: Tensor) -> Tensor:
        """``(B, C, N, N)`` to ``(B, hidden, N, N)``."""
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            moments = norm(conv(moments)).relu() * self.get_buffer(f"share{number}")
        return moments


def _padding(kernel: int, layers: int, number: int) -> int:
    return (kernel - 1) * layers // 2 if number == 0 else 0


def _shares(mask: Tensor, kernel: int, layers: int) -> list[Tensor]:
    """1 over the number of cells under the kernel that are there, 0 where there is none, after each layer."""
    there, window, found = mask[None, None].float(), torch.ones(1, 1, kernel, kernel), []
    for number in range(layers):
        count = F.conv2d(there, window, padding=_padding(kernel, layers, number))
        there = (count > 0.5).float()
        found.append(torch.where(count > 0.5, 1 / count.round().clamp(min=1), 0.0)[0])
    return found
