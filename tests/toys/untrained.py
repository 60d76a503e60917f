"""A method without training: frozen towers as they come, told apart from each other by the mean of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from accord.config import Config
from accord.methods.abilities import Embeds
from accord.methods.base import Batch, Method, Stage


class UntrainedConfig(Config):
    """Nothing to set."""


class Untrained(Method, Embeds):
    """What an encoder gives, as an embedding.

    Batch keys: ``image``.
    """

    name: ClassVar[str] = "toy_untrained"
    Config: ClassVar[type[Config]] = UntrainedConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"})}
    stages: ClassVar[tuple[Stage, ...]] = ()

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The pooled features."""
        return {"image": F.normalize(self.encoders["image"](batch["image"]).pooled, dim=1)}
