"""MV-InfoNCE and MV-DHEL: A Principled Framework for Multi-View Contrastive Learning (2025, arXiv 2507.06979).

All views of an instance stand in one loss term instead of a sum over pairs. MV-InfoNCE puts every pair of an instance
into one numerator and everything else into one denominator; MV-DHEL separates alignment, over all views together, from
uniformity, inside each view. Views are augmentations, modalities, or both. The pairwise losses that they are compared
with (NT-Xent, that is SimCLR; average view; poly-view) are objectives of the same method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.views import View
from accord.data.modalities import ModalityName
from accord.encoders.base import Encoder
from accord.encoders.heads import MLPHead
from accord.encoders.multires import pooled_views
from accord.functional import (
    alignment,
    average_view_nt_xent,
    effective_rank,
    gather_features,
    mv_dhel,
    mv_infonce,
    pairwise_nt_xent,
    poly_view_loss,
    uniformity,
)
from accord.methods.abilities import Embeds
from accord.methods.base import Batch, DataInfo, Method, Step

OBJECTIVES: dict[str, Callable[..., Tensor]] = {
    "mv_infonce": mv_infonce,
    "mv_dhel": mv_dhel,
    "nt_xent": pairwise_nt_xent,
    "average_view": average_view_nt_xent,
    "poly_view": poly_view_loss,
}

FORMULA: dict[str, dict[str, bool]] = {  # the denominators as the paper writes them, not as its code computes them
    "mv_infonce": {"same_view_negatives": False},
    "mv_dhel": {"itself": True},
}
MASKED = ("mv_infonce", "mv_dhel")  # those that can do without a view; the others leave the row out


class MultiViewConfig(settings.Config):
    """Settings of :class:`MultiView`; defaults from the paper's runs on CIFAR and its released code.

    The best temperature differs between objectives and numbers of views: choose it for each.
    """

    objective: Literal["mv_infonce", "mv_dhel", "nt_xent", "average_view", "poly_view"] = Field(
        "mv_infonce", description="the loss over all views; nt_xent with two views is SimCLR"
    )
    denominator: Literal["released", "formula"] = Field(
        "released",
        description="of mv_infonce and mv_dhel, as the released code has it, or as the paper writes it: without other "
        "instances of the anchor's own view, and with the anchor itself",
    )
    views: int = Field(4, ge=1, description="augmented views of each picture")
    modalities: tuple[ModalityName, ...] = Field(
        ("image",), min_length=1, description="modalities; each but image is one more view"
    )
    dim: int = Field(128, ge=1, description="size of the projections that are compared")
    temperature: float = Field(0.5, gt=0, description="divides the cosines (0.1 on ImageNet-1k)")
    crop_scale: tuple[float, float] = Field((0.08, 1.0), description="area range of the crops")
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring a crop")
    colour: float = Field(0.5, ge=0, le=1, description="strength of colour jitter; 0 for none, 1 on ImageNet")
    blur: float = Field(0.0, ge=0, le=1, description="probability of blur (0.5 on ImageNet)")

    @model_validator(mode="after")
    def _at_least_two_views(self) -> Self:
        if len(set(self.modalities)) < len(self.modalities):
            raise ValueError(f"modalities = {self.modalities}: each should stand there once")
        count = len(self.modalities) - 1 + (self.views if "image" in self.modalities else 1)
        if count < 2:
            raise ValueError(f"views = {self.views} of {', '.join(self.modalities)}: there should be at least 2 in all")
        if self.denominator == "formula" and self.objective not in FORMULA:
            raise ValueError(
                f"denominator = 'formula': {self.objective} has one denominator; take {', '.join(FORMULA)}"
            )
        return self


class MultiView(Method, Embeds):
    """Any number of views under one loss, over any encoders.

    Batch keys: ``image_views``, or ``image`` for one; the other modalities and their masks.

    Example:
        >>> from accord.encoders import build_encoder
        >>> towers = {"image": build_encoder("image", {"name": "tiny_resnet", "width": 32})}
        >>> method = MultiView({"objective": "mv_dhel", "views": 3, "dim": 8}, towers, DataInfo())
        >>> sorted(method.loss({"image_views": list(torch.randn(3, 4, 3, 32, 32))}, Step()))
        ['alignment', 'contrastive', 'effective_rank', 'total', 'uniformity']
        >>> method.eval().embed({"image": torch.randn(2, 3, 32, 32)})["image"].shape
        torch.Size([2, 32])
    """

    name: ClassVar[str] = "multiview_infonce"
    sizes_suffice: ClassVar[tuple[str, ...]] = ("audio", "image", "text", "video")
    Config: ClassVar[type[settings.Config]] = MultiViewConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"})}
    config: MultiViewConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.heads = nn.ModuleDict({name: _head(encoders[name].dim, self.config.dim) for name in self.needs})

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """The vector of every modality that is a view."""
        return {modality: frozenset({"pooled"}) for modality in config.modalities}

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """For pictures alone a small network to train; with other modalities the usual ones."""
        return {"image": {"name": "tiny_resnet"}} if config.modalities == ("image",) else {}

    @property
    def views(self) -> tuple[View, ...]:
        """Equal augmentations, drawn independently."""
        cfg, s = self.config, self.config.colour
        if "image" not in cfg.modalities:
            return ()
        colours = {"jitter": (0.8 * s, 0.8 * s, 0.8 * s, 0.2 * s), "jitter_p": 0.8, "gray": 0.2} if s else {}
        return (View(scale=cfg.crop_scale, flip=cfg.flip, blur=cfg.blur, count=cfg.views, **colours),)  # type: ignore[arg-type]

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Every view through encoder and head, then all of them in one loss."""
        views = [gather_features(view, with_grad=True) for view in self.project(batch)]
        options: dict[str, Any] = FORMULA[self.config.objective] if self.config.denominator == "formula" else {}
        if any(f"{name}_present" in batch for name in self.needs):
            there = torch.stack([gather_features(view.byte(), with_grad=False).bool() for view in self._present(batch)])
            if self.config.objective in MASKED:
                options = {**options, "mask": there}  # (N, M)
            else:
                views = [view[there.all(dim=0)] for view in views]
        total = OBJECTIVES[self.config.objective](views, self.config.temperature, **options)
        terms = {"total": total, "contrastive": total.detach()}
        if step.watched:
            with torch.no_grad():
                first, second = (F.normalize(view.float(), dim=1) for view in views[:2])
                terms["effective_rank"] = effective_rank(first)
                terms["uniformity"] = uniformity(first)
                terms["alignment"] = alignment(first, second)
        return terms

    def project(self, batch: Batch) -> list[Tensor]:
        """Projections ``(B, D)`` of all views, those of pictures first; not normalised."""
        found = []
        for name in self.needs:
            if name == "image":
                crops = batch["image_views"] if self.config.views > 1 else [batch["image"]]
                pooled = pooled_views(self.encoders["image"], crops)  # all at once: batch norm sees every view
                found += self.heads["image"](pooled).chunk(len(crops))
            else:
                found.append(self.heads[name](self._pooled(name, batch)))
        return found

    def _present(self, batch: Batch) -> list[Tensor]:
        """Which rows have each view, in the order of :meth:`project`."""
        found = []
        for name in self.needs:
            there = batch.get(f"{name}_present", torch.ones(len(batch["index"]), dtype=torch.bool, device=self.device))
            found += [there] * (self.config.views if name == "image" else 1)
        return found

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Unit norm: of pictures alone the encoder's own vector; of modalities that find each other the projection."""
        return {name: F.normalize(vector, dim=1) for name, vector in self.vectors(batch).items()}

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """The same before they are brought to unit norm."""
        alone, present = len(self.needs) == 1, [name for name in self.needs if name in batch]
        vectors = {name: self._pooled(name, batch) for name in present}
        vectors = vectors if alone else {name: self.heads[name](vector) for name, vector in vectors.items()}
        return {name: vector.float() for name, vector in vectors.items()}

    def _pooled(self, name: str, batch: Batch) -> Tensor:
        return self.encoders[name](batch[name], batch.get(f"{name}_mask")).pooled


def _head(width: int, dim: int) -> MLPHead:
    """SimCLR's projection without biases; the last batch norm scales but does not shift."""
    head = MLPHead(width, dim, width, bias=False, norm_last="affine")
    head[-1].bias.requires_grad_(False)
    return head
