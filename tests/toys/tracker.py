"""A tracker: slots that point at a box in every frame of a clip, taught by tracks that follow the crop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.config import Config
from accord.data.augmenting.views import View
from accord.encoders.base import Encoder
from accord.methods.abilities import Tracked, Tracks
from accord.methods.base import Batch, DataInfo, Method, Step

SLOTS = 3


class TrackerConfig(Config):
    """Nothing to set."""


class Tracker(Method, Tracks):
    """The n-th slot follows the n-th thing.

    Batch keys: ``video``, ``video_mask``, ``track_boxes``, ``track_present``, ``instance_id``.
    """

    name: ClassVar[str] = "toy_tracker"
    Config: ClassVar[type[Config]] = TrackerConfig
    needs: Mapping[str, frozenset[str]] = {"video": frozenset({"tokens"})}
    targets: ClassVar[tuple[str, ...]] = ("tracks",)
    views = (View(scale=(0.7, 1.0), flip=0.5),)

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.classes = max(1, len(data.instance_classes))
        self.head = nn.Linear(encoders["video"].token_dim, SLOTS * 5)
        self.score = nn.Linear(encoders["video"].token_dim, SLOTS * self.classes)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Boxes in the frames in which a thing is seen, and whether it is."""
        boxes, seen, scores = self._slots(batch)
        things = batch["instance_id"] - 1  # (B, M), -2 for none
        rows, places = (things >= 0).nonzero(as_tuple=True)
        slots = things[rows, places]
        there = torch.zeros_like(seen)
        there[rows, slots] = batch["track_present"][rows, places].float()
        truth = torch.zeros_like(boxes)
        truth[rows, slots] = batch["track_boxes"][rows, places]
        wanted = torch.zeros_like(scores)
        wanted[rows, slots, batch["instance_label"][rows, places].clamp(min=0)] = 1
        terms = {
            "boxes": ((boxes - truth).abs().sum(dim=3) * there).sum() / there.sum().clamp(min=1),
            "seen": F.binary_cross_entropy_with_logits(seen, there),
            "classes": F.binary_cross_entropy_with_logits(scores, wanted),
        }
        return {"total": terms["boxes"] + terms["seen"] + terms["classes"], **terms}

    def _slots(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes ``(B, S, T, 4)``, logits ``(B, S, T)`` of being seen, and ``(B, S, C)`` of classes."""
        frames = self.encoders["video"](batch["video"], batch["video_mask"]).tokens  # (B, T, D)
        found = self.head(frames).unflatten(2, (SLOTS, 5)).transpose(1, 2)
        middle, side = found[..., :2].sigmoid(), found[..., 2:4].sigmoid() / 2
        boxes = torch.cat([middle - side, middle + side], dim=3).clamp(0, 1)
        return boxes, found[..., 4], self.score(frames.mean(dim=1)).unflatten(1, (SLOTS, self.classes))

    def track(self, batch: Batch) -> list[Tracked]:
        """All slots of each clip."""
        boxes, seen, scores = self._slots(batch)
        return [Tracked(*one) for one in zip(seen > 0, boxes, scores.sigmoid(), strict=True)]


class MaskTracker(Tracker):
    """The same, taught by the boxes around masks."""

    name: ClassVar[str] = "toy_mask_tracker"
    targets: ClassVar[tuple[str, ...]] = ("track_masks",)
