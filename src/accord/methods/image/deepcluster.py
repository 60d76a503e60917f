"""DeepCluster-v2: k-means once an epoch instead of SwAV's online assignment (Caron et al. 2020, NeurIPS, section 4).

The projections of each large crop are kept for the whole data set. Before every epoch they are clustered, once for
each of several heads, and in the epoch all crops of a picture are classified among the centroids, which no gradient
moves. It shares everything with SwAV but where the targets come from, and is the yardstick for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.encoders.base import Encoder
from accord.errors import ConfigError
from accord.functional import effective_rank, gather_features, kmeans
from accord.methods.base import Batch, DataInfo, Loader, Step
from accord.methods.image.multicrop import MultiCrop, MultiCropConfig, share_used
from accord.state import FeatureBank

NOWHERE = -1  # the cluster of a row that was in no batch yet


class DeepClusterV2Config(MultiCropConfig):
    """Settings of :class:`DeepClusterV2`; defaults from the released code.

    On small data take about ten prototypes per class you expect.
    """

    prototypes: int = Field(3000, ge=2, description="number of clusters K of each head")
    heads: int = Field(3, ge=1, description="clusterings, which take turns in whose crop's projections they cluster")
    kmeans_iters: int = Field(10, ge=1, description="rounds of k-means before every epoch")


class DeepClusterV2(MultiCrop):
    """DeepCluster-v2 over any image encoder.

    A cluster that loses all members starts again at rows far from their centroids, where the released code lets it keep
    its centroid. Rows that were in no batch yet have no target.

    Batch keys: ``image_views``, the large crops and then the small ones, and ``index (B,)``.

    Example:
        >>> from accord.encoders import build_encoder
        >>> towers = {"image": build_encoder("image", {"name": "tiny_resnet", "width": 32})}
        >>> settings = {"dim": 16, "hidden": 32, "prototypes": 3, "heads": 1, "small_crops": 1}
        >>> method = DeepClusterV2(settings, towers, DataInfo(rows=4))
        >>> views = [torch.randn(4, 3, 64, 64), torch.randn(4, 3, 64, 64), torch.randn(4, 3, 32, 32)]
        >>> batch = {"image_views": views, "index": torch.arange(4)}
        >>> _ = method.loss(batch, Step())  # fills the memory
        >>> method.cluster()
        >>> sorted(method.loss(batch, Step()))
        ['clusters', 'effective_rank', 'prototypes_used', 'total']
        >>> method.eval().assign({"image": views[0]}).shape
        torch.Size([4])
    """

    name: ClassVar[str] = "deepcluster_v2"
    Config: ClassVar[type[settings.Config]] = DeepClusterV2Config
    training_only: ClassVar[tuple[str, ...]] = ("banks.", "labels")
    config: DeepClusterV2Config
    centroids: Tensor
    labels: Tensor

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg, rows = self.config, max(data.rows, 1)
        if data.rows:
            self._check_rows(data.rows)
        self.banks = nn.ModuleList(FeatureBank(rows, cfg.dim) for _ in range(cfg.large_crops))
        self.register_buffer("centroids", torch.zeros(cfg.heads, cfg.prototypes, cfg.dim))
        self.register_buffer("labels", torch.full((cfg.heads, rows), NOWHERE))

    @torch.no_grad()
    def before_epoch(self, step: Step, loader: Loader) -> None:
        """Cluster what the last epoch left in memory; before the first one, what the crops to come give."""
        if step.epoch == 0:
            self.train()  # as the released code does: the norms of a new network know no statistics yet
            for batch in loader.episode():
                large = batch["image_views"][: self.config.large_crops]
                self._remember(batch["index"], self.projected(large))
        self.cluster()

    @torch.no_grad()
    def cluster(self) -> None:
        """Cluster the memory once for each head; the centroids become its prototypes."""
        for head in range(self.config.heads):
            bank: FeatureBank = self.banks[head % len(self.banks)]  # type: ignore[assignment]
            rows = bank.seen.nonzero().squeeze(1)
            self._check_rows(len(rows))
            labels, self.centroids[head], _ = kmeans(
                bank.features[rows],
                self.config.prototypes,
                n_iter=self.config.kmeans_iters,
                spherical=True,
                seed=int(torch.randint(2**31, ())),
                start="random",
            )
            self.labels[head] = NOWHERE
            self.labels[head, rows] = labels

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Classify every crop among the centroids of each head; mean over heads."""
        cfg, views = self.config, batch["image_views"]
        z = self.projected(views)  # (V·B, D)
        scores = torch.einsum("nd,hkd->hnk", z, self.centroids)  # (H, V·B, K)
        wanted = self.labels[:, batch["index"]].repeat(1, len(views))  # (H, V·B)
        terms = F.cross_entropy(
            (scores / cfg.temperature).flatten(0, 1), wanted.flatten(), ignore_index=NOWHERE, reduction="sum"
        )
        total = terms / (wanted != NOWHERE).sum().clamp(min=1)
        large = z.detach().chunk(len(views))[: cfg.large_crops]
        if self.training:
            self._remember(batch["index"], torch.cat(large))
        found = {"total": total, "clusters": total.detach()}
        if step.watched:
            found["prototypes_used"] = share_used(scores[0, : len(large) * len(views[0])])
            found["effective_rank"] = effective_rank(gather_features(large[0], with_grad=False))
        return found

    @torch.no_grad()
    def assign(self, batch: Batch) -> Tensor:
        """Nearest centroid of the first head ``(B,)`` of each image: the method as a clustering."""
        return (self.projected([batch["image"]]) @ self.centroids[0].T).argmax(dim=1)

    def _remember(self, index: Tensor, z: Tensor) -> None:
        """Write the large crops' projections ``(A·B, D)`` of the rows ``index (B,)`` into their banks."""
        for bank, own in zip(self.banks, z.chunk(len(self.banks)), strict=True):
            bank.update(index, own)  # type: ignore[operator]

    def _check_rows(self, rows: int) -> None:
        if self.config.prototypes > rows:
            raise ConfigError(
                f"method.prototypes = {self.config.prototypes}: expected at most {rows}, the rows to cluster"
            )
