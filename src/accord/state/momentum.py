"""The slow copy of an encoder that makes stable keys (MoCo; He et al. 2020, CVPR, eq. 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from accord.functional.checks import check_range, check_share
from accord.functional.distributed import full_tensor, is_sharded, shard_like
from accord.functional.schedule import cosine_momentum


class MomentumEncoder(nn.Module):
    """An exponential moving average of a module, without gradient: ``slow <- m slow + (1 - m) online``.

    The copy starts equal to the module. Its buffers (batch-norm statistics) are its own unless ``buffers`` is
    set. In training it drops out and normalises as the module does; what of it was not trained when it was copied rests
    in eval mode. The updates are counted in a buffer, so that a schedule goes on where a checkpoint left it.

    Args:
        module: the online module; copied, not held.
        momentum: m; with ``total_steps``, m at the first update.
        buffers: average floating-point buffers too, and copy the others.
        total_steps: let m rise to 1 over so many updates along a cosine
            (:func:`~accord.functional.schedule.cosine_momentum`); None keeps it.

    Raises:
        ValueError: momentum outside [0, 1], total_steps below 1.

    Example:
        >>> online = nn.Linear(2, 2)
        >>> slow = MomentumEncoder(online, momentum=0.9)
        >>> nn.init.zeros_(online.weight).sum().item()
        0.0
        >>> before = slow.module.weight.clone()
        >>> slow.update(online)
        >>> torch.allclose(slow.module.weight, 0.9 * before)
        True
    """

    step: Tensor

    def __init__(
        self, module: nn.Module, momentum: float = 0.999, *, buffers: bool = False, total_steps: int | None = None
    ) -> None:
        super().__init__()
        check_share(momentum=momentum)
        if total_steps is not None:
            check_range(1, max(total_steps, 1), total_steps=total_steps)
        self._resting = tuple(_resting(module))
        self.module = deepcopy(module).requires_grad_(False)
        self.momentum, self.buffers_too, self.total_steps = momentum, buffers, total_steps
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the slow module returns, without gradient."""
        return self.module(*args, **kwargs)

    @torch.no_grad()
    def update(self, online: nn.Module, momentum: float | None = None) -> None:
        """Move towards the online module; call it once per optimiser step.

        Args:
            online: the module that was copied.
            momentum: this step's m, by default that of the constructor or its schedule.

        Raises:
            ValueError: momentum outside [0, 1], or a module whose parameters have other names.
        """
        if momentum is not None:
            check_share(momentum=momentum)
        share = 1 - (self.momentum_now() if momentum is None else momentum)
        _blend(dict(self.module.named_parameters()), dict(online.named_parameters()), share)
        if self.buffers_too:
            _blend(dict(self.module.named_buffers()), dict(online.named_buffers()), share)
        self.step = self.step + 1

    def momentum_now(self) -> float | Tensor:
        """The m of the next update; a scalar tensor when it follows a schedule, so that no step waits for it."""
        if self.total_steps is None:
            return self.momentum
        return cosine_momentum(self.step, self.total_steps, self.momentum)

    def train(self, mode: bool = True) -> MomentumEncoder:
        """As :meth:`torch.nn.Module.train`; an encoder without gradient would rest, but this one follows another."""
        super().train(mode)
        for part in self.module.modules():
            part.training = mode
        for name in self._resting:
            self.module.get_submodule(name).eval()
        return self

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"momentum={self.momentum}"


