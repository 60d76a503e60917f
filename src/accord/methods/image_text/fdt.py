"""FDT: Revisiting Multimodal Representation in Contrastive Learning (Chen et al., CVPR 2023).

Patches and words are looked up in one codebook of learned vectors. The relevance of an entry is pooled over patches
or words, sparsemax turns it into sparse weights, and an embedding is the weighted sum of entries: pictures and texts
become combinations of the same vectors, which can be read as concepts. The loss is CLIP's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from accord import config as settings
from accord.data.augmenting.views import STRONG_COLOURS, View
from accord.data.loading.features import Stream
from accord.encoders.base import Encoder
from accord.encoders.codebook import FDTHead
from accord.encoders.freezing import freeze_patch_convolution
from accord.errors import ConfigError
from accord.functional import ClipLoss, codebook_orthogonality
from accord.methods.abilities import Concepts, SpeaksInConcepts
from accord.methods.base import Batch, DataInfo, Loader, Stage, Step, TwoTower
from accord.state import LogitScale

INITIAL_SCALE = 1 / 0.07  # as CLIP's; the lower clamp lifts it


class FdtConfig(settings.Config):
    """Settings of :class:`Fdt`; defaults from the paper and its released configuration for CC3M.

    The temperature is set by the share of the codebook that is active at the start. The paper's fixed 1000 is that
    share for its 16,384 entries (29 %); with 512 entries the same number would leave none inactive.
    """

    num_tokens: int = Field(16384, ge=4, description="entries of the codebook; a few hundred do for small data")
    dim: int = Field(512, ge=1, description="size of an entry and of the embeddings")
    pool: Literal["max", "mean", "sum"] = Field("max", description="relevance of an entry over patches or words")
    activation: Literal["sparsemax", "softmax", "sigmoid"] = Field(
        "sparsemax", description="from relevance to weights; only sparsemax has exact zeros"
    )
    pad_mode: Literal["exclude", "zero"] = Field(
        "exclude", description="padding takes no part, or counts as a word of relevance 0 as in the released code"
    )
    temperature: float | None = Field(
        None, gt=0, description="divides the relevance; none sets it before training by initial_support"
    )
    initial_support: float = Field(
        0.3, gt=0, lt=1, description="share of the codebook active at the start, where temperature is none"
    )
    temperature_decay: float = Field(1.0, gt=0, le=1, description="factor on the temperature every decay_steps")
    decay_steps: int = Field(2700, ge=1, description="steps between two decays; 2700 is an epoch of CC3M")
    min_temperature: float = Field(0.01, gt=0, description="where the decay ends")
    min_logit_scale: float = Field(math.exp(3), ge=1, description="lower clamp of the logit scale after each step")
    max_logit_scale: float = Field(100.0, gt=1, description="upper clamp of the logit scale after each step")
    last_norm: bool = Field(
        False, description="take the patches of a ViT behind its last norm; the paper takes them before it"
    )
    freeze_patches: bool = Field(True, description="hold a ViT's patch convolution as it is at the start")
    orthogonality: float = Field(0.0, ge=0, description="weight of the penalty on codebook entries that look alike")
    local_loss: bool = Field(True, description="each process scores its own rows only: O(bB) memory, same gradient")
    gather_with_grad: bool = Field(True, description="gradient flows through gathered features (needed for local_loss)")
    crop_scale: tuple[float, float] = Field((0.2, 1.0), description="area range of the training crop")
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring; 0 where captions tell left from right")
    colours: bool = Field(True, description="colour jitter, grey and blur; off where captions name colours")

    @model_validator(mode="before")
    @classmethod
    def _before_there_was_a_choice(cls, values: Any) -> Any:
        """Finished runs of before say all that there was to say; their patches came behind the norm."""
        new = {"last_norm", "freeze_patches"}
        if isinstance(values, dict) and not new & values.keys() and cls.model_fields.keys() - new <= values.keys():
            return {**values, "last_norm": True, "freeze_patches": False}
        return values


class Fdt(TwoTower, SpeaksInConcepts):
    """CLIP whose embeddings are sparse combinations of one codebook, over any encoders that give tokens.

    Batch keys: ``image (B, 3, H, W)``, ``text (B, L)``, ``text_mask (B, L)``. Words come behind the text encoder's last
    norm, patches before that of a ViT; those of other networks have none.

    The loss terms ``active_image`` and ``active_text`` are the share of the codebook that an input activates, and
    ``unused`` is the share that no input of the batch does.

    Example:
        >>> from accord.encoders import build_encoder
        >>> towers = {"image": build_encoder("image", "tiny_vit"),
        ...           "text": build_encoder("text", "tiny_text", texts=["a red ball", "a blue cup"])}
        >>> fdt = Fdt({"num_tokens": 64, "dim": 32}, towers, DataInfo())
        >>> ids, mask = towers["text"].input.tokenizer(["a red ball", "a blue cup"])
        >>> size = towers["image"].input.size
        >>> batch = {"image": torch.randn(2, 3, size, size), "text": ids, "text_mask": mask}
        >>> sorted(fdt.loss(batch, Step()))
        ['active_image', 'active_text', 'contrastive', 'logit_scale', 'total', 'unused']
        >>> fdt.embed(batch)["text"].shape, fdt.concepts(batch)["image"].weights.shape
        (torch.Size([2, 32]), torch.Size([2, 64]))
    """

    name: ClassVar[str] = "fdt"
    Config: ClassVar[type[settings.Config]] = FdtConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"tokens"}), "text": frozenset({"tokens"})}
    config: FdtConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        config, image = self.config, encoders["image"]
        if not config.last_norm and "prenorm" in image.gives:
            self.needs = {**self.needs, "image": frozenset({"prenorm"})}
            image.get_submodule("model.norm").requires_grad_(False)  # what comes behind it is not used
        if config.freeze_patches and "layers" in image.gives:
            freeze_patch_convolution(image)
        if config.temperature is None and config.activation != "sparsemax":
            raise ConfigError(
                f"temperature = None is set by how much sparsemax leaves active, and {config.activation} leaves all: "
                "give method.temperature a number"
            )
        self.head = FDTHead(
            {modality: encoders[modality].dim for modality in self.needs},
            config.num_tokens,
            config.dim,
            pool=config.pool,
            activation=config.activation,
            pad_mode=config.pad_mode,
            temperature=config.temperature,
        )
        self.logit_scale = LogitScale(
            max(INITIAL_SCALE, config.min_logit_scale), config.max_logit_scale, config.min_logit_scale
        )
        self.contrast = ClipLoss(config.local_loss, config.gather_with_grad)

    @property
    def views(self) -> tuple[View, ...]:
        """One crop, mirrored and recoloured (the augmentation of MoCo v2)."""
        colours = STRONG_COLOURS if self.config.colours else {}
        return (View(scale=self.config.crop_scale, flip=self.config.flip, **colours),)

    @torch.no_grad()
    def before_stage(self, stage: Stage, loader: Loader) -> None:
        """Set the temperature on the first batch of rows, so that ``initial_support`` of the codebook is active."""
        if self.config.temperature is None:
            features = self._tokens(next(iter(loader)))
            self.head.calibrate_(
                {m: (found.values, found.mask) for m, found in features.items()}, self.config.initial_support
            )

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        """Unit-norm embeddings ``image (B, D)``, ``text (B, D)``, and their weights ``image_weights (B, C)`` …"""
        outputs = {}
        for modality, found in self._tokens(batch).items():
            weights, embedding = self.head(modality, found.values, found.mask)
            outputs[modality] = F.normalize(embedding, dim=-1)
            outputs[f"{modality}_weights"] = weights.detach()
        return outputs

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """Symmetric InfoNCE over the global batch, and the penalty on the codebook."""
        scale = self.logit_scale()
        loss = self.contrast(towers["image"], towers["text"], scale)
        terms = {"total": loss, "contrastive": loss.detach(), "logit_scale": scale.detach()}
        if self.config.orthogonality:
            penalty = codebook_orthogonality(self.head.codebook)
            terms |= {"total": loss + self.config.orthogonality * penalty, "orthogonality": penalty.detach()}
        active = {modality: towers[f"{modality}_weights"] > 0 for modality in self.needs}
        terms |= {f"active_{modality}": rows.float().mean() for modality, rows in active.items()}
        terms["unused"] = 1 - torch.cat(list(active.values())).any(dim=0).float().mean()
        return terms

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Unit-norm embeddings of the modalities in the batch."""
        towers = self.towers(batch)
        return {modality: towers[modality] for modality in self.needs if modality in towers}

    def concepts(self, batch: Batch) -> dict[str, Concepts]:
        """The entries that the inputs activate, and their relevance over the temperature to each patch and word."""
        return {
            modality: Concepts(
                weights=self.head(modality, found.values, found.mask)[0],
                relevance=self.head.relevance(modality, found.values),
                mask=found.mask,
            )
            for modality, found in self._tokens(batch).items()
        }

    def after_step(self, step: Step) -> None:
        """Clamp the logit scale, and lower the temperature when it is time."""
        self.logit_scale.clamp_()
        if self.config.temperature_decay < 1 and (step.index + 1) % self.config.decay_steps == 0:
            self.head.decay_(self.config.temperature_decay, self.config.min_temperature)

    def _tokens(self, batch: Batch) -> dict[str, Stream]:
        """What is looked up in the codebook, of the modalities in the batch."""
        return {
            modality: encoder(batch[modality], batch.get(f"{modality}_mask")).stream(*self.needs[modality])
            for modality, encoder in self.encoders.items()
            if modality in batch
        }
