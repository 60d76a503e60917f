"""SlotCon: Self-Supervised Visual Representation Learning with Semantic Grouping (Wen et al., NeurIPS 2022).

The cells of a picture are shared out among prototypes that the whole data set has in common, and each prototype's cells
are pooled into a slot. Student and teacher must group the common region of two crops alike, cell by cell, and a slot
must find the same slot of the same picture in the other crop among all slots of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.views import View, byol_views
from accord.encoders.base import Encoder
from accord.encoders.heads import ConvHead, MLPHead, SemanticGrouping
from accord.functional import (
    active_slots,
    assign_pixels,
    cosine_momentum,
    crop_params,
    hflip_box,
    nonempty_boxes,
    overlap_boxes,
    slotcon_loss,
)
from accord.methods.abilities import Embeds, Segments
from accord.methods.base import Batch, DataInfo, Method, Stage, Step
from accord.state import Center, MomentumParts


class SlotconConfig(settings.Config):
    """Settings of :class:`Slotcon`; defaults from the paper's runs on COCO and its released code.

    On small data take 16 to 32 slots, crop less (``crop_scale`` from 0.3), leave colours as they are with a teacher's
    temperature of 0.05, and take a momentum of 0.97 for runs of fewer than 2,000 steps.
    """

    slots: int = Field(256, ge=2, description="number of prototypes K (2048 on ImageNet)")
    dim: int = Field(256, ge=1, description="channels of the projected map")
    hidden: int = Field(4096, ge=1, description="hidden width of projector and slot predictor")
    layers: int = Field(2, ge=1, description="hidden layers of both")
    group_weight: float = Field(0.5, ge=0, le=1, description="share λ of the grouping loss; the rest is slot contrast")
    student_temperature: float = Field(0.1, gt=0, description="softmax temperature of the student's grouping")
    teacher_temperature: float = Field(0.07, gt=0, description="that of the teacher, and of the pooling in both")
    temperature: float = Field(0.2, gt=0, description="softmax temperature of the slot contrast")
    center_momentum: float = Field(0.9, ge=0, le=1, description="share of the old centre that a step leaves")
    momentum: float = Field(0.99, ge=0, le=1, description="of the teacher at the start; it rises to 1 along a cosine")
    crop_scale: tuple[float, float] = Field((0.08, 1.0), description="area range of both crops")
    overlap: float = Field(0.01, ge=0, lt=1, description="share of the second crop that the first should have too")
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring a crop")
    colour: bool = Field(True, description="colour jitter, greyscale, blur and solarisation")


class Slotcon(Method, Embeds, Segments):
    """SlotCon over any image encoder that gives the patches of a picture.

    The teacher moves after each step instead of before the next forward pass, which is the same sequence. It is part of
    the model: :meth:`segment` asks it, since its groups are steadier than the student's.

    Batch keys: ``image_views`` [x1, x2], ``view_boxes (B, 2, 4)``, ``view_flips (B, 2)``.

    Example:
        >>> from accord.encoders import build_encoder
        >>> towers = {"image": build_encoder("image", {"name": "tiny_resnet", "width": 32})}
        >>> slotcon = Slotcon({"slots": 6, "dim": 8, "hidden": 16}, towers, DataInfo())
        >>> boxes = torch.tensor([[0.0, 0.0, 0.8, 0.8], [0.2, 0.2, 1.0, 1.0]]).expand(4, 2, 4)
        >>> batch = {"image_views": list(torch.randn(2, 4, 3, 64, 64)), "view_boxes": boxes,
        ...          "view_flips": torch.zeros(4, 2, dtype=torch.bool)}
        >>> sorted(slotcon.loss(batch, Step()))
        ['group', 'meeting', 'slot', 'slots_active', 'total']
        >>> slotcon.eval().segment({"image": batch["image_views"][0]}, (16, 16)).shape
        torch.Size([4, 16, 16])
    """

    name: ClassVar[str] = "slotcon"
    Config: ClassVar[type[settings.Config]] = SlotconConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled", "patches"})}
    training_only: ClassVar[tuple[str, ...]] = ("predictor.", "center.")
    config: SlotconConfig
    teacher: MomentumParts | None

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg = self.config
        self.projector = ConvHead(encoders["image"].token_dim, cfg.dim, cfg.hidden, cfg.layers, activation="gelu")
        self.grouping = SemanticGrouping(cfg.slots, cfg.dim, cfg.teacher_temperature)
        self.predictor = MLPHead(cfg.dim, cfg.dim, cfg.hidden, cfg.layers, activation="gelu")
        for module in (*self.projector.modules(), *self.predictor.modules()):
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        self.teacher = MomentumParts(self._online(), cfg.momentum)
        self.center = Center(cfg.slots, cfg.center_momentum)

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """A small network to train, with a map of 8 × 8 cells."""
        return {"image": {"name": "tiny_resnet"}}

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One; where hardly a slot is active in both crops, the predictor has nothing to learn from."""
        return (Stage(partial=True),)

    @property
    def views(self) -> tuple[View, ...]:
        """Two crops that share a region, with BYOL's asymmetric colours."""
        first, second = byol_views(self.config.crop_scale, self.config.flip, colour=self.config.colour)
        return first, replace(second, overlap=self.config.overlap)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One iteration of the paper's algorithm; the centre moves after its use."""
        cfg, crops, flips = self.config, batch["image_views"], batch["view_flips"].unbind(1)
        boxes = common_boxes(batch["view_boxes"], batch["view_flips"])
        student = [self._map(self._online(), crop) for crop in crops]
        with torch.no_grad():
            slow = self._slow()
            teacher = [self._map(slow, crop) for crop in crops]
        terms, dots = slotcon_loss(
            student,
            teacher,
            self.grouping.prototypes,
            slow["grouping"].prototypes,  # type: ignore[arg-type]
            boxes,
            flips,
            self.center.center,
            predictor=self.predictor,
            group_weight=cfg.group_weight,
            t_s=cfg.student_temperature,
            t_t=cfg.teacher_temperature,
            tau=cfg.temperature,
        )
        if self.training:
            self.center.update(dots)
        active = active_slots(dots).any(dim=0).float().mean()
        meeting = (nonempty_boxes(boxes[0]) & nonempty_boxes(boxes[1])).float().mean()
        details = {name: term.detach() for name, term in terms.items() if name != "total"}
        return {"total": terms["total"], **details, "slots_active": active, "meeting": meeting}

    def after_step(self, step: Step) -> None:
        """The teacher follows, ever more slowly."""
        momentum = cosine_momentum(step.index + 1, step.total, self.config.momentum)  # that of the step to come
        if self.teacher is not None:
            self.teacher.follow(self._online(), float(momentum))

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The encoder's vector, unit norm."""
        return {"image": F.normalize(self.encoders["image"](batch["image"]).pooled.float(), dim=1)}

    @torch.no_grad()
    def segment(self, batch: Batch, size: tuple[int, int]) -> Tensor:
        """The teacher's prototype ``(B, H, W)`` of every pixel, at any size: segmentation without supervision."""
        slow = self._slow()
        _, dots = slow["grouping"](self._map(slow, batch["image"]))
        return assign_pixels(dots, size)

    def reshape(self, state: Mapping[str, Tensor]) -> None:
        """Do without the teacher where ``state`` has none, as in older models, which segment by the student."""
        super().reshape(state)
        if not any(name.startswith("teacher.") for name in state):
            self.teacher = None

    def _online(self) -> dict[str, nn.Module]:
        """The parts that the teacher has too."""
        return {"image": self.encoders["image"], "projector": self.projector, "grouping": self.grouping}

    def _slow(self) -> dict[str, nn.Module]:
        """The same as the teacher has them."""
        return self._online() if self.teacher is None else self.teacher.among(self._online())

    def _map(self, parts: Mapping[str, Any], crop: Any) -> Tensor:
        """Projected map ``(B, D, h, w)``."""
        return parts["projector"](parts["image"](crop).grid())


def common_boxes(boxes: Tensor, flips: Tensor) -> tuple[Tensor, Tensor]:
    """The common region of two crops in the frame of each as it is fed, that is after mirroring.

    Args:
        boxes: ``(B, 2, 4)`` of the crops in their picture.
        flips: ``(B, 2)`` bool.

    Returns:
        Two ``(B, 4)``.

    Example:
        >>> boxes = torch.tensor([[[0.0, 0.0, 0.5, 1.0], [0.25, 0.0, 0.75, 1.0]]])
        >>> common_boxes(boxes, torch.tensor([[False, True]]))
        (tensor([[0.5000, 0.0000, 1.0000, 1.0000]]), tensor([[0.5000, 0.0000, 1.0000, 1.0000]]))
    """
    first, second = overlap_boxes(*(crop_params(box) for box in boxes.unbind(1)))
    one, other = (
        torch.where(flip[:, None], hflip_box(box), box)
        for box, flip in zip((first, second), flips.unbind(1), strict=True)
    )
    return one, other
