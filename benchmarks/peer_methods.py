"""Methods put together from other libraries' parts, as those libraries' own examples do, for comparison with ours.

Each is written as a method of Accord, so that the loop, the optimiser and the evaluation around it are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from itertools import combinations
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss, SwaVLoss
from lightly.models.modules import DenseCLProjectionHead, SwaVProjectionHead, SwaVPrototypes
from lightly.models.utils import deactivate_requires_grad, select_most_similar, update_momentum
from lightly.utils.scheduler import cosine_schedule
from open_clip.loss import ClipLoss
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.data.loading.features import Features, Stream
from accord.encoders.base import Encoder
from accord.methods.base import Batch, DataInfo, Method, Step
from accord.methods.image.swav import SwavConfig


class AsItIs(Encoder):
    """The network inside one of Accord's image encoders, called as timm's users call it.

    Args:
        encoder: whose network it is.
    """

    modality = "image"
    gives = frozenset({"pooled", "tokens", "patches"})

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.model, self.input, self.dim = encoder.model, encoder.input, encoder.dim

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Vector and cells of images ``(B, 3, H, W)``."""
        last = self.model.forward_features(x)  # (B, C, h, w)
        return Features(self.model.forward_head(last, pre_logits=True), streams={"patches": Stream.of_map(last)})


class Pictures(Method):
    """What the peers on pictures share: the embedding is the encoder's own vector."""

    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"})}

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The encoder's vector, unit norm."""
        return {"image": F.normalize(self.encoders["image"](batch["image"]).pooled, dim=1)}


class LightlySwav(Pictures):
    """SwAV of lightly: its head, prototypes and loss, and a forward pass for each crop."""

    name: ClassVar[str] = "lightly SwAV"
    Config: ClassVar[type[settings.Config]] = SwavConfig
    config: SwavConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg = self.config
        self.head = SwaVProjectionHead(encoders["image"].dim, cfg.hidden, cfg.dim)
        self.prototypes = SwaVPrototypes(cfg.dim, cfg.prototypes, cfg.freeze_prototypes)
        self.criterion = SwaVLoss(cfg.temperature, cfg.sinkhorn_iters, cfg.sinkhorn_eps)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Normalise the prototypes, score every crop, predict."""
        self.prototypes.normalize()
        scores = [self._scores(crop, step) for crop in batch["image_views"]]
        large = self.config.large_crops
        return {"total": self.criterion(scores[:large], scores[large:]).squeeze()}

    def _scores(self, crop: Tensor, step: Step) -> Tensor:
        z = F.normalize(self.head(self.encoders["image"](crop).pooled), dim=1)
        return self.prototypes(z, step.index)


class DenseClConfig(settings.Config):
    """Settings of :class:`LightlyDenseCl`; defaults from lightly's example."""

    dim: int = Field(128, ge=1, description="size of the projections")
    hidden: int = Field(512, ge=1, description="width of the heads' hidden layer")
    bank: int = Field(4096, ge=1, description="keys that each loss remembers")
    temperature: float = Field(0.5, gt=0, description="softmax temperature")
    momentum: float = Field(0.996, ge=0, le=1, description="of the slow copies at the start; it rises to 1")
    symmetric: bool = Field(False, description="each view is query and key in turn, as in our methods")


class LightlyDenseCl(Pictures):
    """DenseCL of lightly: contrast of whole views and of cells matched by their features, against banks of keys."""

    name: ClassVar[str] = "lightly DenseCL"
    Config: ClassVar[type[settings.Config]] = DenseClConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled", "tokens"})}
    config: DenseClConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg, width = self.config, encoders["image"].dim
        heads = {part: DenseCLProjectionHead(width, cfg.hidden, cfg.dim) for part in ("global", "local")}
        self.heads = nn.ModuleDict(heads)
        self.slow = deepcopy(nn.ModuleDict({"image": encoders["image"], **heads}))
        deactivate_requires_grad(self.slow)
        self.criteria = nn.ModuleDict({part: NTXentLoss(cfg.temperature, (cfg.bank, cfg.dim)) for part in heads})

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """The mean of both contrasts."""
        one, other = batch["image_views"]
        turns = [(one, other), (other, one)] if self.config.symmetric else [(one, other)]
        return {"total": torch.stack([self._contrast(query, key) for query, key in turns]).mean()}

    def after_step(self, step: Step) -> None:
        """Move the slow copies."""
        momentum = cosine_schedule(step.epoch, step.epochs, self.config.momentum, 1.0)
        for name, part in self._online().items():
            update_momentum(part, self.slow[name], m=momentum)

    def _contrast(self, query: Tensor, key: Tensor) -> Tensor:
        cells, whole, local = _projected(self._online(), query)
        with torch.no_grad():
            key_cells, key_whole, key_local = _projected(self.slow, key)
            matched = select_most_similar(cells, key_cells, key_local)
        dense = self.criteria["local"](local.flatten(end_dim=1), matched.flatten(end_dim=1))
        return (self.criteria["global"](whole, key_whole) + dense) / 2

    def _online(self) -> dict[str, nn.Module]:
        return {"image": self.encoders["image"], **self.heads}


def _projected(parts: Any, crop: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cells ``(B, N, C)``, and the projections of the whole ``(B, D)`` and of the cells ``(B, N, D)``."""
    found = parts["image"](crop)
    return found.tokens, parts["global"](found.pooled), parts["local"](found.tokens)


class PairwiseConfig(settings.Config):
    """Settings of :class:`PairwiseClip`."""

    modalities: tuple[str, ...] = Field(("text", "image", "audio"), min_length=2, description="what is compared")
    dim: int = Field(512, ge=1, description="size of the shared space")


class PairwiseClip(Method):
    """More than two modalities with open_clip: the sum of its loss over all pairs, one logit scale for all."""

    name: ClassVar[str] = "pairwise CLIP"
    Config: ClassVar[type[settings.Config]] = PairwiseConfig
    needs: Mapping[str, frozenset[str]] = {}
    config: PairwiseConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        dim = self.config.dim
        self.projections = nn.ModuleDict(
            {name: nn.Linear(encoders[name].dim, dim, bias=False) for name in self.config.modalities}
        )
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.criterion = ClipLoss()

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """A vector of each modality."""
        return {name: frozenset({"pooled"}) for name in config.modalities}

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """The sum over the pairs."""
        z, scale = self.embed(batch), self.logit_scale.exp()
        losses = [self.criterion(z[one], z[other], scale) for one, other in combinations(self.config.modalities, 2)]
        return {"total": torch.stack(losses).sum()}

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        """Clamp the scale as open_clip's training does."""
        self.logit_scale.clamp_(0, math.log(100))

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Unit-norm embeddings of the modalities in the batch."""
        found = {name: self.encoders[name](batch[name]).pooled for name in self.config.modalities if name in batch}
        return {name: F.normalize(self.projections[name](pooled), dim=1) for name, pooled in found.items()}
