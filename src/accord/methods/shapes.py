"""Parameters and buffers whose shape changes while a method is trained: prototypes that are pruned, merged or split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Resized:
    """What became of a parameter, for what else has its shape: the optimiser's averages, averaged weights.

    Args:
        name: of the parameter.
        rows: ``(n,)`` int64, which of the old rows each new one was; -1 for one that is new.
        dim: the dimension of the rows.
        before: the old shape.
    """

    name: str
    rows: Tensor
    dim: int
    before: torch.Size

    def follow(self, tensor: Tensor) -> Tensor:
        """The rows of a tensor of the old shape that the parameter kept; others are returned as they are."""
        return picked(tensor, self.rows, self.dim) if tensor.shape == self.before else tensor


def picked(tensor: Tensor, rows: Tensor, dim: int = 0) -> Tensor:
    """The given rows of a tensor, zeros where -1 stands.

    Example:
        >>> picked(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2, -1, 0]))
        tensor([3., 0., 1.])
    """
    rows = rows.to(tensor.device)
    there = (rows >= 0).view([-1 if place == dim % tensor.ndim else 1 for place in range(tensor.ndim)])
    return torch.where(there, tensor.index_select(dim, rows.clamp(min=0)), tensor.new_zeros(())).contiguous()


def replace_tensor(module: nn.Module, name: str, value: Tensor) -> None:
    """Make ``value``, of whatever shape, the content of a parameter, which stays the same object, or the buffer."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    if leaf in owner._parameters:
        parameter = owner.get_parameter(leaf)
        parameter.data, parameter.grad = value, None
    else:
        owner._buffers[leaf] = value


def take_shapes(module: nn.Module, state: Mapping[str, Tensor], names: tuple[str, ...]) -> None:
    """Give the parameters and buffers under these name prefixes the shapes that they have in ``state``.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> take_shapes(layer, {"weight": torch.zeros(5, 2), "bias": torch.zeros(5)}, ("weight",))
        >>> layer.weight.shape, layer.bias.shape
        (torch.Size([5, 2]), torch.Size([3]))
    """
    own = module.state_dict()
    for name, saved in state.items():
        if name.startswith(names) and name in own and own[name].shape != saved.shape:
            replace_tensor(module, name, own[name].new_zeros(saved.shape))
