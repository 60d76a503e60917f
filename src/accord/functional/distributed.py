"""Gathering features across processes, with the gradient that makes W processes equal one large batch.

Everything is a no-op without an initialised process group, so the same line runs on a laptop and on a
cluster.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable


def world_size() -> int:
    """Number of processes, 1 when training is not distributed.

    Example:
        >>> world_size()
        1
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, 0 when training is not distributed.

    Example:
        >>> rank()
        0
    """
    return dist.get_rank() if world_size() > 1 else 0


def own_rows(rows: int) -> slice:
    """Which of the gathered rows are those of this process.

    Args:
        rows: how many each process has.

    Returns:
        Their slice of the rows of all, in the order of the ranks.

    Example:
        >>> own_rows(4)
        slice(0, 4, None)
    """
    return slice(rank() * rows, (rank() + 1) * rows)


def gather_features(x: Tensor, *, with_grad: bool) -> Tensor:
    """Stack the rows of all processes, in the order of their ranks.

    Args:
        x: ``(b, ...)``, the same shape in every process.
        with_grad: the gradient of every process's loss flows back to the rows' owner and is summed there
            (backward is a reduce-scatter). Without it the rows of other processes are constants and only the
            own ones carry gradient.

    Returns:
        ``(W·b, ...)``; ``x`` itself when not distributed.

    Example:
        >>> x = torch.ones(2, 3)
        >>> gather_features(x, with_grad=True) is x
        True
    """
    if world_size() == 1:
        return x
    if with_grad and x.requires_grad:
        return _GatherWithGrad.apply(x)
    parts = _all_gather(x)
    parts[rank()] = x  # the copy that carries gradient
    return torch.cat(parts)


def rows_elsewhere(x: Tensor) -> Tensor:
    """The rows of the other processes, in the order of their ranks and without gradient.

    Args:
        x: ``(b, ...)``, the same shape in every process.

    Returns:
        ``((W - 1)·b, ...)``; no rows when not distributed.

    Example:
        >>> rows_elsewhere(torch.ones(2, 3)).shape
        torch.Size([0, 3])
    """
    parts = _all_gather(x) if world_size() > 1 else [x]
    del parts[rank()]
    return torch.cat(parts) if parts else x[:0].detach()


def is_sharded(x: Tensor) -> bool:
    """Whether a tensor is sharded over the processes, as weights are in fully sharded training.

    Args:
        x: any tensor.

    Example:
        >>> is_sharded(torch.ones(2))
        False
    """
    return hasattr(x, "full_tensor")  # a DTensor, whose class takes a second to import


def full_tensor(x: Tensor) -> Tensor:
    """All of a tensor that is sharded over the processes, which ask for it together.

    Args:
        x: any tensor.

    Returns:
        A plain tensor; ``x`` itself where it is not sharded.

    Example:
        >>> x = torch.ones(2)
        >>> full_tensor(x) is x
        True
    """
    full: Tensor = x.full_tensor() if is_sharded(x) else x  # type: ignore[attr-defined]
    return full


def shard_like(x: Tensor, like: Tensor) -> Tensor:
    """What this process has of a tensor when it is sharded as another one is; the converse of :func:`full_tensor`.

    Args:
        x: a plain tensor, the same in every process.
        like: one of that shape.

    Returns:
        A tensor that is sharded as ``like`` is; ``x`` itself where that is not.

    Example:
        >>> x = torch.ones(2)
        >>> shard_like(x, torch.zeros(2)) is x
        True
    """
    if not is_sharded(like):
        return x
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(x.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def gather_tokens(tokens: Tensor, mask: Tensor, *, with_grad: bool) -> tuple[Tensor, Tensor]:
    """Stack the token sequences of all processes, padded to the longest of them.

    Args:
        tokens: ``(b, n, D)``; n may differ between processes, b and D may not.
        mask: ``(b, n)`` bool, False for padding.
        with_grad: as in :func:`gather_features`.

    Returns:
        ``(W·b, N, D)`` and ``(W·b, N)``, N the largest n; both unchanged when not distributed.

    Example:
        >>> tokens, mask = torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
        >>> gather_tokens(tokens, mask, with_grad=True)[0] is tokens
        True
    """
    if world_size() == 1:
        return tokens, mask
    longest = torch.tensor(tokens.shape[1], device=tokens.device)
    dist.all_reduce(longest, dist.ReduceOp.MAX)
    room = int(longest) - tokens.shape[1]
    tokens, mask = F.pad(tokens, (0, 0, 0, room)), F.pad(mask, (0, room))
    # not every backend exchanges bool
    return gather_features(tokens, with_grad=with_grad), gather_features(mask.byte(), with_grad=False).bool()


def _all_gather(x: Tensor) -> list[Tensor]:
    x = x.detach().contiguous()
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x)
    return parts


class _GatherWithGrad(torch.autograd.Function):
    """All rows forward; backward the sum over processes of the gradients of the own rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.cat(_all_gather(x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.contiguous()  # gradients of transposed views are strided, and collectives read memory in order
        if dist.get_backend() == "nccl":
            own = grad.new_empty(len(grad) // world_size(), *grad.shape[1:])
            dist.reduce_scatter_tensor(own, grad)
            return own
        total = grad.clone()
        dist.all_reduce(total)
        return total.chunk(world_size())[rank()]
