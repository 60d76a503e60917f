"""State that half precision must not touch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn


class FullPrecisionState(nn.Module):
    """A module whose floating-point state stays as wide as it is: ``.half()`` does not narrow it.

    A moving average with momentum 0.999 needs steps of 0.001, which bfloat16 cannot take: it would stand
    still.

    Example:
        >>> import torch
        >>> module = FullPrecisionState()
        >>> module.register_buffer("average", torch.zeros(2))
        >>> module.to(torch.bfloat16).average.dtype
        torch.float32
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def keep_width(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.element_size() >= tensor.element_size() else tensor.to(moved.device)

        return super()._apply(keep_width, recurse)
