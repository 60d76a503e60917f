"""CAPro: Webly Supervised Learning with Cross-Modality Aligned Prototypes (Qin et al., NeurIPS 2023).

Images come with the label of the query that found them and with free text. Texts that fit a class's
definition pick a few trustworthy images per class; these start the visual prototypes, which then correct labels,
drop out-of-set images and pull clusters together, while a queue of past embeddings gives smoothed labels
(collective bootstrapping). Three stages: ``vanilla`` (no prototypes), ``prototypes``, ``finetune``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self, cast

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.views import View
from accord.data.inputs import TextInput
from accord.data.loading.batches import to_device
from accord.encoders.base import Encoder
from accord.errors import ConfigError
from accord.functional import (
    capro_loss,
    collective_bootstrap,
    correct_labels,
    kept_mean,
    label_loss,
    mixed_posterior,
    positive_weight,
    queue_logits,
)
from accord.methods.abilities import Classifies, Embeds, JudgesRows, Verdicts
from accord.methods.base import Batch, DataInfo, Loader, Method, Stage, Step
from accord.methods.noisy.labelling import MultiLabelHead, SingleLabelHead
from accord.methods.noisy.text_matching import (
    clean_text,
    definition_distance,
    definition_margin,
    enhance_texts,
    trusted_rows,
    whole_classes,
)
from accord.state import FeatureQueue, FeatureStandardiser, MomentumEncoder, PrototypeBank


class CaproConfig(settings.Config):
    """Settings of :class:`Capro`; defaults from the paper's WebVision recipe."""

    dim: int = Field(128, ge=2, description="size d of the projection and the prototypes")
    temperature: float = Field(0.1, gt=0, description="softmax temperature T of instance and prototype logits")
    queue_size: int = Field(
        8192, ge=1, description="embeddings kept for instance loss and bootstrapping, at most half the rows"
    )
    momentum: float = Field(0.999, ge=0, le=1, description="EMA factor of the key encoder")
    prototype_momentum: float = Field(0.999, ge=0, le=1, description="EMA factor of the prototypes")
    mix: float = Field(0.5, ge=0, le=1, description="a: weight of the classifier against the prototypes")
    correct_threshold: float = Field(0.6, gt=0, le=1, description="posterior above which a label is replaced")
    keep_threshold: float | None = Field(None, gt=0, le=1, description="posterior that keeps a label; None is 1/C")
    beta: float = Field(0.1, ge=0, le=1, description="weight of collective bootstrapping in the low-dim loss")
    few_shot: int | float = Field(
        50, gt=0, description="images per class that text matching trusts: a number, or below 1 a share of the class"
    )
    few_shot_cap: float = Field(0.5, gt=0, le=1, description="largest share of a class that is trusted")
    few_shot_margin: float | None = Field(
        None,
        ge=-2,
        le=2,
        description="trust only images whose text is nearer, by this much cosine, to the definition of their class "
        "than to any other; None asks for no margin",
    )
    protect: bool = Field(True, description="trusted images are never dropped or relabelled")
    smooth_texts: bool = Field(True, description="repair texts over the visual nearest-neighbour graph")
    neighbours: int = Field(5, ge=1, description="k of that graph")
    pool: int = Field(20, ge=1, description="candidates per image before re-ranking (4k)")
    self_weight: float = Field(0.0, ge=0, description="weight of an image's own text in the smoothing")
    edges: Literal["similarity", "distance"] = Field(
        "similarity", description="weights of that graph; distance is the released code's"
    )
    rerank_k1: int = Field(20, ge=1, description="k1 of the k-reciprocal distance")
    rerank_k2: int = Field(6, ge=1, description="k2 of the k-reciprocal distance")
    rerank_lambda: float = Field(0.3, ge=0, le=1, description="weight of the plain distance in it")
    vanilla_epochs: int = Field(120, ge=0, description="epochs of stage 1")
    prototype_epochs: int = Field(60, ge=1, description="epochs of stage 2")
    init_epoch: int = Field(5, ge=0, description="epoch of stage 2 at whose start prototypes are initialised")
    clean_epoch: int = Field(10, ge=0, description="epoch of stage 2 after which labels are cleaned")
    freeze_epochs: int = Field(0, ge=0, description="epochs of stage 2 with a frozen encoder (pretrained: 5)")
    finetune_epochs: int = Field(15, ge=0, description="epochs of stage 3: classifier only, on cleaned labels")
    finetune_lr_scale: float = Field(
        1.0, gt=0, description="learning rate of stage 3 over the configured one (the paper's 1e-3 is for SGD at 0.1)"
    )
    finetune_fresh: bool = Field(False, description="stage 3 begins with a new classifier, which saw no wrong label")
    mixup: float | None = Field(None, gt=0, description="alpha of MixUp in stage 3 (0.8 in the paper); None is off")
    weight_instance: float = Field(1.0, ge=0, description="weight of the instance loss")
    weight_reconstruction: float = Field(1.0, ge=0, description="weight of the reconstruction loss")
    weight_prototype: float = Field(1.0, ge=0, description="weight of the prototype loss")
    frequency_weights: bool = Field(False, description="weigh a row by n_c / median(n) of its largest class (NUS)")
    strong_scale: tuple[float, float] = Field((0.2, 1.0), description="area range of the strong view's crop")

    @field_validator("few_shot")
    @classmethod
    def _number_or_share(cls, few_shot: float) -> int | float:
        if few_shot >= 1 and few_shot != int(few_shot):
            raise ValueError("expected a whole number of images, or a share below 1")
        return int(few_shot) if few_shot >= 1 else few_shot

    @model_validator(mode="after")
    def _epochs_in_order(self) -> Self:
        if not self.init_epoch <= self.clean_epoch < self.prototype_epochs:
            raise ValueError(
                f"epochs must satisfy init_epoch <= clean_epoch < prototype_epochs, "
                f"got {self.init_epoch}, {self.clean_epoch}, {self.prototype_epochs}"
            )
        return self


