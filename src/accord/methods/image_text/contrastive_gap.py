"""It's Not a Modality Gap: Characterizing and Addressing the Contrastive Gap (Fahim, Murphy and Fyshe, 2024).

CLIP leaves the embeddings of its two towers in separate regions of the sphere, and does so even when both see the
same modality. Terms that spread each side (uniformity), pull pairs together (alignment) and spread each side from the
other (cross-uniformity) close the gap. They are a loss on embeddings alone, so they can be added to any paired
method (:class:`GapClosing`); with CLIP under a fixed temperature they are the paper's method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from accord import config as settings
from accord.data.augmenting.views import View
from accord.encoders.base import Encoder
from accord.functional import alignment, cross_uniformity, first_of_each, gather_features, uniformity
from accord.methods.base import Batch, DataInfo, Objective, Step
from accord.methods.duplicates import Choice, caption_ids
from accord.methods.image_text.clip import Clip, ClipConfig


class GapClosingConfig(settings.Config):
    """Settings of :class:`GapClosing`: the paper's CUA; with ``cross_uniformity=1`` its CUAXU."""

    uniformity: float = Field(1.0, ge=0, description="weight of the uniformity of each modality, L_U")
    alignment: float = Field(1.0, ge=0, description="weight of the distance of the pairs, L_A")
    cross_uniformity: float = Field(0.0, ge=0, description="weight of the uniformity across modalities, L_XU")
    t: float = Field(2.0, gt=0, description="sharpness of the uniformity kernel exp(-t d²)")


class GapClosing(Objective):
    """``w_U L_U + w_A L_A + w_XU L_XU`` on the embeddings of a batch, gathered over all processes.

    Each term is a mean over modalities, or over pairs of them where there are more than two.

    Example:
        >>> closing = GapClosing({"cross_uniformity": 1})
        >>> {name: round(term.item(), 2) for name, term in closing({"image": torch.eye(2), "text": torch.eye(2)},
        ...                                                        Step()).items()}
        {'uniformity': -4.0, 'alignment': 0.0, 'cross_uniformity': -4.0, 'total': -8.0}
    """

    name: ClassVar[str] = "contrastive_gap"
    Config: ClassVar[type[settings.Config]] = GapClosingConfig
    config: GapClosingConfig

    def forward(self, embeddings: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        """The terms in use, unweighted, and their weighted ``total``."""
        return self.terms([gather_features(rows.float(), with_grad=True) for rows in embeddings.values()])

    def terms(self, sides: Sequence[Tensor]) -> dict[str, Tensor]:
        """The same of all rows of all processes, ``(N, D)`` of each modality."""
        pairs = list(combinations(sides, 2))
        t, weights = self.config.t, self.config.model_dump(exclude={"t"})
        terms: dict[str, Tensor] = {}
        if weights["uniformity"]:
            terms["uniformity"] = torch.stack([uniformity(side, t) for side in sides]).mean()
        if weights["alignment"]:
            terms["alignment"] = torch.stack([alignment(x, y) for x, y in pairs]).mean()
        if weights["cross_uniformity"]:
            terms["cross_uniformity"] = torch.stack([cross_uniformity(x, y, t) for x, y in pairs]).mean()
        total = sum((weights[name] * term for name, term in terms.items()), start=sides[0].new_zeros(()))
        return {**terms, "total": total}


class ContrastiveGapConfig(ClipConfig):
    """Settings of :class:`ContrastiveGap`; defaults from the paper's CUA, and from its released code.

    That code sees whole pictures, holds the temperature fixed, and takes one row of each caption in a batch. A learned
    temperature changes the balance with the other terms, which are of order 1 whatever it is.
    """

    dim: int = Field(128, ge=1, description="size of the shared embedding space (32, 64 and 128 in the paper)")
    temperature: float = Field(0.01, gt=0, description="softmax temperature")
    learn_temperature: bool = Field(False, description="train the logit scale")
    crop_scale: tuple[float, float] = Field(
        (1.0, 1.0), description="area range of the training crop; (1, 1): pictures as evaluation sees them"
    )
    duplicates: Choice = Field(
        "dropped", description="what rows of a batch with the same caption are to each other; dropped: one is left"
    )
    gap: GapClosingConfig = Field(default_factory=GapClosingConfig, description="the terms that close the gap")


class ContrastiveGap(Clip):
    """CLIP with a fixed temperature and the terms that close the gap.

    Batch keys: ``image (B, 3, H, W)``, ``text (B, L)``, ``text_mask (B, L)``.

    Example:
        >>> from accord.encoders import build_encoder
        >>> towers = {"image": build_encoder("image", "tiny_vit"),
        ...           "text": build_encoder("text", "tiny_text", texts=["a red ball", "a blue cup"])}
        >>> method = ContrastiveGap({"dim": 32, "gap": {"cross_uniformity": 1}}, towers, DataInfo())
        >>> ids, mask = towers["text"].input.tokenizer(["a red ball", "a blue cup"])
        >>> size = towers["image"].input.size
        >>> batch = {"image": torch.randn(2, 3, size, size), "text": ids, "text_mask": mask}
        >>> list(method.loss(batch, Step()))
        ['total', 'contrastive', 'logit_scale', 'uniformity', 'alignment', 'cross_uniformity']
    """

    name: ClassVar[str] = "contrastive_gap"
    Config: ClassVar[type[settings.Config]] = ContrastiveGapConfig
    config: ContrastiveGapConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.closing = GapClosing(self.config.gap)

    @property
    def views(self) -> tuple[View, ...]:
        """A mild crop, if there is one."""
        return () if self.config.crop_scale == (1.0, 1.0) else super().views

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """``L_CLIP + w_U L_U + w_A L_A + w_XU L_XU``."""
        terms = super().objective(towers, batch, step)
        closing = self.closing.terms(self._counted(towers, batch))
        total = terms.pop("total") + closing.pop("total")
        return {"total": total, **terms, **{name: term.detach() for name, term in closing.items()}}

    def _counted(self, towers: dict[str, Tensor], batch: Batch) -> list[Tensor]:
        """The embeddings of all processes that the added terms are of, image and text."""
        sides = [gather_features(rows, with_grad=True) for rows in self.embeddings(towers).values()]
        if self.config.duplicates != "dropped":
            return sides
        first = first_of_each(gather_features(caption_ids(batch), with_grad=False))
        return [side[first] for side in sides]
