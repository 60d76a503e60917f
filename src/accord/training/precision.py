"""Half precision: the forward pass of a step under autocast, and the loss scale that fp16 needs.

It is done here and not by the Trainer, since a step by hand takes the gradient of several losses, clips it, and may
step several optimisers: what is scaled has to be unscaled once, before anybody looks at it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from accord.encoders.base import encoders_in
from accord.errors import ConfigError
from accord.training.config import TrainingConfig
from accord.training.device import resolve_device

_SCALED = ("cuda", "cpu")  # devices for which PyTorch scales losses


def half_precision(config: TrainingConfig) -> torch.dtype | None:
    """The type that autocast takes for what can be computed in half precision, None for none.

    Raises:
        ConfigError: fp16 on a device for which PyTorch cannot scale the loss.

    Example:
        >>> half_precision(TrainingConfig(precision="bf16"))
        torch.bfloat16
        >>> half_precision(TrainingConfig(precision="fp32"))
    """
    kind = resolve_device(config.accelerator, "training.accelerator").type
    if config.precision == "fp16":
        if kind not in _SCALED:
            raise ConfigError(f"training.precision = fp16: not on {kind}; take bf16 or fp32")
        return torch.float16
    fast = kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if config.precision == "bf16" or (config.precision == "auto" and fast) else None


def computed_in(
    half: torch.dtype | None, device: torch.device, *, keeps: bool = True
) -> AbstractContextManager[object]:
    """The arithmetic of a forward pass: bfloat16 wherever autocast has it, float16 in the encoders alone.

    float16 ends at 65,504, which the products of a head reach sooner than those of a network that is normalised layer
    by layer; heads and losses are computed in float32 there.

    Args:
        half: the type, or None for float32.
        device: where it is computed.
        keeps: whether a weight that was cast stays for its next use, which sharded ones are not to.
    """
    if half is None:
        return nullcontext()
    if half is torch.float16:
        return encoders_in(half)
    return torch.autocast(device.type, half, cache_enabled=keeps)
