"""Pixels of a batch: bytes until they are where they are computed with, a quarter of what else is carried there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from accord.data.inputs import ImageInput


def normalise(pixels: Tensor, spec: ImageInput, lighting: Tensor | None = None) -> Tensor:
    """``(x / 255 + lighting - mean) / std``, float32, where the pixels are.

    Args:
        pixels: ``(..., 3, h, w)`` uint8.
        spec: mean and standard deviation.
        lighting: ``(..., 3)`` colour shifts, or None.
    """
    mean, std = (torch.tensor(values, device=pixels.device) for values in (spec.mean, spec.std))
    offset = -mean if lighting is None else lighting - mean
    return pixels * (1 / (255 * std))[:, None, None] + (offset / std)[..., None, None]


@dataclass(frozen=True, eq=False)
class Pixels:
    """Pictures or clips of a batch as they were decoded; moved to a device, they are the normalised tensor.

    Args:
        values: ``(B, 3, h, w)`` or, of clips, ``(B, T, 3, h, w)``, uint8.
        spec: mean and standard deviation.
        lighting: ``(B, 3)`` or ``(B, 1, 3)`` colour shifts in units of [0, 1], or None.
        real: ``(B, T)`` bool, False for frames that fill up a short clip, which are zero once normalised; or None.

    Example:
        >>> spec = ImageInput(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> Pixels(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8), spec).to("cpu").unique()
        tensor([1.])
    """

    values: Tensor
    spec: ImageInput
    lighting: Tensor | None = None
    real: Tensor | None = None
    _moved: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False)

    def to(self, device: Any, non_blocking: bool = False) -> Tensor:
        """The pixels there, see :func:`normalise`: one tensor, however often a batch says it."""
        place = torch.device(device)
        if place not in self._moved:
            self._moved[place] = self._normalised(place, non_blocking)
        return self._moved[place]

    def _normalised(self, device: torch.device, non_blocking: bool) -> Tensor:
        values, lighting, real = (
            None if part is None else part.to(device, non_blocking=non_blocking)
            for part in (self.values, self.lighting, self.real)
        )
        assert values is not None
        found = normalise(values, self.spec, lighting)
        return found if real is None else found * real[:, :, None, None, None]

    def pin_memory(self) -> Pixels:
        """The same in memory from which a GPU copies by itself."""
        held = {name: getattr(self, name) for name in ("values", "lighting", "real")}
        return replace(self, **{name: part.pin_memory() for name, part in held.items() if part is not None})
