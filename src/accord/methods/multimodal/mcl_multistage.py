"""MCL: Learning the Unlearned, Mitigating Feature Suppression in Contrastive Learning (Zhang et al., ECCV 2024).

A contrast stops at the easiest features that tell its negatives apart. So a base method is trained several times.
Before each further stage the rows are clustered by what the stage before has learnt, and in it the negatives of an
anchor come from its own cluster alone, where these features tell nothing apart: others have to be learnt. In the end
the vectors of all stages stand side by side, so that nothing that was learnt is lost.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from accord import config as settings
from accord.data.loading.samplers import ClusterBatchSampler, combine_labels
from accord.encoders.base import Encoder
from accord.errors import ConfigError
from accord.functional import mini_batch_kmeans, world_size
from accord.methods.base import Batch, DataInfo, Loader, Stage, Step
from accord.methods.multimodal.in_cluster import contrast_within, masks
from accord.methods.multimodal.members import Members, refuse_base
from accord.methods.programme import Clusters

_KMEANS_BATCH = 1_000_000  # rows of a round, as in the released recipe


class MclMultistageConfig(settings.Config):
    """Settings of :class:`MclMultistage`; defaults from the paper's CLIP recipe and its released code."""

    base: str = Field("clip", description="method that is trained in every stage, its views and loss unchanged")
    base_settings: dict[str, Any] = Field(default_factory=dict, description="its settings")
    stages_after: int = Field(2, ge=1, description="stages after the first; 3 of a vision transformer")
    first: bool = Field(True, description="train the first stage; false takes it as it is, from public weights")
    clusters: int = Field(10, ge=1, description="clusters K before a stage; stage s draws from up to K^s labels")
    init: Literal["pretrained", "previous", "scratch"] = Field(
        "pretrained",
        description="a stage starts from the weights that the first one started from, from those of the stage before, "
        "or from random ones",
    )
    integration: Literal["raw", "each"] | None = Field(
        None,
        description="vectors side by side as they are, so that long ones count more, or each of unit norm; None: as "
        "they are where the base has such",
    )
    restrict: Literal["batches", "masks"] = Field(
        "batches", description="a batch is of one cluster, or of any rows, of which those of others are no negatives"
    )
    small: Literal["merge", "drop"] | None = Field(
        None,
        description="clusters of fewer rows than a batch: several in one, where those of others are no negatives, or "
        "none; None: several in one, where the base allows it",
    )
    order: Literal["round_robin", "proportional"] = Field(
        "round_robin", description="a batch of each cluster in turn, or those of each spread evenly over the epoch"
    )

    @model_validator(mode="after")
    def _base_fits(self) -> Self:
        refuse_base(self.base, self.base_settings)
        return self