class MomentumParts(MomentumEncoder):
    """The slow copies of several parts of a model, by name: its teacher.

    A part without anything to train never differs from its copy, so it is shared instead.

    Args:
        parts: the online parts.
        momentum: as for :class:`MomentumEncoder`, and so are ``buffers`` and ``total_steps``.

    Example:
        >>> parts = {"encoder": nn.Linear(4, 3).requires_grad_(False), "head": nn.Linear(3, 2)}
        >>> teacher = MomentumParts(parts, momentum=0.9)
        >>> teacher.followed
        ('head',)
        >>> slow = teacher.among(parts)
        >>> slow["encoder"] is parts["encoder"], slow["head"] is parts["head"]
        (True, False)
    """

    def __init__(self, parts: Mapping[str, nn.Module], momentum: float, **options: Any) -> None:
        trained = {name: part for name, part in parts.items() if any(p.requires_grad for p in part.parameters())}
        super().__init__(nn.ModuleDict(trained), momentum, **options)
        self.followed = tuple(trained)

    def among(self, parts: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        """The parts as the teacher has them: its copies, and what is shared."""
        return {**parts, **{name: self.module.get_submodule(name) for name in self.followed}}

    def follow(self, parts: Mapping[str, nn.Module], momentum: float | None = None) -> None:
        """:meth:`update` from the online parts."""
        self.update(nn.ModuleDict({name: parts[name] for name in self.followed}), momentum)


@torch.no_grad()
def ema_blend(
    target: nn.Module, source: nn.Module, momentum: float | Tensor, names: Mapping[str, str] | None = None
) -> None:
    """Blend a module's parameters into those of another: ``target <- m target + (1 - m) source``.

    Unlike :class:`MomentumEncoder` it keeps no copy: both may be trained, each by an optimiser of its own, whose
    averages stay as they are (the self-distillation of MACIL-SD).

    Args:
        target: what is changed.
        source: what is blended in; it stays.
        momentum: m.
        names: parameter of the target, or a part of it, -> that of the source; parameters of the target that none
            covers stay. None for all, by equal names.

    Raises:
        ValueError: momentum outside [0, 1], or the source has no parameter of that name.

    Example:
        >>> slow, fast = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        >>> nn.init.zeros_(slow.weight), nn.init.ones_(fast.weight)
        (...)
        >>> ema_blend(slow, fast, 0.75)
        >>> slow.weight.item()
        0.25
    """
    if not isinstance(momentum, Tensor):
        check_share(momentum=momentum)
    changed, read = dict(target.named_parameters()), dict(source.named_parameters())
    pairs = {name: name for name in changed} if names is None else dict(_paired(changed, names))
    missing = sorted(set(pairs.values()) - read.keys())
    if missing:
        raise ValueError(f"the source has no parameter {', '.join(missing)}")
    for name, other in pairs.items():
        kept, share = changed[name], 1 - momentum
        blended = shard_like(full_tensor(read[other]).to(kept.dtype), kept)
        if isinstance(share, Tensor):  # shards take no tensor
            share = float(share) if is_sharded(kept) else share.to(kept)
        kept.lerp_(blended, share)


def _paired(names: Iterable[str], parts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each name that one of the parts covers, and what it is called in the other module."""
    for name in names:
        for part, other in parts.items():
            if name == part or name.startswith(f"{part}."):
                yield name, other + name.removeprefix(part)


def _resting(module: nn.Module, name: str = "") -> Iterator[str]:
    """Names of the largest parts that have parameters, none of which is trained."""
    trained = [parameter.requires_grad for parameter in module.parameters()]
    if any(trained):
        for child, part in module.named_children():
            yield from _resting(part, f"{name}.{child}".lstrip("."))
    elif trained:
        yield name


def _blend(slow: dict[str, Tensor], online: dict[str, Tensor], share: float | Tensor) -> None:
    """Move ``slow`` towards ``online`` by ``share``."""
    if slow.keys() != online.keys():
        differing = sorted(slow.keys() ^ online.keys())
        raise ValueError(f"the online module differs from the copied one in {', '.join(differing)}")
    for name, tensor in slow.items():
        if tensor.is_floating_point():
            tensor.lerp_(full_tensor(online[name]).to(tensor), share.to(tensor) if isinstance(share, Tensor) else share)
        else:
            tensor.copy_(full_tensor(online[name]))
