"""ProtoCLIP: Prototypical Contrastive Language Image Pretraining (Chen et al. 2022; IEEE TNNLS 2023).

CLIP, and beside it an explicit grouping. Training goes in episodes. At the start of one its features are clustered on
either side, and what a text cluster looks like in images, the mean image feature of its members, becomes a prototype
(prototypical back-translation); during the episode each image is classified among the clusters of the texts and each
text among those of the images. A frozen text encoder may make clusters for both as well.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from copy import deepcopy
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord.data.augmenting.views import View
from accord.encoders import build_encoder
from accord.encoders.base import Encoder
from accord.encoders.heads import MLPHead
from accord.encoders.text import pooled_texts
from accord.errors import ConfigError
from accord.functional import gather_features, principal_components, warmup_cosine_at
from accord.methods.base import Batch, DataInfo, Episode, Group, Loader, Stage, Step
from accord.methods.image_text.clip import Clip, ClipConfig
from accord.state import FeatureBank, LogitScale, TranslatedClusters

TEACHER = "teacher"  # the frozen text encoder, beside the modalities
OUTPUTS = {"image": "image_output", "text": "text_output"}  # what a tower gives before normalisation


class ProtoClipConfig(ClipConfig):
    """Settings of :class:`ProtoClip`; defaults from the paper and its reference code, except what depends on size.

    The paper's episode has 200 000 pairs and 20 000 clusters, 10 pairs each; here an episode has by default as many
    pairs as there are rows, and the clusters follow from it. Its LiT tail is the last two of 100 episodes.
    """

    dim: int = Field(1024, ge=1, description="size of the shared embedding space (1024 for ResNet-50)")
    crop_scale: tuple[float, float] = Field((0.5, 1.0), description="area range of the training crop")
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring; 0 where captions tell left from right")
    episode_size: int | None = Field(
        None, ge=1, description="pairs of an episode, drawn with replacement (paper: 200 000); None: as there are rows"
    )
    clusters: int | None = Field(
        None, ge=1, description="clusters of each clustering (paper: 20 000); None: a tenth of the episode"
    )
    kmeans_iterations: int = Field(20, ge=1, description="rounds of k-means")
    kmeans_restarts: int = Field(3, ge=1, description="random starts of k-means, of which the best is kept")
    head_hidden: int = Field(2048, ge=1, description="hidden width of the projection heads, whose output is clustered")
    head_dim: int = Field(128, ge=1, description="output width of the projection heads")
    head_layers: int = Field(1, ge=0, description="hidden layers of the projection heads; 0 is a linear map")
    back_translation: bool = Field(
        True, description="prototypes are means of the student's own features; False: the other side's centroids"
    )
    target_temperature: float | None = Field(
        0.01, gt=0, description="of the soft targets among similar clusters; None: one-hot"
    )
    mask_empty: bool = Field(True, description="empty clusters take no part; the released code gives them a logit of 0")
    contrastive_weight: float = Field(1.0, ge=0, description="weight of InfoNCE")
    prototype_weight: float = Field(1.0, ge=0, description="weight of the clusters of the two sides")
    teacher: str | None = Field(None, description="frozen text encoder that makes clusters too, such as minilm")
    teacher_dim: int = Field(64, ge=1, description="principal components of the teacher's features")
    teacher_weight: float = Field(1.0, ge=0, description="weight of the teacher's clusters")
    infonce_warmup: int = Field(
        1, ge=0, description="episodes of InfoNCE alone at the start; fewer where no other would be left"
    )
    lit_episodes: int | None = Field(
        None, ge=0, description="episodes of InfoNCE alone at the end, the image tower at rest; None: a fiftieth of all"
    )


class ProtoClip(Clip):
    """ProtoCLIP over any image and text encoder.

    Batch keys: ``image (B, 3, H, W)``, ``text (B, L)``, ``text_mask (B, L)``, ``place (B,)``, the position in the
    episode. The projection heads, with their batch norm, belong to the objective and see the batch of all processes:
    so gradient caching and several processes give what one process gives.

    Example:
        >>> towers = {"image": build_encoder("image", "tiny_vit"),
        ...           "text": build_encoder("text", "tiny_text", texts=["a red ball", "a blue cup"])}
        >>> method = ProtoClip({"dim": 32}, towers, DataInfo(rows=40))
        >>> ids, mask = towers["text"].input.tokenizer(["a red ball", "a blue cup"])
        >>> size = towers["image"].input.size
        >>> batch = {"image": torch.randn(2, 3, size, size), "text": ids, "text_mask": mask, "place": torch.arange(2)}
        >>> sorted(method.loss(batch, Step(epoch=0, epochs=9)))  # the first episode is CLIP's
        ['contrastive', 'logit_scale', 'total']
        >>> method.clusters["text"]
        TranslatedClusters(40 rows, (4, 128) -> image)
        >>> method.embed(batch)["text"].shape
        torch.Size([2, 32])
    """

    name: ClassVar[str] = "protoclip"
    Config: ClassVar[type[ProtoClipConfig]] = ProtoClipConfig
    training_only: ClassVar[tuple[str, ...]] = ("heads.", "prototype_scale.", "bank.", "clusters.", "teacher_features")
    config: ProtoClipConfig
    heads: Mapping[str, nn.Module]
    bank: Mapping[str, FeatureBank]
    clusters: MutableMapping[str, TranslatedClusters]  # of whose features -> what the other side, or both, learn
    teacher_features: Tensor

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        own = self.config
        head = MLPHead(own.dim, own.head_dim, own.head_hidden, own.head_layers)
        self.heads = nn.ModuleDict({"image": head, "text": deepcopy(head)})  # type: ignore[assignment]
        self.prototype_scale = LogitScale(1 / own.temperature, own.max_logit_scale)
        rows = own.episode_size or data.rows or 1
        count = own.clusters or max(1, rows // 10)
        if count > rows:
            raise ConfigError(f"method.clusters = {count}: expected at most {rows}, the pairs of an episode")
        self.bank = nn.ModuleDict({side: FeatureBank(rows, own.head_dim) for side in self.heads})  # type: ignore[assignment]
        self.weights = dict.fromkeys(self.heads, own.prototype_weight / 2)
        self.weights[TEACHER] = own.teacher_weight if own.teacher else 0.0
        taught = data.rows if self.weights[TEACHER] else 0
        self.register_buffer("teacher_features", torch.zeros(taught, own.teacher_dim))
        self.clusters = nn.ModuleDict()  # type: ignore[assignment]
        for name, weight in self.weights.items():
            if weight:
                students = {modality: own.head_dim for modality in self.heads if modality != name}
                width = own.teacher_dim if name == TEACHER else own.head_dim
                self.clusters[name] = TranslatedClusters(rows, count, width, students)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One, at whose start there are no prototypes yet that heads could learn from."""
        return (Stage(partial=True),)

    @property
    def views(self) -> tuple[View, ...]:
        """The paper's "light" augmentation."""
        crop, flip = self.config.crop_scale, self.config.flip
        return (View(scale=crop, flip=flip, jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.2, gray=0.2, blur=0.2),)

    @property
    def sampling(self) -> Episode:
        """An epoch is an episode."""
        return Episode(self.config.episode_size)

    def group(self, name: str) -> Group:
        """The image tower with a schedule of its own; projection heads without decay."""
        visual = name.startswith(("encoders.image.", "projections.image."))
        return Group("visual" if visual else "", decay=not name.startswith("heads."))

    def lr_factor(self, group: str, step: Step, warmup: int) -> float:
        """Warm-up and cosine of the image tower, which comes to rest where the tail begins."""
        end = step.total // step.epochs * (step.epochs - self._tail(step))
        return 0.0 if step.index >= end else warmup_cosine_at(step.index, warmup, max(end, warmup), base=1.0)

    @torch.no_grad()
    def before_stage(self, stage: Stage, loader: Loader) -> None:
        """Let the outside teacher read every row's first caption."""
        if len(self.teacher_features):
            vectors = F.normalize(self.teacher_vectors(loader), dim=1)  # (N, E)
            reduced = principal_components(vectors, min(self.config.teacher_dim, vectors.shape[1]))
            self.teacher_features[:, : reduced.shape[1]] = reduced

    def teacher_vectors(self, loader: Loader) -> Tensor:
        """``(N, E)`` what the outside teacher makes of every training row: the text encoder ``config.teacher``."""
        captions = [row[0] if row else "" for row in loader.texts()]
        encoder = build_encoder("text", str(self.config.teacher), freeze="all", texts=captions)
        return pooled_texts(encoder.to(self.device), captions)

    @torch.no_grad()
    def before_epoch(self, step: Step, loader: Loader) -> None:
        """Cluster the coming episode, in eval mode and with the augmentation that training is about to see."""
        if not self._groups(step):
            return
        rows = []  # of the corpus, place by place
        for batch in loader.episode():
            rows.append(batch["index"])
            for modality, x in self._projected(self.towers(batch)).items():
                self.bank[modality].update(batch["place"], x)
        index = torch.cat(rows)  # (n,): an incomplete last batch is no part of the episode
        features = {modality: bank.features[: len(index)] for modality, bank in self.bank.items()}
        for name, clusters in self.clusters.items():
            outside = name == TEACHER
            clusters.fit(
                self.teacher_features[index] if outside else features[name],
                features,
                n_iter=self.config.kmeans_iterations,
                n_redo=self.config.kmeans_restarts,
                translate=outside or self.config.back_translation,
                seed=int(torch.randint(2**31, ())),
            )

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        """Unit-norm embeddings ``image (B, D)``, ``text (B, D)``, and ``image_output``, ``text_output`` before that."""
        outputs = self.vectors(batch)
        units = {modality: F.normalize(output, dim=-1) for modality, output in outputs.items()}
        return units | {OUTPUTS[modality]: output for modality, output in outputs.items()}

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """InfoNCE, and in the middle of training the classification among clusters."""
        terms = super().objective(towers, batch, step)
        terms["total"] = self.config.contrastive_weight * terms["total"]
        if not self.clusters:
            return terms
        grouping = self._groups(step)
        with torch.set_grad_enabled(grouping and torch.is_grad_enabled()):  # else only batch norm learns its statistics
            x = self._projected({name: gather_features(towers[name], with_grad=True) for name in OUTPUTS.values()})
        if grouping:
            place, scale = gather_features(batch["place"], with_grad=False), self.prototype_scale()
            for name, clusters in self.clusters.items():
                soft = None if name == TEACHER else self.config.target_temperature
                term = clusters.loss(x, place, scale, target_temperature=soft, mask_empty=self.config.mask_empty)
                terms["total"] = terms["total"] + self.weights[name] * term
                terms[f"clusters_{name}"] = term.detach()
            terms |= {"prototype_scale": scale.detach(), **self._watched(x, place)}
        return terms

    def after_step(self, step: Step) -> None:
        """Clamp both scales."""
        super().after_step(step)
        self.prototype_scale.clamp_()

    def _projected(self, towers: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is clustered: the heads' unit-norm outputs ``(B, d)``."""
        return {side: F.normalize(head(towers[OUTPUTS[side]]).float(), dim=-1) for side, head in self.heads.items()}

    @torch.no_grad()
    def _watched(self, x: dict[str, Tensor], place: Tensor) -> dict[str, Tensor]:
        """The effective number of clusters, and how far features have moved since they were clustered."""
        effective = [clusters.effective() for clusters in self.clusters.values()]
        moved = [1 - (x[modality] * bank.read(place)).sum(dim=1).mean() for modality, bank in self.bank.items()]
        return {"effective_clusters": torch.stack(effective).mean(), "staleness": torch.stack(moved).mean()}

    def _tail(self, step: Step) -> int:
        """Episodes of the LiT tail; one episode at least remains before it."""
        wanted = round(step.epochs / 50) if self.config.lit_episodes is None else self.config.lit_episodes
        return min(wanted, step.epochs - 1)

    def _groups(self, step: Step) -> bool:
        """Whether this episode trains with prototypes; of those before the tail the last always does."""
        end = step.epochs - self._tail(step)
        first = min(self.config.infonce_warmup, end - 1)
        return bool(self.clusters) and first <= step.epoch < end
