"""A generator of pictures with a critic: two optimisers, each with terms and parameters of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord.config import Config
from accord.encoders.base import Encoder
from accord.methods.abilities import Generates
from accord.methods.base import Batch, DataInfo, Method, Optimiser, Stage, Step


class GeneratorConfig(Config):
    """Settings of :class:`Generator`."""

    width: int = Field(16, ge=1, description="width of generator and critic")


class Generator(Method, Generates):
    """Pictures for texts: they come near those of the rows, and a critic is not to tell them from these.

    Batch keys: ``image``, ``text``, ``text_mask``.
    """

    name: ClassVar[str] = "toy_generator"
    Config: ClassVar[type[Config]] = GeneratorConfig
    needs: Mapping[str, frozenset[str]] = {"text": frozenset({"pooled"}), "image": frozenset({"pooled"})}
    training_only: ClassVar[tuple[str, ...]] = ("critic.",)
    stages = (
        Stage(
            "adversarial",
            optimisers=(
                Optimiser(),
                Optimiser("critic", ("critic.", "encoders.image."), kind="adam", betas=(0.5, 0.9), weight_decay=0.0),
            ),
        ),
    )

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        width, self.side = self.config.width, encoders["image"].input.size  # type: ignore[union-attr]
        self.paint = nn.Sequential(
            nn.Linear(encoders["text"].dim + 4, width), nn.ReLU(), nn.Linear(width, 3 * self.side**2)
        )
        self.critic = nn.Linear(encoders["image"].dim, 1)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """The critic's terms, or those of the generator."""
        real = batch["image"]
        made = self._made(batch, torch.randn(len(real), 4, device=real.device))
        if step.optimiser == "critic":
            return {"total": F.softplus(-self._judged(real)).mean() + F.softplus(self._judged(made.detach())).mean()}
        near = F.l1_loss(made, real)
        return {"total": near + 0.1 * F.softplus(-self._judged(made)).mean(), "near": near}

    def _made(self, batch: Batch, noise: Tensor) -> Tensor:
        words = self.encoders["text"](batch["text"], batch["text_mask"]).pooled
        return self.paint(torch.cat([words, noise], dim=1)).unflatten(1, (3, self.side, self.side))

    def _judged(self, image: Tensor) -> Tensor:
        return self.critic(self.encoders["image"](image).pooled)

    def generate(self, batch: Batch, seed: int = 0, **how: Any) -> dict[str, Tensor]:
        """A picture for each text."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(batch["text"]), 4, generator=generator).to(self.device)
        return {"image": self._made(batch, noise).sigmoid()}
