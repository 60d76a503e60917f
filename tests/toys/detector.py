"""A detector: one box and class for each cell of a coarse grid, taught by as many boxes as a row has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.config import Config
from accord.data.augmenting.views import View
from accord.encoders.base import Encoder
from accord.methods.abilities import Detections, Detects
from accord.methods.base import Batch, DataInfo, Method, Step


class DetectorConfig(Config):
    """Nothing to set."""


class Detector(Method, Detects):
    """Two guesses a picture, each matched with the thing that is nearest to it.

    Batch keys: ``image``, ``boxes``, ``instance_present``, ``instance_label``.
    """

    name: ClassVar[str] = "toy_detector"
    Config: ClassVar[type[Config]] = DetectorConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"})}
    targets: ClassVar[tuple[str, ...]] = ("boxes",)
    views = (View(scale=(0.5, 1.0), flip=0.5),)

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.classes = max(1, len(data.instance_classes))
        self.head = nn.Linear(encoders["image"].dim, 2 * (4 + self.classes))

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Boxes of the things that are there, and a score for each class that a guess is of."""
        centres, sizes, scores = self._guesses(batch)
        boxes, there = batch["boxes"], batch["instance_present"]  # (B, M, 4), (B, M)
        aim = (boxes[..., :2] + boxes[..., 2:]) / 2
        distance = torch.cdist(aim, centres)  # (B, M, 2)
        nearest = distance.argmin(dim=2)
        rows = torch.arange(len(boxes), device=boxes.device)[:, None].expand_as(nearest)[there]
        found = nearest[there]
        wanted = torch.zeros_like(scores)
        wanted[rows, found, batch["instance_label"][there]] = 1
        near = (centres[rows, found] - aim[there]).abs().sum() + (
            sizes[rows, found] - (boxes[..., 2:] - boxes[..., :2])[there]
        ).abs().sum()
        terms = {"boxes": near / max(1, len(found)), "classes": F.binary_cross_entropy_with_logits(scores, wanted)}
        return {"total": terms["boxes"] + terms["classes"], **terms}

    def _guesses(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Centres and sizes ``(B, 2, 2)`` in [0, 1], logits ``(B, 2, C)``."""
        raw = self.head(self.encoders["image"](batch["image"]).pooled).unflatten(1, (2, 4 + self.classes))
        return raw[..., :2].sigmoid(), raw[..., 2:4].sigmoid(), raw[..., 4:]

    def detect(self, batch: Batch) -> list[Detections]:
        """Both guesses of each picture."""
        centres, sizes, logits = self._guesses(batch)
        boxes = torch.cat([centres - sizes / 2, centres + sizes / 2], dim=2).clamp(0, 1)
        scores, labels = logits.sigmoid().max(dim=2)
        return [Detections(*one) for one in zip(boxes, scores, labels, strict=True)]
