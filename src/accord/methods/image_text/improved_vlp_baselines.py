"""Improved Baselines for Vision-Language Pre-training (Fini et al., TMLR 2023): CLIP-rocket and its companions.

CLIP with the training recipe of self-supervised learning: pictures and texts are both augmented, weakly once and
strongly n times; the strong views meet in a space of their own, behind MLP projectors, under a smoothed InfoNCE over
all n² pairs. To it can be added the losses of SimSiam, BYOL, Barlow Twins and SwAV across the modalities, or SLIP's
contrast among the strong pictures. The paper's finding is that with the recipe these add little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.text_views import TextView
from accord.data.augmenting.views import STRONG_COLOURS, View
from accord.encoders.base import Encoder
from accord.encoders.heads import MLPHead
from accord.encoders.residual import residual_dropout
from accord.functional import cross_view_nce, gather_features, info_nce
from accord.methods.base import Batch, DataInfo, Step, TwoTower
from accord.methods.image_text.cross_modal import (
    CrossModalBarlow,
    CrossModalLoss,
    CrossModalRegression,
    CrossModalSwap,
    ImageContrast,
    swapped_views,
)
from accord.state import LogitScale, MomentumParts

Objective = Literal["clip", "rocket", "slip", "siamlip", "byolip", "barlip", "swalip", "swalip_prototypes"]
MODALITIES = ("image", "text")


PRESETS: dict[str, dict[str, Any]] = {  # what an objective has different from the rocket recipe
    "clip": {"strong_views": 0},
    "rocket": {},
    "slip": {"extra_width": 4096, "extra_dim": 256},
    "siamlip": {"extra_width": 2048, "extra_dim": 128},
    "byolip": {"extra_width": 2048, "extra_dim": 128},
    "barlip": {"extra_width": 3000, "extra_dim": 8192},
    "swalip": {"label_smoothing": 0.0, "weight": 0.2},
    "swalip_prototypes": {"strong_views": 0, "weight": 0.2, "extra_width": 2048, "extra_dim": 128},
}
RECIPE = {"strong_views": 2, "label_smoothing": 0.1, "weight": 1.0}


class ImprovedVLPConfig(settings.Config):
    """Settings of :class:`ImprovedVLP`; defaults from the released code and its commands."""

    objective: Objective = Field("rocket", description="clip alone, the rocket recipe, or the recipe with a loss added")
    strong_views: int | None = Field(None, ge=0, description="strong views n; None: 2, for clip and prototypes 0")
    weight: float | None = Field(None, ge=0, description="of the added loss; None: 1, for both forms of swalip 0.2")
    label_smoothing: float | None = Field(None, ge=0, lt=1, description="of strong pairs; None: 0.1, for swalip 0")
    dim: int = Field(256, ge=1, description="size of each embedding space")
    temperature: float = Field(0.07, gt=0, description="initial temperature of the weak pair; its scale starts at 1/T")
    local_temperature: float = Field(0.1, gt=0, description="initial temperature of the strong pairs")
    max_logit_scale: float = Field(100.0, gt=1, description="upper clamp of both scales after each step")
    separate_heads: bool = Field(True, description="MLP projectors and a scale of their own for strong views")
    head_width: int = Field(4096, ge=1, description="hidden width of these projectors, which have two hidden layers")
    ensemble: float = Field(0.5, ge=0, le=1, description="weight of the weak views' space in the embedding")
    image_augmentation: bool = Field(True, description="False: strong pictures are the weak one again")
    crop_scale: tuple[float, float] = Field((0.5, 1.0), description="area range of the weak crop")
    strong_crop_scale: tuple[float, float] = Field((0.08, 1.0), description="area range of the strong crops")
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring a strong crop; 0 if captions name sides")
    text_augmentation: bool = Field(True, description="False: every view of the text is the caption as it is")
    stopwords: float = Field(0.8, ge=0, le=1, description="probability of leaving out stop-words, in all views")
    synonym: float = Field(0.4, ge=0, le=1, description="probability that a strong text has words replaced by synonyms")
    swap: float = Field(0.4, ge=0, le=1, description="probability that it has words exchanged")
    delete: float = Field(0.2, ge=0, le=1, description="probability that it has words left out")
    clean_text: bool = Field(False, description="resolve HTML entities and lower-case before augmenting")
    synonyms: str | None = Field(None, description="JSON file {word: [synonym, ...]}; None for the English one inside")
    text_dropout: float = Field(
        0.0, ge=0, lt=1, description="dropout on the residual stream of strong texts (0 to 0.2)"
    )
    extra_width: int | None = Field(None, ge=1, description="hidden width of the added loss's heads; None: the paper's")
    extra_dim: int | None = Field(None, ge=1, description="output width of these heads; None: the paper's")
    momentum: float = Field(0.99, ge=0, le=1, description="of byolip's slow copy")
    redundancy: float = Field(5e-3, gt=0, description="weight λ of barlip's off-diagonal terms")
    barlow_scale: float = Field(0.025, gt=0, description="factor on barlip")
    sinkhorn_eps: float = Field(0.05, gt=0, description="entropic regularisation of swalip's assignments")
    sinkhorn_iters: int = Field(3, ge=1, description="Sinkhorn rounds")
    prototypes: int = Field(3000, ge=2, description="prototypes of swalip_prototypes")
    prototype_temperature: float = Field(0.1, gt=0, description="softmax temperature over the prototypes")
    freeze_prototypes: int = Field(100, ge=0, description="first steps in which the prototypes stay as they are")
    slip_temperature: float = Field(0.1, gt=0, description="softmax temperature among slip's strong pictures")

    @model_validator(mode="after")
    def _views_of_the_objective(self) -> Self:
        if self.objective in ("slip", "swalip") and self.n < 2:
            raise ValueError(f"strong_views = {self.n}: {self.objective} compares strong views, so it needs at least 2")
        if self.objective == "slip" and not self.image_augmentation:
            raise ValueError("slip compares strong pictures with each other: it needs image_augmentation")
        return self

    @property
    def n(self) -> int:
        """Number of strong views."""
        return self.chosen("strong_views")

    def chosen(self, name: str) -> Any:
        """A setting that is the objective's own unless it is set."""
        value = getattr(self, name)
        return {**RECIPE, **PRESETS[self.objective]}[name] if value is None else value


