"""SwAV: Unsupervised Learning of Visual Features by Contrasting Cluster Assignments (Caron et al., NeurIPS 2020).

The large crops of a batch are assigned to prototypes so that all prototypes get the same share (Sinkhorn-Knopp, without
gradient), and every other crop of the same picture predicts that assignment. No pairs are compared, so small batches
do; a queue of earlier features helps the smallest to fill the prototypes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.views import View
from accord.encoders.base import Encoder
from accord.encoders.heads import MLPHead
from accord.encoders.multires import pooled_views
from accord.functional import effective_rank, rank, swapped_prediction_loss, world_size
from accord.methods.abilities import Embeds
from accord.methods.base import Batch, DataInfo, Method, Step
from accord.state import FeatureQueue, Prototypes

SMALL = 96 / 224  # side of a small crop over that of a large one, in the paper


class SwavConfig(settings.Config):
    """Settings of :class:`Swav`; defaults from the paper's large-batch recipe and its released code.

    On small data take about ten prototypes per class you expect and no more than the rows of a batch and its queue.
    """

    dim: int = Field(128, ge=1, description="size of the embedding that prototypes are compared with")
    hidden: int = Field(2048, ge=1, description="width of the projection head's hidden layer")
    prototypes: int = Field(3000, ge=2, description="number of prototypes K")
    temperature: float = Field(0.1, gt=0, description="softmax temperature of the predictions")
    sinkhorn_eps: float = Field(0.05, gt=0, description="entropic regularisation; 0.03 where training stays at log K")
    sinkhorn_iters: int = Field(3, ge=1, description="Sinkhorn rounds")
    freeze_prototypes: int = Field(
        313, ge=0, description="first steps in which prototypes stay (an epoch in the paper)"
    )
    large_crops: int = Field(2, ge=1, description="crops that are assigned")
    large_scale: tuple[float, float] = Field((0.14, 1.0), description="their area range; (0.08, 1) without small crops")
    small_crops: int = Field(6, ge=0, description="further crops, which only predict")
    small_scale: tuple[float, float] = Field((0.05, 0.14), description="their area range")
    small_size: int | None = Field(
        None, ge=8, description="their side in pixels; None for 3/7 of the encoder's, at least 32"
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring a crop")
    colour: bool = Field(True, description="colour jitter, greyscale and blur")
    queue: int = Field(0, ge=0, description="earlier features of each large crop that join the assignment; 0 for none")
    queue_starts: int = Field(15, ge=0, description="epoch in which the queue begins to fill")

    @model_validator(mode="after")
    def _something_to_predict(self) -> Self:
        if self.large_crops + self.small_crops < 2:
            raise ValueError("large_crops + small_crops = 1: a crop is predicted from others, so there should be 2")
        return self


class Swav(Method, Embeds):
    """SwAV over any image encoder.

    Batch keys: ``image_views``, the large crops and then the small ones.

    Example:
        >>> from accord.encoders import build_encoder
        >>> towers = {"image": build_encoder("image", {"name": "tiny_resnet", "width": 32})}
        >>> swav = Swav({"dim": 16, "hidden": 32, "prototypes": 8, "small_crops": 1}, towers, DataInfo())
        >>> views = [torch.randn(4, 3, 64, 64), torch.randn(4, 3, 64, 64), torch.randn(4, 3, 32, 32)]
        >>> sorted(swav.loss({"image_views": views}, Step()))
        ['effective_rank', 'prototypes_used', 'swapped', 'total']
        >>> swav.eval().embed({"image": views[0]})["image"].shape
        torch.Size([4, 32])
        >>> swav.assign({"image": views[0]}).shape
        torch.Size([4])
    """

    name: ClassVar[str] = "swav"
    Config: ClassVar[type[settings.Config]] = SwavConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"})}
    training_only: ClassVar[tuple[str, ...]] = ("queues.",)
    config: SwavConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg = self.config
        self.head = MLPHead(encoders["image"].dim, cfg.dim, cfg.hidden)
        self.prototypes = Prototypes(cfg.dim, cfg.prototypes)
        self.prototypes.freeze(cfg.freeze_prototypes)
        sizes = [cfg.queue] * cfg.large_crops if cfg.queue else []
        self.queues = nn.ModuleList(FeatureQueue(size, cfg.dim, start="zeros") for size in sizes)

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """A small network to train: a frozen one would learn nothing."""
        return {"image": {"name": "tiny_resnet"}}

    @property
    def views(self) -> tuple[View, ...]:
        """Multi-crop."""
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

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One iteration of the paper's algorithm: normalise, score, assign the large crops, predict."""
        cfg, views = self.config, batch["image_views"]
        self.prototypes.normalize_()
        z = F.normalize(self.head(pooled_views(self.encoders["image"], views)).float(), dim=1)  # (V·B, D)
        scores = self.prototypes(z).chunk(len(views))  # V times (B, K)
        total = swapped_prediction_loss(
            scores,
            range(cfg.large_crops),
            cfg.temperature,
            cfg.sinkhorn_eps,
            cfg.sinkhorn_iters,
            self._queue_scores(),
        )
        large = z.detach().chunk(len(views))[: cfg.large_crops]
        if self.training and step.epoch >= cfg.queue_starts:
            for queue, features in zip(self._queues, large, strict=False):
                queue.enqueue(features)
        used = torch.cat(scores[: cfg.large_crops]).argmax(dim=1).unique().numel()
        return {
            "total": total,
            "swapped": total.detach(),
            "prototypes_used": total.new_tensor(used / cfg.prototypes),
            "effective_rank": effective_rank(large[0]),
        }

    def after_backward(self, step: Step) -> None:
        """Hold the prototypes still at first."""
        self.prototypes.after_backward(step.index)

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The encoder's own vector, unit norm: head and prototypes only serve training."""
        return {"image": F.normalize(self.encoders["image"](batch["image"]).pooled.float(), dim=1)}

    @torch.no_grad()
    def assign(self, batch: Batch) -> Tensor:
        """Nearest prototype ``(B,)`` of each image: SwAV as a clustering."""
        z = F.normalize(self.head(self.encoders["image"](batch["image"]).pooled).float(), dim=1)
        return self.prototypes(z).argmax(dim=1)

    @torch.no_grad()
    def _queue_scores(self) -> list[Tensor] | None:
        """Scores of the full queues as they are before this batch; each process brings its share of the rows."""
        if not self._queues or not all(queue.is_full for queue in self._queues):
            return None
        return [self.prototypes(queue.features[rank() :: world_size()]) for queue in self._queues]

    @property
    def _queues(self) -> list[FeatureQueue]:
        return list(self.queues)  # type: ignore[arg-type]
