"""A segmenter: a linear classifier of cells, taught by masks that follow their crops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord.config import Config
from accord.data.augmenting.views import View
from accord.encoders.base import Encoder
from accord.methods.abilities import Segments
from accord.methods.base import Batch, DataInfo, Method, Step


class SegmenterConfig(Config):
    """Settings of :class:`Segmenter`."""

    classes: int = Field(3, ge=2, description="numbers that masks may hold, the background's 0 among them, if unnamed")


class Segmenter(Method, Segments):
    """The class of each pixel.

    Batch keys: ``image_views``, ``segmentation_views``.
    """

    name: ClassVar[str] = "toy_segmenter"
    Config: ClassVar[type[Config]] = SegmenterConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"tokens"})}
    targets: ClassVar[tuple[str, ...]] = ("mask",)
    views = (View(scale=(0.3, 1.0), flip=0.5), View(scale=(0.3, 1.0), flip=0.5))

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.head = nn.Conv2d(encoders["image"].token_dim, len(data.mask_classes) or self.config.classes, 1)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Cross-entropy of the pixels of every view of which something is said."""
        views = zip(batch["image_views"], batch["segmentation_views"], strict=True)
        terms = [F.cross_entropy(self._logits(image, mask.shape[-2:]), mask, ignore_index=-1) for image, mask in views]
        return {"total": torch.stack(terms).mean()}

    def _logits(self, image: Any, size: Any) -> Tensor:
        return F.interpolate(self.head(self.encoders["image"](image).grid()), tuple(size), mode="bilinear")

    def segment(self, batch: Batch, size: tuple[int, int]) -> Tensor:
        """The likeliest class of each pixel."""
        return self._logits(batch["image"], size).argmax(dim=1)
