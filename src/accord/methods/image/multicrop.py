"""Multi-crop (Caron et al. 2020, NeurIPS, section 3.2): what methods of a few large and many small crops share.

Large crops are what targets are made of; small, cheap ones only predict. Crops of one size go through the encoder
together, then the projection head sees all crops at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from accord import config as settings
from accord.data.augmenting.views import View
from accord.encoders.base import Encoder
from accord.encoders.heads import MLPHead
from accord.encoders.multires import pooled_views
from accord.functional import gather_features
from accord.methods.abilities import Embeds
from accord.methods.base import Batch, DataInfo, Method

SMALL = 96 / 224  # side of a small crop over that of a large one, in the paper


class MultiCropConfig(settings.Config):
    """Projection head and crops; defaults from the paper's large-batch recipe."""

    dim: int = Field(128, ge=1, description="size of the embedding that prototypes are compared with")
    hidden: int = Field(2048, ge=1, description="width of the projection head's hidden layer")
    temperature: float = Field(0.1, gt=0, description="softmax temperature of the predictions")
    large_crops: int = Field(2, ge=1, description="crops that are assigned")
    large_scale: tuple[float, float] = Field((0.14, 1.0), description="their area range; (0.08, 1) without small crops")
    small_crops: int = Field(6, ge=0, description="further crops, which only predict")
    small_scale: tuple[float, float] = Field((0.05, 0.14), description="their area range")
    small_size: int | None = Field(
        None, ge=8, description="their side in pixels; None for 3/7 of the encoder's, at least 32"
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring a crop")
    colour: bool = Field(True, description="colour jitter, greyscale and blur")

    @model_validator(mode="after")
    def _something_to_predict(self) -> Self:
        if self.large_crops + self.small_crops < 2:
            raise ValueError("large_crops + small_crops = 1: a crop is predicted from others, so there should be 2")
        return self


class MultiCrop(Method, Embeds):
    """An image encoder with a projection head, over large and small crops."""

    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"})}
    Config: ClassVar[type[settings.Config]] = MultiCropConfig
    config: Any

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.head = MLPHead(encoders["image"].dim, self.config.dim, self.config.hidden)

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """A small network to train: a frozen one would learn nothing."""
        return {"image": {"name": "tiny_resnet"}}

    @property
    def views(self) -> tuple[View, ...]:
        """The large crops and then the small ones."""
        cfg, side = self.config, getattr(self.encoders["image"].input, "size", 224)
        colours: dict[str, Any] = {"jitter": (0.8, 0.8, 0.8, 0.2), "jitter_p": 0.8, "gray": 0.2, "blur": 0.5}
        common = {"flip": cfg.flip, **(colours if cfg.colour else {})}
        small = cfg.small_size or max(32, 8 * round(side * SMALL / 8))
        crops = (
            View(scale=cfg.large_scale, count=cfg.large_crops, **common),
            View(size=min(small, side), scale=cfg.small_scale, count=cfg.small_crops, **common),
        )
        return tuple(crop for crop in crops if crop.count)

    def one_size(self, side: int) -> str:
        """The size of the small crops."""
        return f"--set method.small_size={side}"

    def projected(self, crops: Sequence[Any]) -> Tensor:
        """Unit-norm projections ``(V·B, D)`` of V crops, crop after crop."""
        return F.normalize(self.head(pooled_views(self.encoders["image"], crops)).float(), dim=1)

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The encoder's own vector, unit norm: head and prototypes only serve training."""
        return {"image": F.normalize(self.vectors(batch)["image"], dim=1)}

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """The same as the encoder gives it."""
        return {"image": self.encoders["image"](batch["image"]).pooled.float()}


@torch.no_grad()
def share_used(scores: Tensor) -> Tensor:
    """Share of the K prototypes that are the nearest of some row, of all processes, by scores ``(N, K)``.

    Example:
        >>> share_used(torch.eye(3)[:2, :])
        tensor(0.6667)
    """
    nearest = gather_features(scores.argmax(dim=1), with_grad=False)
    return scores.new_zeros(scores.shape[1]).scatter_(0, nearest, 1.0).mean()
