"""Learning rates and momentum coefficients as functions of the step.

SwAV's table of learning rates (Caron et al. 2020, NeurIPS), CLIP's warm-up and cosine (Radford et al. 2021, ICML)
at one step, the momentum of a teacher that comes to rest (Grill et al. 2020, NeurIPS, "BYOL"), and distances that are
halved epoch by epoch (Tu et al. 2023, ICCV, "ILA").
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from accord.functional.checks import check_range, check_share


def warmup_cosine(
    n_iters_per_epoch: int, epochs: int, warmup_epochs: int, start: float, base: float, final: float
) -> Tensor:
    """Learning rate of every iteration: a linear ramp that holds both of its ends, then a cosine (SwAV).

    With n iterations per epoch, E epochs and W of them warm-up: ``n W`` equal steps from ``start`` to ``base``, then
    ``final + ½ (base - final) (1 + cos(pi t / (n (E - W))))`` for t = 0 … n (E - W) - 1. The ramp ends at ``base`` and
    the cosine begins there, so that ``base`` comes twice; ``final`` is never reached.

    Args:
        n_iters_per_epoch: n.
        epochs: E.
        warmup_epochs: W; 0 leaves out the ramp.
        start: value of the first iteration of the ramp.
        base: peak.
        final: where the cosine tends to.

    Returns:
        ``(n E,)`` float64.

    Raises:
        ValueError: no iteration or epoch, more warm-up than epochs.

    Example:
        >>> warmup_cosine(2, 3, 1, start=0.1, base=1.0, final=0.0).round(decimals=3)
        tensor([0.1000, 1.0000, 1.0000, 0.8540, 0.5000, 0.1460], dtype=torch.float64)
    """
    check_range(1, max(n_iters_per_epoch, 1), n_iters_per_epoch=n_iters_per_epoch)
    check_range(1, max(epochs, 1), epochs=epochs)
    check_range(0, epochs, warmup_epochs=warmup_epochs)
    ramp = torch.linspace(start, base, n_iters_per_epoch * warmup_epochs, dtype=torch.float64)
    falling = n_iters_per_epoch * (epochs - warmup_epochs)
    angle = torch.pi * torch.arange(falling, dtype=torch.float64) / max(falling, 1)
    return torch.cat([ramp, final + 0.5 * (base - final) * (1 + angle.cos())])


def warmup_cosine_at(step: int, warmup: int, total: int, base: float) -> float:
    """Learning rate of one step: linear warm-up that reaches ``base``, a cosine to 0 at ``total``, 0 after (CLIP).

    ``base (t + 1) / W`` while t < W, then ``½ base (1 + cos(pi (t - W) / (T - W)))``. Groups of parameters that end
    at different steps, such as ProtoCLIP's towers (Chen et al. 2022), each have their own ``total``.

    Args:
        step: t, from 0.
        warmup: W steps.
        total: T.
        base: peak.

    Returns:
        The learning rate.

    Raises:
        ValueError: a negative step, warm-up outside [0, total].

    Example:
        >>> [round(warmup_cosine_at(step, 2, 6, base=1.0), 3) for step in (0, 1, 2, 4, 6, 9)]
        [0.5, 1.0, 1.0, 0.5, 0.0, 0.0]
    """
    check_range(0, max(step, 0), step=step)
    check_range(0, total, warmup=warmup)
    if step >= total:
        return 0.0
    if step < warmup:
        return base * (step + 1) / warmup
    return 0.5 * base * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def cosine_momentum(step: int | Tensor, total: int, start: float) -> Tensor:
    """Momentum of a teacher that comes to rest: ``m = 1 - (1 - start) (cos(pi k / K) + 1) / 2``, 1 from K on (BYOL).

    Args:
        step: k, from 0; a scalar tensor keeps the computation on its device.
        total: K.
        start: m at step 0.

    Returns:
        Scalar in [start, 1]; float64 for an int.

    Raises:
        ValueError: a negative step, total below 1, start outside [0, 1].

    Example:
        >>> [round(cosine_momentum(step, 4, start=0.9).item(), 4) for step in (0, 2, 4, 9)]
        [0.9, 0.95, 1.0, 1.0]
    """
    check_range(1, max(total, 1), total=total)
    check_share(start=start)
    if not isinstance(step, Tensor):
        check_range(0, max(step, 0), step=step)
        step = torch.tensor(step, dtype=torch.float64)
    return 1 - (1 - start) * (torch.cos(torch.pi * (step / total).clamp(max=1)) + 1) / 2


def linear_ramp(step: int, slope: float, maximum: float) -> float:
    """A weight that grows with the steps: ``min(maximum, slope t)``, 0 before the first step.

    Args:
        step: t; negative before the ramp begins.
        slope: growth of a step.
        maximum: where it ends.

    Returns:
        The weight.

    Raises:
        ValueError: a slope or maximum below 0.

    Example:
        >>> [linear_ramp(step, 0.5, 1.2) for step in (-1, 0, 1, 2, 3)]
        [0.0, 0.0, 0.5, 1.0, 1.2]
    """
    check_range(0, max(slope, 0), slope=slope)
    check_range(0, max(maximum, 0), maximum=maximum)
    return min(maximum, slope * max(step, 0))


def delta_schedule(epoch: int, start: int = 30, factor: float = 0.5, delta: float = 0.2) -> float:
    """How far away the neighbours of a point are in an epoch: smaller by a factor in each epoch from one on (ILA).

    Args:
        epoch: from 0.
        start: the first epoch of a smaller distance.
        factor: by which it becomes smaller.
        delta: the distance before.

    Returns:
        ``delta`` before ``start``, then ``delta · factor ** (epoch - start + 1)`` (Tu et al. 2023, ICCV).

    Raises:
        ValueError: a negative epoch, or a factor outside [0, 1].

    Example:
        >>> [delta_schedule(epoch) for epoch in (0, 29, 30, 31)]
        [0.2, 0.2, 0.1, 0.05]
    """
    check_range(0, max(epoch, 0), epoch=epoch)
    check_share(factor=factor)
    return delta * factor ** max(0, epoch - start + 1)
