"""Where tensors are computed on: the device that was asked for, if it is there."""

from __future__ import annotations

import torch

from accord.errors import ConfigError


def resolve_device(name: str, asked_by: str = "--device") -> torch.device:
    """The device of a name; ``auto`` takes the best there is.

    Args:
        name: ``auto``, or a device of torch such as ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        asked_by: the option that named it, for the message.

    Raises:
        ConfigError: there is no such device here.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(best)
    found = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    kind, _, number = name.partition(":")
    if kind not in found or not (number or "0").isdecimal():
        raise ConfigError(f"{asked_by} {name}: expected auto, cpu, cuda, cuda:NUMBER or mps")
    if int(number or 0) >= found[kind]:
        there = ", ".join(f"{count} {known}" for known, count in found.items() if count)
        raise ConfigError(f"{asked_by} {name}: torch finds no such device here (it finds {there}); leave it at auto")
    return torch.device(name)