class Capro(Method, Embeds, Classifies, JudgesRows):
    """CAPro over any image encoder, with any frozen sentence encoder for the texts.

    Batch keys: ``image_views`` [weak, strong], ``label (B,)`` or ``(B, C)``, ``index (B,)``; for the hooks
    ``image``, ``text``, ``text_mask``, ``label``, ``index``.
    """

    name: ClassVar[str] = "capro"
    learns_labels: ClassVar[bool] = True
    Config: ClassVar[type[settings.Config]] = CaproConfig
    needs: Mapping[str, frozenset[str]] = {
        "image": frozenset({"pooled"}),
        "text": frozenset({"pooled"}),
    }
    config: CaproConfig
    trusted: Tensor
    kept: Tensor
    cleaned_label: Tensor
    confidence: Tensor
    class_weight: Tensor
    pos_weight: Tensor | None

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        classes, width, dim = len(data.classes), encoders["image"].dim, self.config.dim
        if classes < 2:
            raise ConfigError(f"method {self.name} needs labels of at least 2 classes, got {classes}")
        if "text" in self.encoders:
            encoders["text"].freeze("all")
        self.standardise = FeatureStandardiser(width)
        self.classifier = nn.Linear(width, classes, bias=False)
        self.projector = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dim))
        self.reconstructor = nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, width))
        self.head = MultiLabelHead(classes, dim) if data.multi_label else SingleLabelHead(classes, dim)
        self.key_encoder = MomentumEncoder(encoders["image"], self.config.momentum)
        # A queue longer than the data would hold every image several times, each time as a negative of itself.
        self.queue = FeatureQueue(min(self.config.queue_size, max(1, data.rows // 2)), dim)
        self.prototypes = PrototypeBank(classes, dim, self.config.prototype_momentum, multi_label=data.multi_label)
        per_row = (data.rows, classes) if data.multi_label else (data.rows,)
        counts = torch.tensor(data.label_counts, dtype=torch.float32)
        weight = counts / counts.median() if self.config.frequency_weights else torch.ones(classes)
        self.register_buffer("class_weight", weight)
        self.register_buffer("pos_weight", positive_weight(counts, data.rows) if data.multi_label else None)
        self.register_buffer("trusted", torch.zeros(per_row, dtype=torch.bool))
        self.register_buffer("cleaned_label", torch.zeros(per_row, dtype=torch.long))
        self.register_buffer("kept", torch.ones(data.rows, dtype=torch.bool))
        self.register_buffer("confidence", torch.ones(data.rows))

    @property
    def views(self) -> tuple[View, ...]:
        """A weak view for the query encoder and a strong one for the key encoder."""
        strong = View(scale=self.config.strong_scale, jitter=(0.4, 0.4, 0.4, 0.4), gray=0.2, lighting=0.1)
        return (View(scale=(0.8, 1.0), lighting=0.1), strong)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Vanilla pre-training, prototypes, and fine-tuning of the classifier on cleaned labels."""
        stages = (
            Stage("vanilla", self.config.vanilla_epochs),
            Stage("prototypes", self.config.prototype_epochs, freeze_epochs=self.config.freeze_epochs),
            Stage("finetune", self.config.finetune_epochs, self.config.finetune_lr_scale, train=("classifier",)),
        )
        return tuple(stage for stage in stages if stage.epochs)

    @staticmethod
    def prepare_texts(captions: list[str]) -> list[str]:
        """One cleaned text per row from all its captions."""
        return [clean_text(" ".join(captions))]

    # ---- stage 0, after vanilla training: which images to trust -------------------------------------------------

    def before_stage(self, stage: Stage, loader: Loader) -> None:
        """Before all: the statistics of a frozen encoder. Before ``prototypes``: match texts to definitions.

        Before ``finetune``, if asked: a new classifier.
        """
        if stage.name == self.stages[0].name and self.encoders["image"].frozen:
            self.standardise.fit(torch.cat([self._features(batch["image"]) for batch in self._rows(loader)]))
        if stage.name == "prototypes":
            self.trusted.copy_(self.select_trusted(loader))
        if stage.name == "finetune" and self.config.finetune_fresh:
            self.classifier.reset_parameters()

    @torch.no_grad()
    def select_trusted(self, loader: Loader) -> Tensor:
        """Rows whose text, repaired over the visual neighbour graph, fits their class's definition best."""
        cfg = self.config
        rerank: dict[str, Any] = {"k1": cfg.rerank_k1, "k2": cfg.rerank_k2, "lam": cfg.rerank_lambda}
        rows = list(self._rows(loader))
        labels = torch.cat([batch["label"] for batch in rows])
        texts = torch.cat([self._text_features(batch["text"], batch.get("text_mask")) for batch in rows])
        if cfg.smooth_texts:
            visual = torch.cat([self._features(batch["image"]) for batch in rows])
            texts = enhance_texts(
                texts, visual, cfg.neighbours, cfg.pool, self_weight=cfg.self_weight, edges=cfg.edges, **rerank
            )
        definitions = self._definition_features()
        distance = definition_distance(texts, definitions, labels, **rerank)
        near = None
        if cfg.few_shot_margin is not None:
            near = definition_margin(texts, definitions, labels) >= cfg.few_shot_margin
        trusted = trusted_rows(distance, labels, cfg.few_shot, cap=cfg.few_shot_cap, near=near)
        whole = whole_classes(trusted, labels, self.data.classes)
        if whole and cfg.protect:
            warnings.warn(
                f"method {self.name} trusts every row of {', '.join(whole)}, so that no wrong label among them is "
                "dropped or corrected: lower method.few_shot or method.few_shot_cap",
                stacklevel=2,
            )
        return trusted

    # ---- stages 1 to 3 --------------------------------------------------------------------------------------------

    def before_epoch(self, step: Step, loader: Loader) -> None:
        """At ``init_epoch`` of the prototype stage: prototypes from the trusted images."""
        if step.stage == "prototypes" and step.epoch == self.config.init_epoch:
            self._init_prototypes(loader)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """The stage's loss; see :meth:`contrast` and :meth:`finetune`."""
        return self.finetune(batch) if step.stage == "finetune" else self.contrast(batch, step)

    def contrast(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Steps (a) to (g) of the paper's training loop."""
        cfg, second = self.config, step.stage == "prototypes"
        initialised = second and step.epoch >= cfg.init_epoch
        aligned, cleaning = second and step.epoch > cfg.init_epoch, second and step.epoch > cfg.clean_epoch
        weak, strong = batch["image_views"]
        label = batch["label"]
        out = {"labels": label, "keep": torch.ones(len(label), dtype=torch.bool, device=label.device)}
        out["weight"] = self._row_weight(label)

        out["feature"] = self._features(weak)  # (B, D)
        out["logits"], z = self.classifier(out["feature"]), self.project(out["feature"])  # (B, C), (B, d)
        out["low_logits"] = self.head(z)
        out["reconstruction"] = self.reconstructor(z.detach() if aligned else z)
        with torch.no_grad():
            key = self._key(strong)
        out["instance_logits"] = queue_logits(z, key, self.queue.features, cfg.temperature)  # queue without these keys
        self.queue.enqueue(key)

        if aligned:
            out["proto_logits"] = self._closeness(z)
        if cleaning:
            out["labels"], out["keep"] = self._correct(
                out["logits"], out["proto_logits"], label, self.trusted[batch["index"]]
            )
        if cfg.beta:
            out["bootstrap"] = self._bootstrap(z)  # queue with these keys
        if initialised:
            dropped = ~out["keep"].view(-1, *[1] * (label.ndim - 1))
            self.prototypes.update(self.head.prototype_input(z.detach()), out["labels"].masked_fill(dropped, -1))
        terms = capro_loss(
            out,
            cfg.beta,
            cfg.weight_instance,
            cfg.weight_reconstruction,
            cfg.weight_prototype,
            pos_weight=self.pos_weight,
        )
        return {**terms, "kept": out["keep"].float().mean()}

    def finetune(self, batch: Batch) -> dict[str, Tensor]:
        """Classifier alone, on the kept rows and their cleaned labels, with MixUp of the images if asked."""
        rows, image = batch["index"], batch["image"]
        label, keep, weight = self.cleaned_label[rows], self.kept[rows], self._row_weight(batch["label"])
        if self.config.mixup is None:
            loss = kept_mean(label_loss(self._logits(image), label, self.pos_weight), keep, weight)
            return {"total": loss}
        if not isinstance(image, Tensor):
            raise ConfigError("mixup mixes pixels, not cached features: set training.cache_features = false")
        share = torch.distributions.Beta(self.config.mixup, self.config.mixup).sample().to(image)
        partner = torch.randperm(len(image), device=image.device)
        logits = self._logits(share * image + (1 - share) * image[partner])
        own, other = (label_loss(logits, target, self.pos_weight) for target in (label, label[partner]))
        return {"total": kept_mean(share * own + (1 - share) * other, keep & keep[partner], weight)}

    def after_step(self, step: Step) -> None:
        """Key encoder follows the query encoder."""
        if step.stage != "finetune":
            self.key_encoder.update(self.encoders["image"])

    @torch.no_grad()
    def after_stage(self, stage: Stage, loader: Loader) -> None:
        """After ``prototypes``: rule (e) over the whole training set, for fine-tuning and for the report."""
        if stage.name != "prototypes":
            return
        for batch in self._rows(loader):
            rows, label = batch["index"], batch["label"]
            features = self._features(batch["image"])
            logits, closeness = self.classifier(features), self._closeness(self.project(features))
            cleaned, kept = self._correct(logits, closeness, label, self.trusted[rows])
            self.cleaned_label[rows], self.kept[rows] = cleaned, kept
            posterior = mixed_posterior(logits, closeness, self.config.mix)
            self.confidence[rows] = _agreement(posterior, label)

    # ---- inference ------------------------------------------------------------------------------------------------

    def project(self, features: Tensor) -> Tensor:
        """Unit-norm projection ``(B, d)``; the projector is shared by query and key."""
        return F.normalize(self.projector(features).float(), dim=-1)

    @property
    def embeds(self) -> tuple[str, ...]:
        """Images only: texts choose the trusted rows, they are not embedded with the images."""
        return ("image",)

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Projected image embedding."""
        return {"image": self.project(self._features(batch["image"]))}

    def classify(self, batch: Batch) -> Tensor:
        """Class logits ``(B, C)`` of the linear classifier."""
        return self._logits(batch["image"]).float()

    def verdicts(self) -> Verdicts | None:
        """Kept rows, corrected labels, posterior of the web label, and the rows text matching trusted."""
        trusted = self.trusted if self.trusted.ndim == 1 else self.trusted.any(dim=1)
        label = self.cleaned_label if self.cleaned_label.ndim == 1 else None
        return Verdicts(kept=self.kept, score=self.confidence, label=label, trusted=trusted)

    # ---- parts ----------------------------------------------------------------------------------------------------

    def _features(self, image: Any) -> Tensor:
        return self.standardise(self.encoders["image"](image).pooled)

    def _key(self, image: Any) -> Tensor:
        return self.project(self.standardise(self.key_encoder(image).pooled))

    def _logits(self, image: Any) -> Tensor:
        return self.classifier(self._features(image))

    def _closeness(self, z: Tensor) -> Tensor:
        return self.prototypes.logits(self.head.prototype_input(z), self.config.temperature)

    @torch.no_grad()
    def _correct(self, logits: Tensor, closeness: Tensor, label: Tensor, trusted: Tensor) -> tuple[Tensor, Tensor]:
        """Rule (e): corrected labels and kept rows."""
        cfg = self.config
        protected = trusted.flatten(1).any(dim=1) if trusted.ndim == 2 else trusted
        posterior = mixed_posterior(logits, closeness, cfg.mix)
        return correct_labels(posterior, label, protected & cfg.protect, cfg.keep_threshold, cfg.correct_threshold)

    @torch.no_grad()
    def _bootstrap(self, z: Tensor) -> Tensor:
        """Collective bootstrapping target ``(B, C)``: what the queue's neighbours are thought to be.

        Prototypes that are still zero have the same opinion of every class.
        """
        queue = self.queue.features
        opinion = mixed_posterior(self.head(queue), self._closeness(queue), self.config.mix)
        return collective_bootstrap(z, queue, opinion, multi_label=self.data.multi_label)

    @torch.no_grad()
    def _init_prototypes(self, loader: Loader) -> None:
        """Class means of the trusted images; a multi-label class also takes its trusted negatives."""
        for_bank = [
            (
                self.head.prototype_input(self._key(batch["image"])),
                batch["label"].masked_fill(~self.trusted[batch["index"]], -1),
            )
            for batch in self._rows(loader)
        ]
        z, label = (torch.cat(column) for column in zip(*for_bank, strict=True))
        self.prototypes.init_from(z, label)

    def _row_weight(self, label: Tensor) -> Tensor:
        """``(B,)``: the weight of a row's class, or of the heaviest of its classes."""
        return self.class_weight[label] if label.ndim == 1 else (self.class_weight * label).amax(dim=1)

    def _text_features(self, text: Any, mask: Tensor | None = None) -> Tensor:
        return F.normalize(self.encoders["text"](text, mask).pooled.float(), dim=-1)

    def _definition_features(self) -> Tensor:
        inputs = cast(TextInput, self.encoders["text"].input)
        ids, mask = inputs.tokenizer([clean_text(text) for text in self.data.definitions])
        return self._text_features(ids.to(self.device), mask.to(self.device))

    def _rows(self, loader: Loader) -> Iterator[Batch]:
        """Every training row once, in eval mode, on the method's device."""
        training = self.training
        self.eval()
        for batch in loader:
            yield to_device(batch, self.device)
        self.train(training)


def _agreement(posterior: Tensor, label: Tensor) -> Tensor:
    """``(B,)`` posterior of the given label; for several labels the mean over the classes."""
    if label.ndim == 1:
        return posterior.gather(1, label[:, None])[:, 0]
    return torch.where(label.bool(), posterior, 1 - posterior).mean(dim=1)
