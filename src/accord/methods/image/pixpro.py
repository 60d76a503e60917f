"""PixPro: Pixel-Level Consistency for Unsupervised Visual Representation Learning (Xie et al., CVPR 2021).

Cells of two crops' feature maps that lie close to each other in the picture are positives. PixPro lets each cell of the
student, smoothed by its likeness to the others (pixel propagation), agree with the plain cell of a momentum teacher,
without negatives; PixContrast contrasts the cells. An instance branch (BYOL) can be added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.views import View, byol_views
from accord.encoders.base import Encoder
from accord.encoders.heads import ConvHead, PixelPropagation
from accord.functional import (
    cosine_momentum,
    effective_rank,
    flipped_coord,
    gather_features,
    negative_cosine,
    pixcontrast_loss,
    pixel_positive_mask,
    pixpro_loss,
)
from accord.methods.abilities import Embeds
from accord.methods.base import Batch, DataInfo, Method, Step
from accord.state import MomentumParts


class PixproConfig(settings.Config):
    """Settings of :class:`Pixpro`; defaults from the paper's scripts.

    On small data crop less (``crop_scale`` from 0.3), or few crops meet, and take a momentum of 0.97 for runs of fewer
    than 2,000 steps.
    """

    objective: Literal["pixpro", "pixcontrast"] = Field("pixpro", description="consistency, or contrast of the cells")
    dim: int = Field(256, ge=1, description="channels of the projected map")
    hidden: int = Field(4096, ge=1, description="hidden channels of the projectors and the predictor")
    threshold: float = Field(0.7, gt=0, description="largest distance of a positive pair, in cell diagonals")
    power: float = Field(2.0, gt=0, description="exponent of the likeness in the propagation")
    transform_layers: int = Field(1, ge=0, le=2, description="convolutions of the propagated values; 0 is the identity")
    propagation: bool = Field(True, description="False leaves the propagation out, against the paper")
    pixel_weight: float = Field(1.0, ge=0, description="weight of the pixel loss")
    instance_weight: float = Field(0.0, ge=0, description="weight of the instance branch (1 in the paper's variant)")
    temperature: float = Field(0.3, gt=0, description="softmax temperature of pixcontrast")
    momentum: float = Field(0.99, ge=0, le=1, description="of the teacher at the start; it rises to 1 along a cosine")
    crop_scale: tuple[float, float] = Field((0.08, 1.0), description="area range of both crops")
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring a crop")
    colour: bool = Field(True, description="colour jitter, greyscale, blur and solarisation")


class Pixpro(Method, Embeds):
    """PixPro over any image encoder that gives the patches of a picture.

    The teacher moves after each step instead of before the next forward pass, which is the same sequence. A crop's
    coordinates are its edges over the picture's sides, ``left / W`` to ``(left + w) / W``. The released code takes
    ``left / (W - 1)`` to ``(left + w - 1) / (W - 1)``, less than a pixel away, which lays the cells of a crop beside
    the pixels that they show and divides by 0 where a picture is one pixel wide.

    Batch keys: ``image_views`` [x1, x2], ``view_boxes (B, 2, 4)``, ``view_flips (B, 2)``.

    Example:
        >>> from accord.encoders import build_encoder
        >>> towers = {"image": build_encoder("image", {"name": "tiny_resnet", "width": 32})}
        >>> pixpro = Pixpro({"dim": 8, "hidden": 16, "instance_weight": 1.0}, towers, DataInfo())
        >>> boxes = torch.tensor([[0.0, 0.0, 0.8, 0.8], [0.2, 0.2, 1.0, 1.0]]).expand(4, 2, 4)
        >>> batch = {"image_views": list(torch.randn(2, 4, 3, 64, 64)), "view_boxes": boxes,
        ...          "view_flips": torch.zeros(4, 2, dtype=torch.bool)}
        >>> sorted(pixpro.loss(batch, Step()))
        ['effective_rank', 'instance', 'meeting', 'pixel', 'total']
        >>> pixpro.encoders["image"](batch["image_views"][0]).grid().shape
        torch.Size([4, 32, 8, 8])
    """

    name: ClassVar[str] = "pixpro"
    Config: ClassVar[type[settings.Config]] = PixproConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled", "patches"})}
    training_only: ClassVar[tuple[str, ...]] = ("teacher.", "heads.", "propagation.", "predictor.")
    config: PixproConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg, width = self.config, encoders["image"].token_dim
        self.heads = nn.ModuleDict({"pixel": ConvHead(width, cfg.dim, cfg.hidden)})
        self.propagation = PixelPropagation(cfg.dim, cfg.power, cfg.transform_layers) if cfg.propagation else None
        self.predictor = None
        if cfg.instance_weight:
            self.heads["instance"] = ConvHead(width, cfg.dim, cfg.hidden)
            self.predictor = ConvHead(cfg.dim, cfg.dim, cfg.hidden)
        self.teacher = MomentumParts(self._online(), cfg.momentum)

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """A small network to train, with a map of 8 × 8 cells."""
        return {"image": {"name": "tiny_resnet"}}

    @property
    def views(self) -> tuple[View, ...]:
        """Two crops with BYOL's asymmetric colours."""
        return byol_views(self.config.crop_scale, self.config.flip, colour=self.config.colour)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One iteration of the paper's algorithm; both crops through student and teacher."""
        cfg, crops = self.config, batch["image_views"]
        coords = flipped_coord(batch["view_boxes"], batch["view_flips"]).unbind(1)
        student = [self._maps(self._online(), crop) for crop in crops]
        with torch.no_grad():
            teacher = [self._maps(self.teacher.among(self._online()), crop) for crop in crops]
        total, terms = coords[0].new_zeros(()), {}
        if cfg.pixel_weight:
            terms["pixel"] = self._pixel_loss(student, teacher, coords)
            total = total + cfg.pixel_weight * terms["pixel"]
        if self.predictor is not None:
            pooled = [self.predictor(maps["instance"]).mean(dim=(2, 3)) for maps in student]
            wanted = [maps["instance"].mean(dim=(2, 3)) for maps in teacher]
            terms["instance"] = negative_cosine(pooled[0], wanted[1]) + negative_cosine(pooled[1], wanted[0])
            total = total + cfg.instance_weight * terms["instance"]
        height, width = student[0]["pixel"].shape[2:]
        near = pixel_positive_mask(coords[0], coords[1], height, width, cfg.threshold)
        meeting = near.flatten(1).any(dim=1).float().mean()
        found = {**{name: term.detach() for name, term in terms.items()}, "total": total, "meeting": meeting}
        if step.watched:
            spread = gather_features(teacher[0]["pixel"].mean(dim=(2, 3)), with_grad=False)
            found["effective_rank"] = effective_rank(spread)
        return found

    def after_step(self, step: Step) -> None:
        """The teacher follows, ever more slowly."""
        momentum = cosine_momentum(step.index + 1, step.total, self.config.momentum)  # that of the step to come
        self.teacher.follow(self._online(), float(momentum))

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The encoder's vector, unit norm."""
        return {"image": F.normalize(self.encoders["image"](batch["image"]).pooled.float(), dim=1)}

    def _online(self) -> dict[str, nn.Module]:
        """The parts that the teacher has too."""
        return {"image": self.encoders["image"], **{f"{name} head": head for name, head in self.heads.items()}}

    def _maps(self, parts: Mapping[str, Any], crop: Any) -> dict[str, Tensor]:
        """Projected maps ``(B, dim, h, w)`` of each branch."""
        grid = parts["image"](crop).grid()
        return {name: parts[f"{name} head"](grid) for name in self.heads}

    def _pixel_loss(
        self, student: list[dict[str, Tensor]], teacher: list[dict[str, Tensor]], coords: tuple[Tensor, ...]
    ) -> Tensor:
        cfg = self.config
        if cfg.objective == "pixcontrast":
            pairs = [(student[own]["pixel"], teacher[1 - own]["pixel"]) for own in (0, 1)]
            losses = [
                pixcontrast_loss(q, k, coords[own], coords[1 - own], cfg.threshold, cfg.temperature)
                for own, (q, k) in enumerate(pairs)
            ]
            return torch.stack(losses).mean()
        smooth = [maps["pixel"] if self.propagation is None else self.propagation(maps["pixel"]) for maps in student]
        return sum(
            (
                pixpro_loss(smooth[own], teacher[1 - own]["pixel"], coords[own], coords[1 - own], cfg.threshold)
                for own in (0, 1)
            ),
            start=coords[0].new_zeros(()),
        )
