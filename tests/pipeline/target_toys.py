"""Small methods that learn from targets: masks, ragged boxes, tracks of clips; registered by the test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.config import Config
from accord.data.augmenting.views import View
from accord.encoders.base import Encoder
from accord.methods.abilities import Detections, Detects, Segments, Tracked, Tracks
from accord.methods.base import Batch, DataInfo, Method, Step


class NoSettings(Config):
    """Nothing to set."""


class Painter(Method, Segments):
    """A linear classifier of cells, taught by masks."""

    name: ClassVar[str] = "toy_painter"
    Config = NoSettings
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"tokens"})}
    targets: ClassVar[tuple[str, ...]] = ("mask",)
    views = (View(scale=(0.3, 1.0)), View(scale=(0.3, 1.0)))

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.head = nn.Conv2d(encoders["image"].token_dim, len(data.mask_classes), 1)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        terms = []
        for image, mask in zip(batch["image_views"], batch["segmentation_views"], strict=True):
            logits = F.interpolate(self.head(self.encoders["image"](image).grid()), mask.shape[-2:])
            terms.append(F.cross_entropy(logits, mask, ignore_index=-1))
        return {"total": torch.stack(terms).mean()}

    def segment(self, batch: Batch, size: tuple[int, int]) -> Tensor:
        return F.interpolate(self.head(self.encoders["image"](batch["image"]).grid()), size).argmax(dim=1)


class Boxer(Method, Detects):
    """A box and the classes of a picture, taught by boxes with classes."""

    name: ClassVar[str] = "toy_boxer"
    Config = NoSettings
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"})}
    targets: ClassVar[tuple[str, ...]] = ("boxes",)
    views = (View(scale=(0.3, 1.0)),)

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.head = nn.Linear(encoders["image"].dim, 4 + len(data.instance_classes))

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        box, classes = self.head(self.encoders["image"](batch["image"]).pooled).split(
            [4, self.head.out_features - 4], 1
        )
        there = batch["instance_present"]  # (B, M)
        errors = (box.sigmoid()[:, None] - batch["boxes"]).abs().mean(dim=2)[there]
        wanted = F.one_hot(batch["instance_label"].clamp(min=0), classes.shape[1]) * there[..., None]
        scores = F.binary_cross_entropy_with_logits(
            classes, wanted.amax(dim=1).float() if there.shape[1] else 0 * classes
        )
        boxes = errors.sum() / max(1, len(errors))
        return {"total": boxes + scores, "boxes": boxes}

    def detect(self, batch: Batch) -> list[Detections]:
        found = self.head(self.encoders["image"](batch["image"]).pooled)
        boxes, scores = found[:, :4].sigmoid(), found[:, 4:].sigmoid()
        return [
            Detections(boxes[i, None], scores[i, None].amax(1), scores[i, None].argmax(1)) for i in range(len(found))
        ]


class Follower(Method, Tracks):
    """The mean box of the things of a clip, taught by tracks of drawn frames."""

    name: ClassVar[str] = "toy_follower"
    Config = NoSettings
    needs: Mapping[str, frozenset[str]] = {"video": frozenset({"pooled"})}
    targets: ClassVar[tuple[str, ...]] = ("track_masks", "moments")
    views = (View(scale=(0.5, 1.0)),)

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.head = nn.Linear(encoders["video"].dim, 4)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        found = self.head(self.encoders["video"](batch["video"], batch["video_mask"]).pooled).sigmoid()
        errors = (found[:, None, None] - batch["track_boxes"]).abs().mean(dim=3)[batch["track_present"]]
        return {"total": errors.sum() / max(1, len(errors)), "seconds": batch["duration"].mean()}

    def track(self, batch: Batch) -> list[Tracked]:
        raise NotImplementedError
