"""Batch norm with the statistics of all processes' rows, so that several processes do what one does.

PyTorch's SyncBatchNorm does this on GPUs alone; here the sums are gathered as everything else that processes share, so
that what is tested on a processor is what runs on a GPU.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from accord.functional.checks import as_float
from accord.functional.distributed import gather_features, world_size


def share_batch_norm(module: nn.Module) -> None:
    """Let all batch norms of a module, timm's among them, take the statistics of all processes; in place.

    Parameters and buffers stay what they are, and keep their names. In one process nothing changes.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> share_batch_norm(norm)
        >>> type(norm).__name__, isinstance(norm, nn.BatchNorm1d)
        ('SharedBatchNorm1d', True)
    """
    for part in module.modules():
        kind: Any = type(part)
        if issubclass(kind, _BatchNorm) and not issubclass(kind, _OverProcesses):
            part.__class__ = _shared(kind)


@cache
def _shared(kind: Any) -> Any:
    """The kind of batch norm, over processes."""
    return type(f"Shared{kind.__name__}", (_OverProcesses, kind), {})


class _OverProcesses(_BatchNorm):
    """The forward pass of a batch norm in one of several processes."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, ...)``, of every process its own rows."""
        if world_size() == 1 or not (self.training or self.running_mean is None):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            normalised = self._normalised(as_float(x)).to(x.dtype)
        for name in ("drop", "act"):  # what timm's have behind them
            normalised = getattr(self, name, nn.Identity())(normalised)
        return normalised

    def _normalised(self, x: Tensor) -> Tensor:
        rows = [dim for dim in range(x.ndim) if dim != 1]
        wide = [1 if dim in rows else -1 for dim in range(x.ndim)]
        own = x.new_tensor([x.numel() / x.shape[1]])
        total = _over_processes(torch.cat([x.sum(rows), own]))
        count = total[-1].clamp(min=1)  # a process may have no row, and all of them none
        mean = total[:-1] / count
        centred = x - mean.view(wide)
        variance = _over_processes(centred.square().sum(rows)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1), total[-1].detach() > 0)
        normalised = centred * (variance + self.eps).rsqrt().view(wide)
        if self.weight is None:
            return normalised
        return normalised * self.weight.view(wide) + self.bias.view(wide)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, any_row: Tensor) -> None:
        """Take a batch with any row into the running statistics."""
        if not self.training or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += any_row
        share = 1 / self.num_batches_tracked.clamp(min=1) if self.momentum is None else self.momentum
        for own, new in ((self.running_mean, mean), (self.running_var, variance)):
            own.add_((new.to(own) - own) * share * any_row)


def _over_processes(x: Tensor) -> Tensor:
    """The sum over all processes, with the gradient of each."""
    return gather_features(x[None], with_grad=True).sum(dim=0)
