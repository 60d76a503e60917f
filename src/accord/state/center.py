"""The running mean of a teacher's scores (DINO; Caron et al. 2021, ICCV, eq. 4)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist

from accord.errors import ShapeError
from accord.functional.checks import check_range, check_share
from accord.functional.distributed import world_size
from accord.state.base import FullPrecisionState


class Center(FullPrecisionState):
    """Exponential moving average of the mean score of each of K classes; subtracted from a teacher's scores.

    All processes hold the same centre. Updating replaces the buffer instead of writing into it.

    Args:
        num_classes: K.
        momentum: share of the old centre that an update leaves.

    Raises:
        ValueError: num_classes below 1, momentum outside [0, 1].

    Example:
        >>> center = Center(2, momentum=0.9)
        >>> center.update(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
        >>> center.center
        tensor([[0.2000, 0.0000]])
    """

    center: Tensor

    def __init__(self, num_classes: int, momentum: float = 0.9) -> None:
        super().__init__()
        check_range(1, max(num_classes, 1), num_classes=num_classes)
        check_share(momentum=momentum)
        self.momentum = momentum
        self.register_buffer("center", torch.zeros(1, num_classes))

    @torch.no_grad()
    def update(self, dots: Tensor) -> None:
        """``c <- m c + (1 - m) mean(dots)`` over rows, positions and processes.

        Args:
            dots: ``(B, K)`` or ``(B, K, ...)`` scores, of all views together. Processes may hold different numbers.

        Raises:
            ShapeError: not K classes in the second dimension.
        """
        if dots.ndim < 2 or dots.shape[1] != self.center.shape[1]:
            raise ShapeError(f"dots has shape {tuple(dots.shape)}: expected (any, {self.center.shape[1]}, ...)")
        scores = dots.to(self.center).movedim(1, -1).flatten(0, -2)  # (n, K)
        total = torch.cat([scores.sum(dim=0), scores.new_tensor([len(scores)])])
        if world_size() > 1:
            dist.all_reduce(total)
        mean = total[:-1] / total[-1].clamp(min=1)
        self.center = self.center.lerp(mean[None], 1 - self.momentum)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{self.center.shape[1]}, momentum={self.momentum}"