class ImprovedVLP(TwoTower):
    """CLIP, CLIP-rocket, and SLIP-, SiamLIP-, BYOLIP-, BarLIP- and SwALIP-like variants, one by name.

    Batch keys: ``image``, ``text``, ``text_mask``; ``image_views`` and ``text_views``, each the weak view and then the
    strong ones, where that side is augmented.

    Example:
        >>> from accord.encoders import build_encoder
        >>> texts = ["a red ball", "a blue cup", "two green trees"]
        >>> towers = {"image": build_encoder("image", "tiny_vit")}
        >>> towers["text"] = build_encoder("text", "tiny_text", texts=texts)
        >>> method = ImprovedVLP({"dim": 32, "head_width": 64}, towers, DataInfo())
        >>> views = [towers["text"].input.tokenizer(texts)] * 3
        >>> batch = {"image_views": list(torch.randn(3, 3, 3, 64, 64)), "text_views": views}
        >>> sorted(method.loss(batch, Step()))
        ['global', 'local', 'local_scale', 'logit_scale', 'total']
        >>> method.eval().embed({"image": torch.randn(2, 3, 64, 64)})["image"].shape
        torch.Size([2, 64])
    """

    name: ClassVar[str] = "improved_vlp_baselines"
    sizes_suffice: ClassVar[tuple[str, ...]] = ("image", "text")
    Config: ClassVar[type[settings.Config]] = ImprovedVLPConfig
    needs: Mapping[str, frozenset[str]] = dict.fromkeys(MODALITIES, frozenset({"pooled"}))
    training_only: ClassVar[tuple[str, ...]] = ("extra.", "slow.")
    config: ImprovedVLPConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        config = self.config
        widths = {modality: encoders[modality].dim for modality in MODALITIES}
        self.projections = nn.ModuleDict()
        for modality, width in widths.items():
            self.projections[modality] = nn.Linear(width, config.dim, bias=False)
            nn.init.normal_(self.projections[modality].weight, std=width**-0.5)  # type: ignore[arg-type]
        self.logit_scale = LogitScale(1 / config.temperature, config.max_logit_scale)
        self.contrasts_strong = config.n > 0 and config.objective != "slip"
        self.local_heads, self.local_scale = nn.ModuleDict(), None
        if self.contrasts_strong and config.separate_heads:
            for modality, width in widths.items():
                self.local_heads[modality] = MLPHead(width, config.dim, config.head_width, layers=2)
            self.local_scale = LogitScale(1 / config.local_temperature, config.max_logit_scale)
        self.extra = added_loss(config, widths)
        self.slow = None
        if config.objective == "byolip":
            self.slow = MomentumParts(encoders, config.momentum, buffers=True)

    @property
    def views(self) -> tuple[View, ...]:
        """The weak crop, and n strong ones as SimCLR's."""
        config = self.config
        weak = View(scale=config.crop_scale, flip=0.0)
        if not (config.n and config.image_augmentation):
            return (weak,)
        return (weak, View(scale=config.strong_crop_scale, flip=config.flip, **STRONG_COLOURS, count=config.n))

    @property
    def text_views(self) -> tuple[TextView, ...]:
        """The weak text, without stop-words, and n strong ones with an edit besides."""
        config = self.config
        if not (self.contrasts_strong and config.text_augmentation):
            return ()
        weak = TextView(stopwords=config.stopwords, clean=config.clean_text, synonyms=config.synonyms)
        edited = replace(weak, synonym=config.synonym, swap=config.swap, delete=config.delete)
        return (weak, replace(edited, count=config.n))

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        """Embeddings ``image`` and ``text (B, D)`` of the weak views, and the features of all: ``image 0``, …

        A side that is not augmented has one view. Heads come later, for batch norm needs the whole batch.
        """
        images = batch["image_views"] if len(self.views) > 1 else [batch["image"]]
        texts = batch["text_views"] if self.text_views else [(batch["text"], batch.get("text_mask"))]
        drop = self.config.text_dropout if self.contrasts_strong else 0.0
        if drop and len(texts) == 1:
            texts = texts * (1 + self.config.n)  # they differ by their dropout
        views = {f"image {place}": (view, None) for place, view in enumerate(images)}
        views |= {f"text {place}": view for place, view in enumerate(texts)}
        towers = {}
        for name, view in views.items():
            towers[name] = self._pooled(self.encoders[name.split()[0]], name, view, drop)  # type: ignore[arg-type]
        if self.slow is not None:
            slow = self.slow.among(dict(self.encoders.items()))
            for name, view in views.items():
                shared = name.split()[0] not in self.slow.followed  # frozen, so its features are those at hand
                seen = towers[name].detach() if shared else self._pooled(slow[name.split()[0]], name, view, drop)  # type: ignore[arg-type]
                towers[f"slow {name}"] = seen
        return {**towers, **{modality: self._global(modality, towers[f"{modality} 0"]) for modality in MODALITIES}}

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """Contrast of the weak and of the strong views, and the added loss."""
        config, scale = self.config, self.logit_scale()
        features = {modality: self._repeated(modality, towers) for modality in MODALITIES}
        image, text = (gather_features(towers[modality], with_grad=True) for modality in MODALITIES)
        if self.contrasts_strong:
            local_scale = scale if self.local_scale is None else self.local_scale()
            images, texts = ([self._local(name, view) for view in views[1:]] for name, views in features.items())
            all_images, all_texts = (
                [gather_features(view, with_grad=True) for view in views] for views in (images, texts)
            )
            smoothing = config.chosen("label_smoothing")
            terms = cross_view_nce((image, text), all_images, all_texts, scale, local_scale, smoothing)
            terms["local_scale"] = local_scale.detach()
            if config.objective == "swalip":
                terms["swalip"] = swapped_views(images, texts, local_scale, config.sinkhorn_eps, config.sinkhorn_iters)
        else:
            weak = info_nce(image, text, scale)
            terms = {"total": weak, "global": weak}
        if self.extra is not None:
            if self.slow is not None:
                features |= {f"slow {modality}": self._repeated(f"slow {modality}", towers) for modality in MODALITIES}
            terms[config.objective] = self.extra(features, step.index)
        if config.objective in terms:
            terms["total"] = terms["total"] + config.chosen("weight") * terms[config.objective]
        return {**terms, "logit_scale": scale.detach()}

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """``[√w z, √(1-w) h]`` of the modalities in the batch: cosines are ``w cos(z) + (1-w) cos(h)``."""
        embeddings = {}
        for modality, encoder in self.encoders.items():
            if modality in batch:
                pooled = encoder(batch[modality], batch.get(f"{modality}_mask")).pooled
                z, w = self._global(modality, pooled), self.config.ensemble
                parts = [w**0.5 * z, (1 - w) ** 0.5 * self._local(modality, pooled)] if self.local_heads else [z]
                embeddings[modality] = torch.cat(parts, dim=1)
        return embeddings

    def after_step(self, step: Step) -> None:
        """Clamp the scales, move slow copies, normalise prototypes."""
        self.logit_scale.clamp_()
        if self.local_scale is not None:
            self.local_scale.clamp_()
        if self.slow is not None:
            self.slow.follow(dict(self.encoders.items()))
        if self.extra is not None:
            self.extra.update()

    def _pooled(self, encoder: Encoder, name: str, view: tuple[Any, Tensor | None], dropout: float) -> Tensor:
        """What an encoder, or its slow copy, makes of a view; strong texts go through dropout."""
        with residual_dropout(encoder, dropout if name.startswith("text") and name != "text 0" else 0.0):
            return encoder(*view).pooled

    def _repeated(self, prefix: str, towers: dict[str, Tensor]) -> list[Tensor]:
        """Features of the weak and all strong views; a side without strong ones repeats the weak one."""
        found = [towers[f"{prefix} {place}"] for place in range(1 + self.config.n) if f"{prefix} {place}" in towers]
        return found if len(found) > 1 else found * (1 + self.config.n)

    def _global(self, modality: str, pooled: Tensor) -> Tensor:
        return F.normalize(self.projections[modality](pooled).float(), dim=1)

    def _local(self, modality: str, pooled: Tensor) -> Tensor:
        head = self.local_heads[modality] if self.local_heads else self.projections[modality]
        return F.normalize(head(pooled).float(), dim=1)


def added_loss(config: ImprovedVLPConfig, widths: Mapping[str, int]) -> CrossModalLoss | None:
    """The loss that an objective adds to the contrast, with its heads; None where it has none of its own."""
    if config.objective in ("clip", "rocket", "swalip"):
        return None
    hidden, dim = config.chosen("extra_width"), config.chosen("extra_dim")
    if config.objective == "slip":
        return ImageContrast(widths, hidden, dim, config.slip_temperature)
    if config.objective == "barlip":
        return CrossModalBarlow(widths, hidden, dim, config.redundancy, config.barlow_scale)
    if config.objective == "swalip_prototypes":
        sinkhorn = (config.sinkhorn_eps, config.sinkhorn_iters)
        temperature, frozen = config.prototype_temperature, config.freeze_prototypes
        return CrossModalSwap(widths, config.prototypes, hidden, dim, temperature, *sinkhorn, frozen)
    return CrossModalRegression(widths, hidden, dim, config.momentum if config.objective == "byolip" else None)
