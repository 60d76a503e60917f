"""FILIP: Fine-grained Interactive Language-Image Pre-Training (Yao et al., ICLR 2022).

Two towers, as in CLIP, but a pair is scored token by token: every patch finds its best word, every word its best patch,
and the two scores are the means of these maxima. They enter the symmetric InfoNCE in place of the cosine; nothing
joins the towers, so tokens can be computed once and stored.
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
from accord.data.loading.features import Features
from accord.encoders.base import Encoder
from accord.encoders.pooling import masked_mean
from accord.functional import (
    contrastive_loss,
    gather_tokens,
    late_interaction,
    late_interaction_pair,
    select_tokens,
    world_size,
)
from accord.methods.abilities import LocatesWords, Rescores
from accord.methods.base import Batch, DataInfo, Group, Step, TwoTower
from accord.methods.duplicates import contrasted
from accord.state import LogitScale


class FilipConfig(settings.Config):
    """Settings of :class:`Filip`; defaults from the paper, but for ``keep``.

    The paper keeps a quarter of the tokens to afford batches of thousands of rows with hundreds of patches each. With
    few patches, short captions or batches of hundreds that costs recall and saves nothing.
    """

    dim: int = Field(256, ge=1, description="size of the space that tokens are compared in")
    temperature: float = Field(0.07, gt=0, description="initial softmax temperature; the logit scale starts at 1/T")
    learn_temperature: bool = Field(True, description="train the logit scale")
    max_logit_scale: float = Field(100.0, gt=1, description="upper clamp of the logit scale after each step")
    keep: float = Field(
        1.0, gt=0, le=1, description="share of each row's real tokens, rounded up, that the loss sees (paper: 0.25)"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="probability mass spread over the other pairs")
    duplicates: Literal["negatives", "positives", "ignored"] = Field(
        "negatives", description="what rows of a batch with the same caption are to each other"
    )
    crop_scale: tuple[float, float] = Field((0.9, 1.0), description="area range of the training crop")
    auto_augment: bool = Field(
        False, description="AutoAugment on pictures (paper: true); not where captions name colours or places"
    )


class Filip(TwoTower, Rescores, LocatesWords):
    """FILIP over any image and text encoder that gives tokens.

    Only patches and real words take part: no class token, no padding. The loss sees ``keep`` of each row's tokens,
    those with the largest similarity to any token of the other modality in this process's batch; embedding, search
    and evaluation see them all.

    Batch keys: ``image (B, 3, H, W)``, ``text (B, L)``, ``text_mask (B, L)``.

    Example:
        >>> from accord.encoders import build_encoder
        >>> towers = {"image": build_encoder("image", "tiny_vit"),
        ...           "text": build_encoder("text", "tiny_text", texts=["a red ball", "a blue cup"])}
        >>> filip = Filip({"dim": 32}, towers, DataInfo())
        >>> ids, mask = towers["text"].input.tokenizer(["a red ball", "a blue cup"])
        >>> size = towers["image"].input.size
        >>> batch = {"image": torch.randn(2, 3, size, size), "text": ids, "text_mask": mask}
        >>> sorted(filip.loss(batch, Step()))
        ['contrastive', 'logit_scale', 'total']
        >>> tokens = filip.token_features(batch)
        >>> filip.rescore(tokens["text"], tokens["image"], "text").shape  # texts × images
        torch.Size([2, 2])
    """

    name: ClassVar[str] = "filip"
    sizes_suffice: ClassVar[tuple[str, ...]] = ("image", "text")
    Config: ClassVar[type[settings.Config]] = FilipConfig
    needs: Mapping[str, frozenset[str]] = {
        "image": frozenset({"tokens"}),
        "text": frozenset({"tokens"}),
    }
    config: FilipConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.projections = nn.ModuleDict(
            {modality: nn.Linear(encoders[modality].token_dim, self.config.dim) for modality in self.needs}
        )
        self.logit_scale = LogitScale(1 / self.config.temperature, self.config.max_logit_scale)
        self.logit_scale.requires_grad_(self.config.learn_temperature)

    @property
    def views(self) -> tuple[View, ...]:
        """One mild crop, and AutoAugment where it is asked for."""
        return (View(scale=self.config.crop_scale, flip=0.0, auto_augment=self.config.auto_augment),)

    def group(self, name: str) -> Group:
        """Tables of tokens and positions go without decay, which in the paper keeps half precision finite."""
        return Group(decay=not isinstance(self.get_submodule(name.rpartition(".")[0]), nn.Embedding))

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        """For each modality its embedding ``(B, D)``, ``_tokens (B, N, D)`` of unit norm and ``_mask (B, N)``."""
        towers = {}
        for modality, encoder in self.encoders.items():
            if modality in batch:
                given, mask = encoder(batch[modality], batch.get(f"{modality}_mask")).sequence()
                tokens = F.normalize(self.projections[modality](given).float(), dim=-1)
                towers[modality] = F.normalize(masked_mean(tokens, mask), dim=-1)
                towers |= {f"{modality}_tokens": tokens, f"{modality}_mask": mask}
        return towers

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """Symmetric InfoNCE of late interaction over the rows of all processes; every process scores its own."""
        image, text = ((towers[f"{name}_tokens"], towers[f"{name}_mask"]) for name in ("image", "text"))
        if self.config.keep < 1:
            image, text = self._kept(image, text), self._kept(text, image)
        if world_size() == 1:
            scores = late_interaction_pair(image[0], text[0], text[1], image[1])
        else:
            all_image, all_text = gather_tokens(*image, with_grad=True), gather_tokens(*text, with_grad=True)
            scores = (_late_interaction(image, all_text), _late_interaction(text, all_image))  # each (b, W·b)
        scale = self.logit_scale()
        pairs = contrasted(scores[0], batch, self.config.duplicates)
        loss = contrastive_loss(scale * torch.stack(scores), *pairs, label_smoothing=self.config.label_smoothing)
        return {"total": loss, "contrastive": loss.detach(), "logit_scale": scale.detach()}

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The direction of the mean token of each row, for the first stage of a search."""
        towers = self.towers(batch)
        return {modality: towers[modality] for modality in self.needs if modality in towers}

    def token_features(self, batch: Batch) -> dict[str, Features]:
        """The tokens that pairs are scored by."""
        towers = self.towers(batch)
        return {
            modality: Features(towers[modality], towers[f"{modality}_tokens"], towers[f"{modality}_mask"])
            for modality in self.needs
            if modality in towers
        }

    def rescore(self, query: Features, candidates: Features, modality: str) -> Tensor:
        """Late interaction in the query's direction: the mean over its tokens of the similarity to their best match."""
        return _late_interaction(query.sequence(), candidates.sequence())

    def word_patch(self, batch: Batch) -> Tensor:
        """Cosine of every word with every patch of its own picture."""
        towers = self.towers(batch)
        similarity = torch.einsum("bld,bnd->bln", towers["text_tokens"], towers["image_tokens"])
        return similarity.masked_fill(~towers["text_mask"][:, :, None], 0.0)

    def after_step(self, step: Step) -> None:
        """Clamp the logit scale."""
        self.logit_scale.clamp_()

    def _kept(self, own: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Tokens and mask of what stays of one modality, chosen by the other."""
        index, mask = select_tokens(own[0], other[0], self.config.keep, query_mask=own[1], key_mask=other[1])
        return own[0].take_along_dim(index[..., None], dim=1), mask


def _late_interaction(query: tuple[Tensor, Tensor], key: tuple[Tensor, Tensor]) -> Tensor:
    return late_interaction(query[0], key[0], query[1], key[1])
