"""Where a model runs: a device by the name that a user types, or the best there is."""

from __future__ import annotations

import os

import torch

from accord.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda", "mps")
_MOST_WORKERS = 8  # more wait for each other


def resolve_device(name: str | torch.device = "auto", option: str = "--device") -> torch.device:
    """The device of this name.

    Args:
        name: ``"auto"`` for the best there is, ``"cpu"``, ``"cuda"`` (also ``"cuda:1"``) or ``"mps"``.
        option: what the user would change, for messages.

    Raises:
        ConfigError: no such device is known, or this machine has none.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
        >>> resolve_device("gpu")
        Traceback (most recent call last):
        accord.errors.ConfigError: --device gpu: expected one of auto, cpu, cuda, mps
    """
    kind, _, number = str(name).partition(":")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if kind == "auto":
        return torch.device(next(device for device, available in there.items() if available))
    if kind not in there or (number and not number.isdecimal()):
        raise ConfigError(f"{option} {name}: expected one of {', '.join(DEVICES)}")
    if not there[kind]:
        raise ConfigError(f"{option} {name}: PyTorch finds no {kind} device on this machine; leave it out, or take cpu")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ConfigError(f"{option} {name}: this machine has {torch.cuda.device_count()} cuda devices, from cuda:0 on")
    return torch.device(str(name))


def reading_workers(wanted: int | None, device: torch.device, among: int = 1) -> int:
    """How many processes decode and augment for a model on ``device``.

    Args:
        wanted: what the user says; None for none where the model needs the processors itself, else as many as there
            are for each of ``among``, at most 8.
        device: where the model runs.
        among: processes that read on this machine.

    Example:
        >>> reading_workers(None, torch.device("cpu")), reading_workers(3, torch.device("cpu"))
        (0, 3)
    """
    if wanted is not None:
        return wanted
    return 0 if device.type == "cpu" else min(_MOST_WORKERS, max(1, (os.cpu_count() or 1) // among))
