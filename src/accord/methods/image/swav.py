"""SwAV: Unsupervised Learning of Visual Features by Contrasting Cluster Assignments (Caron et al., NeurIPS 2020).

The large crops of a batch are assigned to prototypes so that all prototypes get the same share (Sinkhorn-Knopp, without
gradient), and every other crop of the same picture predicts that assignment. No pairs are compared, so small batches
do; a queue of earlier features helps the smallest to fill the prototypes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.encoders.base import Encoder
from accord.functional import (
    assigned_prediction_loss,
    column_marginal_error,
    effective_rank,
    gather_features,
    rank,
    sinkhorn,
    world_size,
)
from accord.methods.base import Batch, DataInfo, Step
from accord.methods.image.multicrop import MultiCrop, MultiCropConfig, share_used
from accord.state import FeatureQueue, Prototypes

_log = logging.getLogger("accord.methods")


class SwavConfig(MultiCropConfig):
    """Settings of :class:`Swav`; defaults from the paper's large-batch recipe and its released code.

    On small data take about ten prototypes per class you expect and no more than the rows of a batch and its queue.
    """

    prototypes: int = Field(3000, ge=2, description="number of prototypes K")
    sinkhorn_eps: float = Field(0.05, gt=0, description="entropic regularisation; 0.03 where training stays at log K")
    sinkhorn_iters: int = Field(3, ge=1, description="Sinkhorn rounds")
    freeze_prototypes: int | None = Field(
        None,
        ge=0,
        description="first steps in which prototypes stay; None for the first epoch of several, as in the paper",
    )
    queue: int = Field(0, ge=0, description="earlier features of each large crop that join the assignment; 0 for none")
    queue_starts: int = Field(15, ge=0, description="epoch in which the queue begins to fill")


class Swav(MultiCrop):
    """SwAV over any image encoder.

    Batch keys: ``image_views``, the large crops and then the small ones.

    Example:
        >>> from accord.encoders import build_encoder
        >>> towers = {"image": build_encoder("image", {"name": "tiny_resnet", "width": 32})}
        >>> swav = Swav({"dim": 16, "hidden": 32, "prototypes": 8, "small_crops": 1}, towers, DataInfo())
        >>> views = [torch.randn(4, 3, 64, 64), torch.randn(4, 3, 64, 64), torch.randn(4, 3, 32, 32)]
        >>> sorted(swav.loss({"image_views": views}, Step()))
        ['effective_rank', 'marginal_error', 'prototypes_used', 'swapped', 'total']
        >>> swav.eval().embed({"image": views[0]})["image"].shape
        torch.Size([4, 32])
        >>> swav.assign({"image": views[0]}).shape
        torch.Size([4])
    """

    name: ClassVar[str] = "swav"
    Config: ClassVar[type[settings.Config]] = SwavConfig
    training_only: ClassVar[tuple[str, ...]] = ("queues.",)
    config: SwavConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg = self.config
        self.prototypes = Prototypes(cfg.dim, cfg.prototypes)
        self._warned = False
        sizes = [cfg.queue] * cfg.large_crops if cfg.queue else []
        self.queues = nn.ModuleList(FeatureQueue(size, cfg.dim, start="zeros") for size in sizes)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One iteration of the paper's algorithm: normalise, score, assign the large crops, predict."""
        cfg, views = self.config, batch["image_views"]
        self._warn_of_few_rows(len(views[0]))
        self.prototypes.normalize_()
        z = self.projected(views)  # (V·B, D)
        scores = self.prototypes(z).chunk(len(views))  # V times (B, K)
        shares = self._assigned(scores[: cfg.large_crops])
        wanted = {view: share[: len(scores[0])] for view, share in enumerate(shares)}
        total = assigned_prediction_loss(scores, wanted, cfg.temperature)
        large = z.detach().chunk(len(views))[: cfg.large_crops]
        if self.training and step.epoch >= cfg.queue_starts:
            for queue, features in zip(self._queues, large, strict=False):
                queue.enqueue(features)
        terms = {"total": total, "swapped": total.detach()}
        if step.watched:
            terms["marginal_error"] = torch.stack([column_marginal_error(share) for share in shares]).mean()
            terms["prototypes_used"] = share_used(torch.cat(scores[: cfg.large_crops]))
            terms["effective_rank"] = effective_rank(gather_features(large[0], with_grad=False))
        return terms

    def after_backward(self, step: Step) -> None:
        """Hold the prototypes still at first."""
        first = step.total // step.epochs if step.epochs > 1 else 0
        self.prototypes.freeze(first if self.config.freeze_prototypes is None else self.config.freeze_prototypes)
        self.prototypes.after_backward(step.index)

    @torch.no_grad()
    def assign(self, batch: Batch) -> Tensor:
        """Nearest prototype ``(B,)`` of each image: SwAV as a clustering."""
        return self.prototypes(self.projected([batch["image"]])).argmax(dim=1)

    @torch.no_grad()
    def _assigned(self, scores: Sequence[Tensor]) -> list[Tensor]:
        """Each large crop's equal partition ``(B + m, K)``: its own rows, then the m of its queue."""
        queued = self._queue_scores()
        rows = scores if queued is None else [torch.cat(pair) for pair in zip(scores, queued, strict=True)]
        return [sinkhorn(each, self.config.sinkhorn_eps, self.config.sinkhorn_iters) for each in rows]

    @torch.no_grad()
    def _queue_scores(self) -> list[Tensor] | None:
        """Scores of the full queues as they are before this batch; each process brings its share of the rows."""
        if not self._queues or not all(queue.is_full for queue in self._queues):
            return None
        return [self.prototypes(queue.features[rank() :: world_size()]) for queue in self._queues]

    @property
    def _queues(self) -> list[FeatureQueue]:
        return list(self.queues)  # type: ignore[arg-type]

    def _warn_of_few_rows(self, batch: int) -> None:
        """Once a run: equal shares of fewer rows than prototypes are fractions of a row."""
        cfg, rows = self.config, batch * world_size()
        if self.training and not self._warned and rank() == 0 and rows + cfg.queue < cfg.prototypes:
            _log.warning(
                "method.prototypes = %d, and a batch and its queue have %d + %d rows, so that each gets less than one: "
                "take fewer prototypes, a larger batch or a longer queue (method.queue)",
                *(cfg.prototypes, rows, cfg.queue),
            )
        self._warned = True
