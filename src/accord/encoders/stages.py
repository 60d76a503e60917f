"""Cutting a network into its blocks from input to output, for freezing all but the last k."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def stages_around(model: nn.Module, layers: Sequence[str]) -> list[nn.Module]:
    """The stem (all that comes before the layers), then each layer; what follows the last layer joins it.

    Args:
        model: the network, its modules registered in the order in which they run.
        layers: names of its repeated layers, as :meth:`torch.nn.Module.named_modules` gives them, in order.

    Returns:
        ``1 + len(layers)`` modules, or ``len(layers)`` when nothing comes before the first.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.LayerNorm(2))
        >>> len(stages_around(net, ["1"]))
        2
    """
    inside = [layer + "." for layer in layers]
    before: list[nn.Module] = []
    after: list[nn.Module] = []
    reached = False
    for name, module in model.named_modules():
        in_a_layer = any((name + ".").startswith(prefix) for prefix in inside)
        reached = reached or in_a_layer
        if not in_a_layer and (list(module.parameters(False)) or list(module.buffers(False))) and name:
            (after if reached else before).append(module)
    modules = [model.get_submodule(layer) for layer in layers]
    if after:
        modules[-1] = nn.ModuleList([modules[-1], *after])
    return [nn.ModuleList(before), *modules] if before else modules


def repeated(stages: Sequence[nn.Module]) -> list[nn.Module]:
    """The repeated layers among what :func:`stages_around` gives, without what stands before and behind them.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.LayerNorm(2))
        >>> repeated(stages_around(net, ["1"])) == [net[1]]
        True
    """
    if len(stages) > 1 and isinstance(stages[0], nn.ModuleList):  # the stem
        stages = stages[1:]
    return [stage[0] if isinstance(stage, nn.ModuleList) else stage for stage in stages]


def longest_stack(model: nn.Module) -> list[str]:
    """Names of the layers of the longest :class:`~torch.nn.ModuleList` in ``model``.

    Example:
        >>> longest_stack(nn.ModuleDict({"layers": nn.ModuleList([nn.ReLU(), nn.ReLU()])}))
        ['layers.0', 'layers.1']
    """
    stacks = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    name, stack = max(stacks, key=lambda item: len(item[1]))
    return [f"{name}.{index}" if name else str(index) for index in range(len(stack))]