class MclMultistage(Members):
    """Any contrastive method, trained in stages whose negatives share what the stages before have learnt.

    The released clustering script restricts negatives by the last clustering alone; here rows share a label where all
    earlier clusterings put them together, as the paper says.

    Batch keys: those of the base, and ``index (B,)``.

    Example:
        >>> from accord.encoders import build_encoder
        >>> towers = {"image": build_encoder("image", {"name": "tiny_resnet", "width": 32})}
        >>> config = {"base": "multiview_infonce", "base_settings": {"objective": "nt_xent", "views": 2, "dim": 8}}
        >>> method = MclMultistage({**config, "clusters": 2}, towers, DataInfo(rows=4))
        >>> [stage.name for stage in method.stages]
        ['stage0', 'stage1', 'stage2']
        >>> batch = {"image_views": list(torch.randn(2, 4, 3, 32, 32)), "index": torch.arange(4)}
        >>> sorted(method.loss(batch, Step("stage1", watched=False)))
        ['contrastive', 'total']
    """

    name: ClassVar[str] = "mcl_multistage"
    Config: ClassVar[type[settings.Config]] = MclMultistageConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"}), "text": frozenset({"pooled"})}
    training_only: ClassVar[tuple[str, ...]] = ("found", "labels", "agreement")
    config: MclMultistageConfig
    found: Tensor
    labels: Tensor
    agreement: Tensor

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        after = self.Config.parse(config).stages_after  # type: ignore[attr-defined]
        super().__init__(config, encoders, data, count=1 + after)
        cfg, rows = self.config, max(data.rows, 1)
        if (cfg.small == "merge" or cfg.restrict == "masks") and not masks(self.each[0]):
            setting = "restrict = masks" if cfg.restrict == "masks" else "small = merge"
            raise ConfigError(
                f"method.{setting}: {cfg.base} compares whole batches, so that rows of other clusters cannot be left "
                "out: set restrict=batches and small=drop, or take clip, or multiview_infonce with objective=nt_xent"
            )
        self.register_buffer("found", torch.zeros(after, rows, dtype=torch.int64))  # the clusters before each stage
        self.register_buffer("labels", torch.zeros(rows, dtype=torch.int64))  # all of them so far as one
        self.register_buffer("agreement", torch.zeros(after))  # of clusters and classes
        self._told: dict[tuple[int, int], tuple[int, float]] = {}

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Those of all members, without the first where it is taken as it is."""
        numbers = [number for number, _ in self._programme().values()]
        return tuple(
            stage for number, stage in zip(numbers, super().stages, strict=True) if number or self.config.first
        )

    @torch.no_grad()
    def before_stage(self, stage: Stage, loader: Loader) -> None:
        """Cluster all rows by the stage before."""
        number, _ = self._programme()[stage.name]
        if number > int(self.place):
            if self.config.init == "previous":
                self.start_as(number, number - 1)
            features, classes = self._look(number - 1, loader)
            self.found[number - 1] = self.cluster(features)
            self.labels.copy_(combine_labels(list(self.found[:number]), self.config.clusters))
            if classes is not None:
                self.agreement[number - 1] = _agreement(self.found[number - 1], classes)
        super().before_stage(stage, loader)

    def _look(self, number: int, loader: Loader) -> tuple[Tensor, Tensor | None]:
        """Unit vectors ``(N, D)`` by a member of all pictures, or of its first medium, and classes where known."""
        able = self._able[number]
        medium = "image" if "image" in able.embeds else able.embeds[0]
        vectors, classes = [], []
        for batch in loader:
            vectors.append(able.embed(batch)[medium])
            if "label" in batch and batch["label"].ndim == 1:
                classes.append(batch["label"])
        return torch.cat(vectors), torch.cat(classes) if classes else None

    def cluster(self, features: Tensor) -> Tensor:
        """Cluster ``(N,)`` of unit vectors ``(N, D)`` by mini-batch k-means."""
        wanted = self.config.clusters
        if wanted > len(features):
            raise ConfigError(f"method.clusters = {wanted}: expected at most {len(features)}, the rows to cluster")
        seed = int(torch.randint(2**31, ()))
        return mini_batch_kmeans(features, wanted, batch_size=_KMEANS_BATCH, seed=seed)[0]

    @property
    def _small(self) -> Literal["merge", "drop"]:
        return self.config.small or ("merge" if masks(self.each[0]) else "drop")

    @property
    def sampling(self) -> Clusters | None:
        """Batches of one cluster, as soon as there are clusters."""
        if not int(self.place) or self.config.restrict == "masks":
            return None
        return Clusters(self.labels.cpu(), self.config.order, self._small)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """The base's loss; where a batch may hold several clusters, without negatives of others."""
        number, member, own = self.told(step)
        if not number:
            return member.loss(batch, own)
        several = self.config.restrict == "masks" or self._small == "merge"
        terms = contrast_within(member, batch, self.labels[batch["index"]]) if several else member.loss(batch, own)
        if step.watched:
            terms |= self._watched(number, len(batch["index"]) * world_size())
        return terms

    def _watched(self, number: int, rows: int) -> dict[str, Tensor]:
        """The number of labels, the share of rows that no batch of a round holds, and whether labels are classes."""
        if (number, rows) not in self._told:
            labels, lost = self.labels.cpu(), 0
            if self.config.restrict == "batches":
                lost = ClusterBatchSampler(labels, rows, 0, small=self._small).left_out
            self._told = {(number, rows): (len(labels.unique()), lost / len(labels))}
        count, share = self._told[number, rows]
        terms = {"clusters": self.agreement.new_tensor(float(count)), "left_out": self.agreement.new_tensor(share)}
        if self.data.classes and not self.data.multi_label:
            terms["clusters_are_classes"] = self.agreement[number - 1].clone()
        return terms


def _agreement(clusters: Tensor, classes: Tensor) -> Tensor:
    """Normalised mutual information of the clusters and classes of the rows that have a class."""
    from torchmetrics.functional.clustering import normalized_mutual_info_score

    known = classes >= 0
    if not known.any():
        return torch.zeros(())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse invariant checks")
        return normalized_mutual_info_score(clusters[known], classes[known])
