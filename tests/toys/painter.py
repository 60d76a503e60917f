"""A painter on a frozen encoder: what it sees are stored features, what it paints it compares with the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord.config import Config
from accord.data.inputs import ImageInput, Input
from accord.encoders.base import Encoder
from accord.methods.abilities import Generates
from accord.methods.base import Batch, DataInfo, Method, Step


class PainterConfig(Config):
    """Settings of :class:`Painter`."""

    side: int = Field(8, ge=2, description="height and width of what is painted")


class Painter(Method, Generates):
    """Pictures from the features of the same picture, and from a second one that no encoder reads.

    Batch keys: ``image``, ``image_raw (B, 3, S, S)``, ``reference (B, 3, S, S)``.
    """

    name: ClassVar[str] = "toy_painter"
    Config: ClassVar[type[Config]] = PainterConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"})}

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.paint = nn.Linear(encoders["image"].dim + 3, 3 * self.config.side**2)

    @classmethod
    def raw(cls, config: Any) -> Mapping[str, Input | None]:
        """Both pictures, in [0, 1] and of the size that is painted."""
        pixels = ImageInput(size=config.side, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        return {"image": pixels, "reference": pixels}

    @classmethod
    def locks(cls, config: Any) -> tuple[str, ...]:
        """The encoder."""
        return ("image",)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """How far from the picture it is, pixel by pixel."""
        return {"total": F.l1_loss(self._painted(batch), batch["image_raw"])}

    def _painted(self, batch: Batch) -> Tensor:
        seen, ground = self.encoders["image"](batch["image"]).pooled, batch["reference"].mean(dim=(2, 3))
        return self.paint(torch.cat([seen, ground], dim=1)).unflatten(1, (3, self.config.side, self.config.side))

    def generate(self, batch: Batch, seed: int = 0, **how: Any) -> dict[str, Tensor]:
        """A picture for each."""
        return {"image": self._painted(batch).clamp(0, 1)}
