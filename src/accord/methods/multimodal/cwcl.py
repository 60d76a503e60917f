"""CWCL: Cross-Modal Transfer with Continuously Weighted Contrastive Loss (Srinivasa et al., NeurIPS 2023).

One encoder is given and locked; another, of another modality, learns from pairs to take over its structure. A trained
row is drawn to every frozen key as much as the frozen encoder finds the two frozen rows alike, instead of to its own
key alone; the other direction is plain InfoNCE. With the weights off (``kernel = "none"``) this is locked tuning
(LiT; Zhai et al. 2022, CVPR), its baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.views import View
from accord.encoders.base import Encoder
from accord.errors import ConfigError
from accord.functional import cwcl_loss, similarity_weights, target_entropy
from accord.functional.distributed import gather_features
from accord.methods.base import Batch, DataInfo, Loader, Stage, Step, TwoTower
from accord.state import Center, FeatureStandardiser, LogitScale

Modality = Literal["image", "text", "audio"]

_SPEECH = {"name": "whisper_tiny", "freeze": "all"}  # the usual encoders of images and texts are locked already
_TRAINED = {"image": {"name": "tiny_vit"}, "text": {"name": "tiny_text"}, "audio": {"name": "tiny_audio"}}


class CwclConfig(settings.Config):
    """Settings of :class:`Cwcl`.

    Kernel, directions, combination and temperature are the paper's. The exponential kernel, ``top`` and ``centre``
    answer what its own weights do on features whose cosines are all alike.
    """

    locked: Modality = Field("image", description="modality of the encoder that is given and stays as it is")
    trained: Modality = Field("text", description="modality of the encoder that learns")
    kernel: Literal["affine", "exp", "topk", "none"] = Field(
        "affine",
        description="cosine → weight: cos/2 + 1/2 (paper), exp((cos − 1)/T), the largest ones only, or the pair (LiT)",
    )
    kernel_temperature: float | None = Field(
        None, gt=0, description="T of exp (None: 0.1); with topk, T of its weights (None: affine weights)"
    )
    top: int = Field(16, ge=1, description="weights kept per row with topk, the pair's own among them")
    centre: Literal["none", "weights", "both"] = Field(
        "none", description="subtract the frozen features' mean: for the weights, or for weights and embedding"
    )
    dim: int | None = Field(
        None, ge=1, description="size of a shared space that a trained map leads to; None: the frozen encoder's own"
    )
    head: Literal["linear", "mlp"] = Field("linear", description="on top of the trained encoder")
    combination: Literal["sum", "mean"] = Field("sum", description="of the two directions; CLIP takes the mean")
    temperature: float = Field(0.07, gt=0, description="initial softmax temperature; the logit scale starts at 1/T")
    learn_temperature: bool = Field(True, description="train the logit scale")
    max_logit_scale: float = Field(100.0, gt=1, description="upper clamp of the logit scale after each step")
    crop_scale: tuple[float, float] = Field((0.9, 1.0), description="area range of the training crop of an image")

    @model_validator(mode="after")
    def _two_modalities(self) -> Self:
        if self.locked == self.trained:
            raise ValueError(
                f"locked = trained = {self.locked!r}: the encoder that learns takes over the structure of another "
                "modality; set one of them to another of image, text, audio"
            )
        if self.kernel_temperature is not None and self.kernel not in ("exp", "topk"):
            raise ValueError(f"kernel_temperature = {self.kernel_temperature}: the {self.kernel} kernel has none")
        return self


class Cwcl(TwoTower):
    """CWCL over a frozen encoder and any encoder to train.

    Batch keys: those of the two modalities, such as ``image``, ``text (B, L)``, ``text_mask (B, L)``.

    Example:
        >>> import torch
        >>> from accord.encoders import build_encoder
        >>> towers = {"image": build_encoder("image", "tiny_vit", freeze="all"),
        ...           "text": build_encoder("text", "tiny_text", texts=["a red ball", "a blue cup"])}
        >>> cwcl = Cwcl({}, towers, DataInfo())
        >>> ids, mask = towers["text"].input.tokenizer(["a red ball", "a blue cup"])
        >>> size = towers["image"].input.size
        >>> batch = {"image": torch.randn(2, 3, size, size), "text": ids, "text_mask": mask}
        >>> sorted(cwcl.loss(batch, Step()))
        ['kl', 'logit_scale', 'positives', 'reverse', 'total']
        >>> cwcl.embed(batch)["text"].shape
        torch.Size([2, 128])
    """

    name: ClassVar[str] = "cwcl"
    sizes_suffice: ClassVar[tuple[str, ...]] = ("audio", "image", "text")
    Config: ClassVar[type[settings.Config]] = CwclConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"}), "text": frozenset({"pooled"})}
    config: CwclConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        given, learns = encoders[self.config.locked].dim, encoders[self.config.trained].dim
        self.centre = Center(given, momentum=0.0)
        self.map = None if self.config.dim is None else _projection(given, self.config.dim)
        dim = self.config.dim or given
        self.standardise = FeatureStandardiser(learns)
        hidden = [nn.Linear(learns, learns), nn.GELU()] if self.config.head == "mlp" else []
        self.head = nn.Sequential(*hidden, _projection(learns, dim))
        self.logit_scale = LogitScale(1 / self.config.temperature, self.config.max_logit_scale)
        self.logit_scale.requires_grad_(self.config.learn_temperature)

    @classmethod
    def wants(cls, config: CwclConfig) -> Mapping[str, frozenset[str]]:
        """The pooled features of the two modalities."""
        return {modality: frozenset({"pooled"}) for modality in (config.locked, config.trained)}

    @classmethod
    def locks(cls, config: CwclConfig) -> tuple[str, ...]:
        """The frozen side."""
        return (config.locked,)

    @classmethod
    def default_encoders(cls, config: CwclConfig) -> Mapping[str, Mapping[str, Any]]:
        """A locked pretrained encoder, and one for the other side that learns from the start."""
        locked: dict[str, Mapping[str, Any]] = {"audio": _SPEECH} if config.locked == "audio" else {}
        return locked | {config.trained: _TRAINED[config.trained]}

    @property
    def views(self) -> tuple[View, ...]:
        """One mild crop where there are images."""
        return (View(scale=self.config.crop_scale, flip=0.0),) if "image" in self.needs else ()

    @torch.no_grad()
    def before_stage(self, stage: Stage, loader: Loader) -> None:
        """Check the lock; take the mean of the frozen features, and the statistics of a trained side that is frozen.

        Raises:
            ConfigError: the encoder that should be locked is trained.
        """
        locked, trained = self.config.locked, self.config.trained
        if not self.encoders[locked].frozen:
            raise ConfigError(
                f"method {self.name} takes the {locked} encoder as given, and this one would be trained: freeze it "
                f"with encoders.{locked}.freeze = all, or lock another modality with method.locked"
            )
        if self.config.centre != "none":
            self.centre.update(torch.cat([self._pooled(batch, locked) for batch in loader]))
        if self.encoders[trained].frozen:
            self.standardise.fit(torch.cat([self._pooled(batch, trained) for batch in loader]))

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        """Unit-norm embeddings ``(B, D)`` by modality, and the frozen ``reference (B, F)`` that weights come from."""
        reference, locked = self._frozen(batch)
        return {self.config.locked: locked, self.config.trained: self._learnt(batch), "reference": reference}

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """The weighted direction and the plain one, over the pairs of all processes.

        ``kl`` is what the weighted direction loses above the entropy of its targets, its floor; ``positives`` is the
        exponential of that entropy, the effective number of positives of a row.
        """
        learnt, locked, reference = (
            gather_features(towers[name], with_grad=True)
            for name in (self.config.trained, self.config.locked, "reference")
        )
        scale, weights = self.logit_scale(), self._weights(reference)
        source: dict[str, Any] = {"weights": weights} if weights is not None else {"reference": reference}
        loss = cwcl_loss(learnt, locked, scale, **source)
        with torch.no_grad():
            weighted = cwcl_loss(learnt, locked, scale, **source, reverse_weight=0.0)
            entropy = target_entropy(reference, weights=weights)
        return {
            "total": loss if self.config.combination == "sum" else loss / 2,
            "kl": weighted - entropy.mean(),
            "reverse": loss.detach() - weighted,
            "positives": entropy.exp().mean(),
            "logit_scale": scale.detach(),
        }

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Unit-norm embeddings of the modalities in the batch."""
        embeddings: dict[str, Tensor] = {}
        if self.config.locked in batch:
            embeddings[self.config.locked] = self._frozen(batch)[1]
        if self.config.trained in batch:
            embeddings[self.config.trained] = self._learnt(batch)
        return embeddings

    def after_step(self, step: Step) -> None:
        """Clamp the logit scale."""
        self.logit_scale.clamp_()

    def _frozen(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The reference ``(B, F)``, never behind anything trained, and the embedding ``(B, D)`` of the locked side."""
        with torch.no_grad():
            features = self._pooled(batch, self.config.locked)
            plain, centred = F.normalize(features, dim=-1), F.normalize(features - self.centre.center, dim=-1)
        reference = plain if self.config.centre == "none" else centred
        space = centred if self.config.centre == "both" else plain
        return reference, space if self.map is None else F.normalize(self.map(space).float(), dim=-1)

    def _learnt(self, batch: Batch) -> Tensor:
        features = self.standardise(self._pooled(batch, self.config.trained))
        return F.normalize(self.head(features).float(), dim=-1)

    def _pooled(self, batch: Batch, modality: str) -> Tensor:
        return self.encoders[modality](batch[modality], batch.get(f"{modality}_mask")).pooled.float()

    def _weights(self, reference: Tensor) -> Tensor | None:
        """Weights ``(N, N)`` of the kernel; None for the paper's, which need no matrix."""
        kernel, count = self.config.kernel, len(reference)
        if kernel == "affine":
            return None
        if kernel == "none":
            return torch.eye(count, device=reference.device)
        return similarity_weights(reference, kernel, self.config.kernel_temperature, min(self.config.top, count))


def _projection(width: int, dim: int) -> nn.Linear:
    """A linear map without bias that keeps the length of a vector on average."""
    linear = nn.Linear(width, dim, bias=False)
    nn.init.normal_(linear.weight, std=width**-0.5)
    return linear
