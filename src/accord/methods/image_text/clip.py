"""CLIP: Learning Transferable Visual Models From Natural Language Supervision (Radford et al., ICML 2021).

Two towers, one linear projection each, and the symmetric InfoNCE of the batch's pairs under a learnable,
clamped logit scale. The common baseline of every image-text method here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.views import View
from accord.encoders.base import Encoder
from accord.functional import ClipLoss
from accord.methods.base import Batch, DataInfo, Step, TwoTower
from accord.methods.duplicates import Choice, caption_ids
from accord.state import LogitScale


class ClipConfig(settings.Config):
    """Settings of :class:`Clip`; defaults from the paper and its reference training code."""

    dim: int = Field(512, ge=1, description="size of the shared embedding space (512 for ViT-B)")
    temperature: float = Field(0.07, gt=0, description="initial softmax temperature; the logit scale starts at 1/T")
    learn_temperature: bool = Field(True, description="train the logit scale")
    max_logit_scale: float = Field(100.0, gt=1, description="upper clamp of the logit scale after each step")
    local_loss: bool = Field(True, description="each process scores its own rows only: O(bB) memory, same gradient")
    gather_with_grad: bool = Field(True, description="gradient flows through gathered features (needed for local_loss)")
    crop_scale: tuple[float, float] = Field((0.9, 1.0), description="area range of the training crop")
    duplicates: Choice = Field(
        "negatives", description="what rows of a batch with the same caption are to each other; dropped: one is left"
    )


class Clip(TwoTower):
    """CLIP over any image and text encoder.

    Batch keys: ``image (B, 3, H, W)``, ``text (B, L)``, ``text_mask (B, L)``.

    Example:
        >>> import torch
        >>> from accord.encoders import build_encoder
        >>> towers = {"image": build_encoder("image", "tiny_vit"),
        ...           "text": build_encoder("text", "tiny_text", texts=["a red ball", "a blue cup"])}
        >>> clip = Clip({"dim": 32}, towers, DataInfo())
        >>> ids, mask = towers["text"].input.tokenizer(["a red ball", "a blue cup"])
        >>> size = towers["image"].input.size
        >>> batch = {"image": torch.randn(2, 3, size, size), "text": ids, "text_mask": mask}
        >>> sorted(clip.loss(batch, Step()))
        ['contrastive', 'logit_scale', 'total']
        >>> clip.embed(batch)["text"].shape
        torch.Size([2, 32])
    """

    name: ClassVar[str] = "clip"
    sizes_suffice: ClassVar[tuple[str, ...]] = ("image", "text")
    Config: ClassVar[type[settings.Config]] = ClipConfig
    needs: Mapping[str, frozenset[str]] = {
        "image": frozenset({"pooled"}),
        "text": frozenset({"pooled"}),
    }
    config: ClipConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.projections = nn.ModuleDict()
        for modality in self.needs:
            width = encoders[modality].dim
            self.projections[modality] = nn.Linear(width, self.config.dim, bias=False)
            nn.init.normal_(self.projections[modality].weight, std=width**-0.5)  # type: ignore[arg-type]
        self.logit_scale = LogitScale(1 / self.config.temperature, self.config.max_logit_scale)
        self.logit_scale.requires_grad_(self.config.learn_temperature)
        self.contrast = ClipLoss(self.config.local_loss, self.config.gather_with_grad)

    @property
    def views(self) -> tuple[View, ...]:
        """One mild crop, nothing else."""
        return (View(scale=self.config.crop_scale, flip=0.0),)

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        """Unit-norm embeddings ``image (B, D)`` and ``text (B, D)``."""
        return self.embed(batch)

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """Symmetric InfoNCE over the global batch."""
        scale, choice = self.logit_scale(), self.config.duplicates
        pairs = tuple(self.embeddings(towers).values())
        if choice == "negatives":
            loss = self.contrast(*pairs, scale)
        else:
            loss = self.contrast(*pairs, scale, caption_ids(batch), choice)
        return {"total": loss, "contrastive": loss.detach(), "logit_scale": scale.detach()}

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Unit-norm embeddings of the modalities in the batch."""
        return {modality: F.normalize(vectors, dim=-1) for modality, vectors in self.vectors(batch).items()}

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """The same before they are made unit norm."""
        found = {}
        for modality, encoder in self.encoders.items():
            if modality in batch:
                pooled = encoder(batch[modality], batch.get(f"{modality}_mask")).pooled  # (B, D_modality)
                found[modality] = self.projections[modality](pooled).float()
        return found

    def after_step(self, step: Step) -> None:
        """Clamp the logit scale."""
        self.logit_scale.clamp_()
