"""GPC: Learning Semi-supervised Gaussian Mixture Models for Generalized Category Discovery (Zhao et al., ICCV 2023).

Some pictures have labels of old classes; the others are of old classes or of new ones, and nobody knows how many there
are. Before every epoch the features of all rows are clustered and the clusters split and merged by their marginal
likelihood, which also says how many there are; in the epoch the features are drawn towards their cluster's prototype,
beside contrast of views and of labels. The number of clusters is carried from epoch to epoch, where the released code
starts each from the true number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.views import View
from accord.data.loading.batches import to_device
from accord.data.loading.order import Weighted
from accord.encoders.base import Encoder
from accord.encoders.heads import DINOHead
from accord.encoders.multires import pooled_views
from accord.errors import ConfigError
from accord.functional import (
    Discovered,
    class_means,
    discover_classes,
    gather_features,
    nt_xent,
    proto_nce,
    prototype_density,
    supcon,
)
from accord.methods.abilities import DiscoversClasses, Discovery, Embeds
from accord.methods.base import Batch, DataInfo, Loader, Method, Sampling, Step

NONE = -1  # the label of a row without one


class GpcGcdConfig(settings.Config):
    """Settings of :class:`GpcGcd`; defaults from the released code.

    ``start_classes``, ``components`` and ``spread`` decide how many classes are found: a doubtful number is checked by
    other values of them.
    """

    supervised: float = Field(0.35, ge=0, le=1, description="λ: weight of the labels' contrast against that of views")
    prototype_weight: float = Field(1.0, ge=0, description="weight of the contrast with prototypes")
    temperature: float = Field(1.0, gt=0, description="divides the cosines of views; 0.07 to 1 are in use")
    label_temperature: float = Field(0.07, gt=0, description="divides the cosines of rows of one label")
    prototype_temperature: float = Field(
        1.0, gt=0, description="mean temperature of the prototypes; at 1 they pull softly, PCL takes 0.1 to 0.2"
    )
    start_classes: int | None = Field(
        None, ge=1, description="clusters at first, labelled classes included; None for twice these, at least 2"
    )
    warmup_epochs: int = Field(1, ge=0, description="epochs without prototypes")
    components: int | None = Field(
        32, ge=1, description="principal components that rows are clustered in; None for all, as in the released code"
    )
    spread: float | None = Field(
        None, gt=0, description="expected scatter in a class (0.005 in the released code); None for that of the labels"
    )
    acceptance: Literal["mh", "deterministic"] = Field(
        "mh", description="moves that lower the likelihood: by a Metropolis-Hastings test, or never"
    )
    sweeps: int = Field(1, ge=1, description="sweeps of splits and merges before an epoch, each after k-means")
    restarts: int = Field(10, ge=1, description="random starts of every k-means")
    adapter: bool = Field(
        False, description="a linear map after the encoder, at first the identity: what a frozen encoder lacks to learn"
    )
    dim: int = Field(128, ge=1, description="width of the projection")
    hidden: int = Field(2048, ge=1, description="width of the projection head's hidden layers")
    bottleneck: int = Field(256, ge=1, description="width of its last hidden vector")
    crop_scale: tuple[float, float] = Field((0.5, 1.0), description="area range of the crops")
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring a crop")
    colour: bool = Field(True, description="colour jitter")


class GpcGcd(Method, Embeds, DiscoversClasses):
    """GPC over any image encoder.

    Batch keys: ``image_views``, two of them, ``index (B,)`` and, where there are labels, ``label (B,)``, -1 for none;
    for the hook ``image``, ``index`` and ``label``.

    Example:
        >>> from accord.encoders import build_encoder
        >>> towers = {"image": build_encoder("image", {"name": "tiny_resnet", "width": 32})}
        >>> data = DataInfo(rows=4, classes=("cat",), label_counts=(2,))
        >>> gpc = GpcGcd({"dim": 8, "hidden": 16, "bottleneck": 8}, towers, data)
        >>> batch = {"image_views": list(torch.randn(2, 4, 3, 32, 32)), "index": torch.arange(4)}
        >>> batch["label"] = torch.tensor([0, 0, -1, -1])
        >>> sorted(gpc.loss(batch, Step()))
        ['labels', 'total', 'views']
        >>> sorted(gpc.loss(batch, Step(epoch=1)))
        ['classes', 'labels', 'prototypes', 'total', 'views']
        >>> gpc.eval().embed({"image": torch.randn(2, 3, 32, 32)})["image"].shape
        torch.Size([2, 32])
    """

    name: ClassVar[str] = "gpc_gcd"
    Config: ClassVar[type[settings.Config]] = GpcGcdConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"})}
    training_only: ClassVar[tuple[str, ...]] = ("assigned",)
    resizable: ClassVar[tuple[str, ...]] = ("prototypes", "phi")
    config: GpcGcdConfig
    prototypes: Tensor
    phi: Tensor
    assigned: Tensor

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg, width, rows = self.config, encoders["image"].dim, max(data.rows, 1)
        if data.multi_label:
            raise ConfigError(f"method {self.name} needs one label a row, or none: these rows may have several")
        known = sum(count > 0 for count in data.label_counts)
        start = max(2 * known, 2) if cfg.start_classes is None else cfg.start_classes
        if start < known:
            raise ConfigError(f"method.start_classes = {start}: expected at least {known}, the labelled classes")
        self.adapter = nn.Linear(width, width) if cfg.adapter else nn.Identity()
        if isinstance(self.adapter, nn.Linear):
            nn.init.eye_(self.adapter.weight)
            nn.init.zeros_(self.adapter.bias)
        self.head = DINOHead(width, cfg.dim, cfg.hidden, cfg.bottleneck)
        # As many prototypes as there are thought to be classes: what the next clustering starts from
        self.register_buffer("prototypes", torch.zeros(start, width))
        self.register_buffer("phi", torch.full((start,), cfg.prototype_temperature))
        self.register_buffer("assigned", torch.zeros(rows, dtype=torch.long))

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """A small network to train, unless an adapter learns."""
        return {} if config.adapter else {"image": {"name": "tiny_resnet"}}

    @property
    def views(self) -> tuple[View, ...]:
        """Two equal augmentations, drawn independently."""
        cfg = self.config
        colours: dict[str, Any] = {"jitter": (0.4, 0.4, 0.4, 0.1), "jitter_p": 0.8} if cfg.colour else {}
        return (View(scale=cfg.crop_scale, flip=cfg.flip, count=2, **colours),)

    @property
    def sampling(self) -> Sampling:
        """Rows with and without label equally often."""
        return Weighted(by="labelled")

    # ---- before an epoch: clusters of all rows ---------------------------------------------------------------------

    def before_epoch(self, step: Step, loader: Loader) -> None:
        """After the warm-up: cluster the features, split and merge, and take the means for prototypes."""
        if step.epoch >= self.config.warmup_epochs:
            features, labels = self._all_rows(loader)
            self.renew(features, labels, step)

    @torch.no_grad()
    def renew(self, features: Tensor, labels: Tensor, step: Step) -> None:
        """New prototypes, temperatures and clusters from unit-norm features ``(N, D)`` and labels ``(N,)``."""
        cfg, start = self.config, _within(len(self.prototypes), labels)
        found = self._discovered(features, labels, start, cfg.sweeps, cfg.acceptance, seed=step.seed + step.epoch)
        # the last digits of a device must not put a row into different clusters in different processes
        assigned = gather_features(found.assigned, with_grad=False)[: len(labels)]
        classes = int(assigned.max()) + 1
        centres = gather_features(class_means(features, assigned, classes)[0], with_grad=False)[:classes]
        phi = prototype_density(features, centres, assigned, cfg.prototype_temperature)
        for name in self.resizable:
            self.resize(name, torch.full((classes,), -1))
        self.prototypes.copy_(F.normalize(centres, dim=1))
        self.phi.copy_(gather_features(phi, with_grad=False)[:classes])
        self.assigned.copy_(assigned)

    @torch.no_grad()
    def _all_rows(self, loader: Loader) -> tuple[Tensor, Tensor]:
        """Features and labels of every training row, by its index."""
        training = self.training
        self.eval()
        width = self.prototypes.shape[1]
        features = torch.zeros(len(self.assigned), width, device=self.device)
        labels = torch.full((len(self.assigned),), NONE, device=self.device)
        for batch in loader:
            batch = to_device(batch, self.device)
            features[batch["index"]] = self._features(batch["image"])
            labels[batch["index"]] = batch.get("label", labels[batch["index"]])
        self.train(training)
        return features, labels

    # ---- in the epoch ------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """``(1 - λ) InfoNCE + λ SupCon`` of the projections, and the contrast of the features with the prototypes."""
        cfg, rows = self.config, batch["index"]
        pooled = pooled_views(self.encoders["image"], batch["image_views"])  # both views, one after the other
        features = self._adapted(pooled)  # (2B, D)
        first, second = (gather_features(h, with_grad=True) for h in self.head(features).chunk(2))  # (W·B, d)
        label = gather_features(batch.get("label", torch.full_like(rows, NONE)), with_grad=False).repeat(2)
        projected = torch.cat([first, second])
        views = nt_xent(first, second, cfg.temperature)
        labels = supcon(projected, label, cfg.label_temperature, present=label >= 0)
        total = (1 - cfg.supervised) * views + cfg.supervised * labels
        terms = {"views": views.detach(), "labels": labels.detach()}
        if step.epoch >= cfg.warmup_epochs:
            cluster = self.assigned[rows]
            pull = proto_nce(features, cluster.repeat(2), self.prototypes, self.phi)  # mean over both views
            terms["prototypes"] = pull.detach()
            terms["classes"] = torch.full_like(terms["prototypes"], len(self.prototypes))
            total = total + cfg.prototype_weight * pull
        return {"total": total, **terms}

    # ---- in use ------------------------------------------------------------------------------------------------------

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The features that are clustered, unit norm; the head only serves training."""
        return {"image": self._features(batch["image"])}

    def assign(self, batch: Batch) -> Tensor:
        """The nearest prototype ``(B,)`` of each picture, of those of the last clustering in training."""
        return (self._features(batch["image"]) @ self.prototypes.T).argmax(dim=1)

    def discover(self, embeddings: Tensor, labels: Tensor) -> Discovery:
        """As :func:`accord.functional.discover_classes`, with the method's settings and deterministic moves."""
        start = self.config.start_classes
        if start is not None:
            start = _within(start, labels)
        found = self._discovered(embeddings, labels, start, 10, "deterministic", seed=0)
        return Discovery(found.assigned, found.known, found.classes)

    def _discovered(
        self,
        features: Tensor,
        labels: Tensor,
        start: int | None,
        sweeps: int,
        acceptance: Literal["mh", "deterministic"],
        seed: int,
    ) -> Discovered:
        cfg = self.config
        return discover_classes(
            features,
            labels,
            start=start,
            dim=cfg.components,
            sweeps=sweeps,
            acceptance=acceptance,
            spread=cfg.spread,
            restarts=cfg.restarts,
            seed=seed,
        )

    def _features(self, image: Any) -> Tensor:
        return self._adapted(self.encoders["image"](image).pooled)

    def _adapted(self, pooled: Tensor) -> Tensor:
        """Unit norm, in float32."""
        return F.normalize(self.adapter(pooled).float(), dim=1)


def _within(start: int, labels: Tensor) -> int:
    """A number of clusters that rows with these labels ``(N,)`` allow: each class has one, and each other row at most.

    >>> _within(9, torch.tensor([0, 0, 1, -1])), _within(1, torch.tensor([0, 1]))
    (3, 2)
    """
    known = len(labels[labels >= 0].unique())
    return min(max(start, known), known + int((labels < 0).sum()))
