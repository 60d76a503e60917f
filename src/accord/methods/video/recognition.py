"""What classifiers of clips have in common: targets that are mixed, classes that are named, rates of what is new.

Classes are texts, as in X-CLIP (Ni et al. 2022, ECCV): the cosine of a clip's vector with that of each name, which is
first corrected by what the patches of this very clip show (the video-specific prompt, section 3.3). Other names can be
put in the place of those of training.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.views import View
from accord.data.inputs import TextInput
from accord.data.loading.features import Features, Stream
from accord.encoders.base import Encoder
from accord.encoders.bundles import Bundle
from accord.encoders.fusion import VideoSpecificPrompt
from accord.errors import ConfigError
from accord.functional.mixing import clip_mixup
from accord.functional.schedule import warmup_cosine_at
from accord.methods.abilities import Classifies, Rescores
from accord.methods.base import Batch, DataInfo, Group, Method, Optimiser, Sampling, Stage, Step
from accord.methods.programme import Repeated
from accord.state import LogitScale

CHUNK_ELEMENTS = 1 << 24  # numbers in the texts of all pairs of clip and class that are held at a time
NEW = "new"  # parameters without pretrained weights


class RecognitionConfig(settings.Config):
    """Settings of every classifier of clips; defaults from X-CLIP and its reference training code."""

    prompt_layers: int = Field(2, ge=1, description="blocks of the video-specific prompt")
    prompt_alpha: float = Field(0.1, description="initial scale of the prompt; 0 with learn_alpha=false leaves it out")
    learn_alpha: bool = Field(True, description="train that scale")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="probability mass spread over the other classes")
    mixup: float = Field(0.8, ge=0, description="alpha of mixup between the clips of a batch; 0 is off")
    cutmix: float = Field(1.0, ge=0, description="alpha of CutMix; 0 is off")
    switch: float = Field(0.5, ge=0, le=1, description="probability of CutMix where both are on")
    repeats: int = Field(
        1,
        ge=1,
        description="how often a row stands in its batch, each time cut anew; 2 to fine-tune masked autoencoders",
    )
    new_lr: float = Field(10.0, gt=0, description="learning rate of new parts over that of pretrained ones")
    lr_floor: float = Field(0.01, ge=0, lt=1, description="where learning rates end, a share of the configured one")
    temperature: float = Field(0.07, gt=0, description="initial softmax temperature; the logit scale starts at 1/T")
    learn_temperature: bool | None = Field(None, description="train the logit scale; None: unless it is a bundle's")
    max_logit_scale: float = Field(100.0, gt=1, description="upper clamp of the logit scale after each step")
    crop_scale: tuple[float, float] = Field((0.44, 1.0), description="area range of the training crop")
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring; 0 where left and right differ")
    colour: bool = Field(True, description="jitter of colours, and sometimes none")
    clip: str | None = Field(None, description="a CLIP whose image tower the video encoder is, without --bundle")


class ClipRecognition(Method, Rescores, Classifies):
    """Clips classified by the names of their classes; base of those methods.

    Batch keys: ``video (B, T, 3, H, W)``, ``video_mask (B, T)``, ``label (B,)`` or ``(B, C)``.
    """

    tower: ClassVar[str]  # the video encoder to take where the user names none
    rates: ClassVar[Mapping[str, str]] = {NEW: "new_lr"}  # group -> the setting that says how high its rate is
    learns_labels: ClassVar[bool] = True
    mixes: ClassVar[tuple[str, ...]] = ("video",)
    Config: ClassVar[type[settings.Config]] = RecognitionConfig
    needs: Mapping[str, frozenset[str]] = {"video": frozenset({"pooled", "patches"}), "text": frozenset({"pooled"})}
    config: RecognitionConfig
    class_ids: Tensor
    class_mask: Tensor

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        if len(data.classes) < 2:
            raise ConfigError(f"method {self.name} needs labels of at least 2 classes, got {len(data.classes)}")
        if "text" in self.needs:
            self._name_classes(encoders["video"], encoders["text"])

    def _name_classes(self, video: Encoder, text: Encoder) -> None:
        """What compares clips with the names of the classes."""
        cfg = self.config
        assert isinstance(text.input, TextInput)  # it is a text encoder
        ids, mask = text.input.tokenizer(list(self.data.definitions))
        self.register_buffer("class_ids", ids, persistent=False)
        self.register_buffer("class_mask", mask, persistent=False)
        self.projections = nn.ModuleDict({"text": _projection(text.dim, video.dim)})
        width = video.stream_dim("patches")
        self.patch_norm, self.patch_projection = nn.LayerNorm(width), _projection(width, video.dim)
        self.prompt = VideoSpecificPrompt(video.dim, cfg.prompt_layers, alpha=cfg.prompt_alpha)
        self.prompt.alpha.requires_grad_(cfg.learn_alpha)
        self.logit_scale = LogitScale(1 / cfg.temperature, cfg.max_logit_scale)
        self.logit_scale.requires_grad_(cfg.learn_temperature is not False)
        self._known: Tensor | None = None  # what a frozen text encoder makes of the class names

    @classmethod
    def reads(cls, config: Any) -> tuple[str, ...]:
        """Clips alone: the texts are the names of the classes."""
        return ("video",)

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """The method's tower, as a CLIP has it where the settings name one."""
        return {"video": {"name": cls.tower if config.clip is None else f"{cls.tower}:{config.clip}"}}

    @classmethod
    def encoders_from(cls, config: Any, bundle: str) -> Mapping[str, Mapping[str, Any]]:
        """That tower as a CLIP has it."""
        return {"video": {"name": f"{cls.tower}:{bundle}"}} if bundle.startswith("clip:") else {}

    def start_from(self, bundle: Bundle) -> tuple[str, ...]:
        """CLIP's text projection and logit scale, which stay as they are: the one with the text encoder."""
        taken = super().start_from(bundle)
        if "text projection" in taken:
            self.projections.requires_grad_(not self.encoders["text"].frozen)
        if "logit scale" in taken and self.config.learn_temperature is None:
            self.logit_scale.requires_grad_(False)
        return taken

    @property
    def views(self) -> tuple[View, ...]:
        """One crop of all frames of a clip."""
        cfg = self.config
        colours: dict[str, Any] = {"jitter": (0.4, 0.4, 0.4, 0.1), "jitter_p": 0.8, "gray": 0.2} if cfg.colour else {}
        return (View(scale=cfg.crop_scale, ratio=(1.0, 1.0), flip=cfg.flip, **colours),)

    # --- training ---

    @property
    def sampling(self) -> Sampling | None:
        """Several copies of a row in its batch, where the settings say so."""
        return Repeated(self.config.repeats) if self.config.repeats > 1 else None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One, whose learning rates end at a floor."""
        return (Stage(optimisers=(Optimiser(lr_floor=self.config.lr_floor),)),)

    def mix(self, batch: Batch, step: Step) -> Batch:
        """CutMix or mixup of the clips, with one box or share for all frames, and of their labels."""
        cfg = self.config
        if not (cfg.mixup or cfg.cutmix):
            return batch
        often = cfg.switch if cfg.mixup and cfg.cutmix else float(not cfg.mixup)
        video, label = clip_mixup(
            batch["video"],
            self._targets(batch["label"]),
            len(self.data.classes),
            smoothing=0.0,
            mixup_alpha=cfg.mixup,
            cutmix_alpha=cfg.cutmix,
            cutmix_p=often,
        )
        return {**batch, "video": video, "label": label}

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Cross-entropy of the softmax over classes with soft targets."""
        return self.fit_of(self.seen(batch), batch)

    def fit_of(self, clips: Features, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss that what the video encoder saw in clips has for their labels."""
        targets, smoothing = self._targets(batch["label"]), self.config.label_smoothing
        total = F.cross_entropy(self.logits(clips), targets, label_smoothing=smoothing)
        return {"total": total} | ({"logit_scale": self.logit_scale().detach()} if "text" in self.needs else {})

    def group(self, name: str) -> Group:
        """Whether a parameter has no pretrained weights; where the vision tower has none, all are alike."""
        towers: dict[str, Encoder] = dict(self.encoders.items())  # type: ignore[arg-type]
        if not towers["video"].pretrained:
            return Group()
        modality, _, own = name.removeprefix("encoders.").partition(".")
        tower = towers.get(modality) if name.startswith("encoders.") else None
        adapter = tower is not None and any(fnmatchcase(own, pattern) for pattern in tower.adapters)
        return Group() if tower is not None and tower.pretrained and not adapter else self.new_group(own)

    def new_group(self, name: str) -> Group:
        """That of a parameter without pretrained weights, by its name in its encoder or in the method."""
        return Group(NEW)

    def lr_factor(self, group: str, step: Step, warmup: int) -> float:
        """The common schedule, as many times as high as the settings say of the group, to the common floor."""
        share = warmup_cosine_at(step.index, warmup, step.total, base=1.0)
        high, floor = getattr(self.config, self.rates[group]), self.config.lr_floor
        return high * share if step.index < warmup else floor + (high - floor) * share

    def after_step(self, step: Step) -> None:
        """Clamp the logit scale."""
        if "text" in self.needs:
            self.logit_scale.clamp_()

    # --- use ---

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Unit-norm embeddings of the clips and texts in the batch; texts as they are without a clip."""
        return {name: F.normalize(features.pooled.float(), dim=1) for name, features in self._features(batch).items()}

    def token_features(self, batch: Batch) -> dict[str, Features]:
        """Embeddings, and what :meth:`rescore` reads: a clip's patches, a text's vector of its own length."""
        found = self._features(batch)
        return {
            name: Features(F.normalize(features.pooled.float(), dim=1), features.tokens)
            for name, features in found.items()
        }

    def rescore(self, query: Features, candidates: Features, modality: str) -> Tensor:
        """Cosines ``(A, B)`` of clips with texts that are corrected by each clip."""
        clips, texts = (candidates, query) if modality == "text" else (query, candidates)
        scores = self._scores(clips, texts.sequence()[0][:, 0])
        return scores.mT if modality == "text" else scores

    def classify(self, batch: Batch) -> Tensor:
        """Logits ``(B, K)`` of the classes of the training data."""
        return self.logits(self.seen(batch))

    def seen(self, batch: Batch) -> Features:
        """What the video encoder makes of the clips of a batch."""
        features: Features = self.encoders["video"](batch["video"], batch.get("video_mask"))
        return features

    def logits(self, clips: Features) -> Tensor:
        """Logits ``(B, K)`` of the classes from what the video encoder saw."""
        return self.logit_scale() * self._scores(self._clips(clips), self._class_texts())

    def _clips(self, clips: Features) -> Features:
        """A clip's vector ``(B, D)`` and patches ``(B, N, D)`` in the space of the texts."""
        return Features(clips.pooled, self._patches(clips.stream("patches")))

    def _features(self, batch: Batch) -> dict[str, Features]:
        """What scores are made of: a clip's vector ``(B, D)`` and patches ``(B, N, D)``, a text's vector."""
        found = {}
        if "video" in batch:
            found["video"] = self._clips(self.seen(batch))
        if "text" in batch:
            vectors = self.projections["text"](self.encoders["text"](batch["text"], batch.get("text_mask")).pooled)
            found["text"] = Features(vectors, vectors[:, None])
        return found

    def _patches(self, patches: Stream) -> Tensor:
        """``(B, N, D)`` in the space of the texts, the mean over the real frames of a clip."""
        frames = (patches.grid or (1,))[0]
        values = self.patch_norm(patches.values).unflatten(1, (frames, -1))  # (B, T, N, C)
        real = patches.real().unflatten(1, (frames, -1))[..., None]
        return self.patch_projection((values * real).sum(dim=1) / real.sum(dim=1).clamp_min(1))

    def _class_texts(self) -> Tensor:
        """The vectors ``(K, D)`` of the class names; of a frozen encoder they are computed once."""
        encoder = self.encoders["text"]
        if not encoder.frozen:
            self._known = None
            return self.projections["text"](encoder(self.class_ids, self.class_mask).pooled)
        if self._known is None or self._known.device != self.device:
            with torch.inference_mode(False), torch.no_grad():  # what is kept may be trained on
                self._known = encoder(self.class_ids, self.class_mask).pooled
        return self.projections["text"](self._known)

    def _scores(self, clips: Features, texts: Tensor) -> Tensor:
        """Cosines ``(B, K)`` of clips with texts ``(K, D)``, some classes at a time: no class sees another."""
        video, patches = clips.pooled, clips.sequence()[0]
        some = max(1, CHUNK_ELEMENTS // max(1, video.numel()))
        scores = []
        for part in texts.split(some):
            each = part.expand(len(video), -1, -1)  # (B, k, D)
            scores.append(video_text_logits(video, each + self.prompt(each, patches)))
        return torch.cat(scores, dim=1)

    def _targets(self, label: Tensor) -> Tensor:
        """Shares ``(B, K)`` of the classes: one, equal ones of several labels, or as they were mixed."""
        if label.ndim == 1:
            return F.one_hot(label, len(self.data.classes)).float()
        return F.normalize(label.float(), p=1.0, dim=1)


def video_text_logits(video: Tensor, text: Tensor, log_scale: Tensor | float = 0.0) -> Tensor:
    """``s cos(video_b, text_bk)`` with s = exp(log_scale).

    Args:
        video: ``(B, D)``.
        text: ``(B, K, D)`` texts that differ from clip to clip, or ``(K, D)`` the same for all.
        log_scale: ln s.

    Returns:
        ``(B, K)`` float32.

    Example:
        >>> video_text_logits(torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
        tensor([[1., 0.]])
    """
    scale = torch.as_tensor(log_scale).exp()
    video, text = F.normalize(video.float(), dim=-1), F.normalize(text.float(), dim=-1)
    return scale * (video @ text.T if text.ndim == 2 else torch.einsum("bd,bkd->bk", video, text))


def _projection(width: int, dim: int) -> nn.Linear:
    """As CLIP's, without bias."""
    layer = nn.Linear(width, dim, bias=False)
    nn.init.normal_(layer.weight, std=width**-0.5)
    return layer
