"""G2L: Semantically Aligned and Uniform Video Grounding via Geodesic and Game Theory (Li et al., ICCV 2023).

When does something happen in a film that a sentence says? Every moment is a cell of a sparse map, and cells and
sentences meet in two spaces: one says how far a moment overlaps with that of the sentence, the other contrasts them.
MMN (Wang et al. 2022), the baseline that ``contrast="mmn"`` trains with the same network, takes whatever nobody
annotated as a negative. G2L asks how near moments are along the graph of their neighbours, and a game between
sentences and moments says which belong together. Both are for training alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from accord import config as settings
from accord.encoders.base import Encoder
from accord.errors import ConfigError
from accord.functional import (
    best_moments,
    gather_features,
    gather_tokens,
    geodesic_contrastive_loss,
    geodesic_similarity,
    interaction_alignment_loss,
    mutual_matching_loss,
    official_interaction_loss,
    pairwise_interaction,
    rank,
    scaled_iou_bce,
    world_size,
)
from accord.methods.base import Batch, DataInfo, Group, Stage, Step
from accord.methods.video.grounding import SHARPNESS, Asked, Grounder, GroundingConfig, asked_of, own_cosines

HOPS = 64  # edges of a path on an accelerator; within the cut-off there are some thirty
FREEZE = 4  # epochs, of a pretrained text encoder


class G2lConfig(GroundingConfig):
    """Settings of :class:`G2l`; defaults from the released code on ActivityNet Captions."""

    contrast: Literal["soft_positive", "official", "mmn"] = Field(
        "soft_positive",
        description="moments near along the graph share the target; as in the released code; or MMN without a graph",
    )
    contrast_weight: float = Field(0.1, ge=0, description="weight of the contrast")
    contrast_epochs: int = Field(5, ge=0, description="epochs with that weight")
    late_weight: float = Field(0.01, ge=0, description="factor on it, and on that of the game, in later epochs")
    temperature: float = Field(0.1, gt=0, description="softmax temperature")
    margin: float = Field(0.3, ge=0, description="taken from the cosine of a moment with its sentence")
    top_k: int = Field(1, ge=1, description="best overlapping moments that are positives; more than 1 with mmn alone")
    negative_iou: float = Field(0.5, gt=0, le=1, description="overlap from which a moment is no negative")
    removal_iou: float = Field(0.5, gt=0, le=1, description="overlap from which sentences of a film are no negatives")
    overlap: tuple[float, float] = Field((0.5, 1.0), description="overlaps that are targets of 0 and of 1")
    geo_k: int = Field(5, ge=1, description="neighbours of a moment in the graph")
    geo_topk: int = Field(5, ge=1, description="how many of the nearest moments are positives")
    geo_cutoff: float = Field(0.5, gt=0, le=1, description="length at which paths are cut")
    other_scale: float | None = Field(
        0.02, gt=0, description="official: mean weight of other films' moments; null as released, which needs many"
    )
    interaction_weight: float = Field(5e-4, ge=0, description="weight of the game of sentences and moments; 0 is off")
    interaction: Literal["second_difference", "official"] = Field(
        "second_difference", description="what a sentence and a moment bring together; or as the released code has it"
    )
    interaction_moments: int = Field(7, ge=1, description="moments of a sentence that play, nearest and likeliest each")
    text_lr: float = Field(0.1, gt=0, description="learning rate of a pretrained text encoder over that of the rest")
    freeze_epochs: int | None = Field(
        None, ge=0, description=f"epochs before encoders are trained; null: {FREEZE} with a pretrained text encoder"
    )

    @model_validator(mode="after")
    def _one_source_of_paths(self) -> Self:
        if self.top_k > 1 and self.contrast != "mmn":
            raise ValueError(f"top_k = {self.top_k}: paths start from one moment, so more than 1 needs contrast=mmn")
        if not 0 <= self.overlap[0] < self.overlap[1] <= 1:
            raise ValueError(f"overlap = {self.overlap}: two numbers in [0, 1], the first one smaller")
        return self


class G2l(Grounder):
    """G2L over precomputed features or any video encoder, and any text encoder that gives words.

    Batch keys: ``sequence (B, T, F)`` and its mask, or ``video`` and its mask; ``moments (B, S, 2)``,
    ``moment_present``, ``moment_text``, ``duration (B,)``.

    Example:
        >>> from accord.encoders import build_encoder
        >>> words = ["a cat runs", "a dog sleeps"]
        >>> encoders = {"sequence": build_encoder("sequence", {"name": "steps", "features": 6}),
        ...             "text": build_encoder("text", "tiny_text", texts=words)}
        >>> small = {"num_clips": 8, "pooling_counts": (7,), "hidden": 8, "dim": 8, "kernel": 3}
        >>> g2l = G2l(small, encoders, DataInfo()).eval()
        >>> found = g2l.find_moments({"sequence": torch.randn(1, 16, 6), "duration": torch.tensor([32.0]),
        ...                           "moment_text": [words]})
        >>> found[0].spans.shape
        torch.Size([2, 10, 2])
    """

    name: ClassVar[str] = "g2l"
    Config: ClassVar[type[settings.Config]] = G2lConfig
    config: G2lConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg = self.config
        if len(self.cells) <= max(cfg.geo_k, cfg.geo_topk):
            raise ConfigError(
                f"method g2l: num_clips = {cfg.num_clips} with pooling_counts = {cfg.pooling_counts} are "
                f"{len(self.cells)} moments, too few for geo_k = {cfg.geo_k} and geo_topk = {cfg.geo_topk}: take more "
                "clips"
            )

    @classmethod
    def default_training(cls, config: Any) -> Mapping[str, Any]:
        """The paper's optimiser."""
        return {"lr": 8e-4, "batch_size": 48, "betas": (0.9, 0.99), "weight_decay": 1e-5, "grad_clip": 5.0}

    # --- training ---

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One, in whose first epochs encoders may rest."""
        usual = FREEZE if self.encoders["text"].pretrained and not self.encoders["text"].frozen else 0
        chosen = self.config.freeze_epochs
        return (Stage(freeze_epochs=usual if chosen is None else chosen),)

    def group(self, name: str) -> Group:
        """A pretrained text encoder learns more slowly."""
        slow = name.startswith("encoders.text.") and self.encoders["text"].pretrained
        return Group(lr_scale=self.config.text_lr if slow else 1.0)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """How far moments overlap, the contrast of moments and sentences, and their game."""
        cfg, asked = self.config, asked_of(batch, self.device)
        moments, sentences = self.moments(batch), self.sentences(asked.texts, asked.counts)
        iou = self.overlaps(asked, batch["duration"])  # (A, P)
        scores = (SHARPNESS * own_cosines(sentences.overlap, moments.overlap, asked.owner)).sigmoid()
        share = _share(asked.real, self.device)
        terms = {"overlap": share * scaled_iou_bce(scores, iou, *cfg.overlap)}
        nearness = None if cfg.contrast == "mmn" else self._nearness(moments.contrast, iou, asked.owner)
        terms |= {
            name: share * value
            for name, value in self._contrast(moments.contrast, sentences.contrast, asked, iou, nearness).items()
        }
        weighed = cfg.contrast_weight * (terms["sentences of moments"] + terms["moments of sentences"])
        if nearness is not None and cfg.interaction_weight:
            terms["game"] = self._game(moments.contrast, sentences.contrast, asked, nearness)
            weighed = weighed + cfg.interaction_weight * terms["game"]
        late = 1.0 if step.epoch < cfg.contrast_epochs else cfg.late_weight
        return {"total": terms["overlap"] + late * weighed} | {name: term.detach() for name, term in terms.items()}

    def _nearness(self, moments: Tensor, iou: Tensor, owner: Tensor) -> Tensor:
        """Geodesic similarity ``(A, P)`` of all moments to that of each sentence."""
        cfg, source = self.config, best_moments(iou)[:, 0]
        return geodesic_similarity(moments.detach().mT, source, cfg.geo_k, cfg.geo_cutoff, owner=owner, hops=HOPS)

    def _contrast(
        self, moments: Tensor, sentences: Tensor, asked: Asked, iou: Tensor, nearness: Tensor | None
    ) -> dict[str, Tensor]:
        """The two directions, the keys those of all processes."""
        cfg, unit = self.config, F.normalize(sentences.float(), dim=1)
        keys = gather_features(moments.float(), with_grad=True)  # (V, D, P)
        owner = asked.owner + rank() * len(moments)
        to_sentences, to_moments = mutual_matching_loss(
            F.normalize(keys, dim=1),
            unit,
            owner,
            iou,
            asked.spans,
            tau=cfg.temperature,
            margin=cfg.margin,
            top_k=cfg.top_k,
            neg_iou=cfg.negative_iou,
            removal_iou=cfg.removal_iou,
            elsewhere=_elsewhere(unit, asked.real),
        )
        if nearness is not None:
            to_moments = geodesic_contrastive_loss(
                keys,
                unit,
                owner,
                iou,
                tau=cfg.temperature,
                geo_topk=cfg.geo_topk,
                neg_iou=cfg.negative_iou,
                form="official" if cfg.contrast == "official" else "soft_positive",
                other_scale=cfg.other_scale,
                geodesic=nearness,
            )
        return {"sentences of moments": to_sentences, "moments of sentences": to_moments}

    def _game(self, moments: Tensor, sentences: Tensor, asked: Asked, nearness: Tensor) -> Tensor:
        """Agreement of the alignment of sentences and moments with their interaction, summed over all films."""
        unit, total = F.normalize(moments.float(), dim=1), moments.new_zeros((), dtype=torch.float32)
        most = min(self.config.interaction_moments, unit.shape[2])
        rows = F.normalize(sentences.float(), dim=1).split(asked.counts)
        for film, words, near in zip(unit, rows, nearness.split(asked.counts), strict=True):
            if not len(words):
                continue
            cosine = words @ film  # (n, P)
            best = [given.argsort(dim=1, descending=True, stable=True)[:, :most] for given in (near, cosine.detach())]
            chosen = torch.cat(best, dim=1).flatten()  # (n·2R,), a moment may stand there twice
            if self.config.interaction == "official":
                total = total - official_interaction_loss(words, film[:, chosen].T)  # the released model turns the sign
            else:
                playing = cosine[:, chosen]
                total = total + interaction_alignment_loss(playing, pairwise_interaction(playing))
        return total * (world_size() if asked.real else 0)


def _share(count: int, device: torch.device) -> Tensor | float:
    """Factor that makes a mean over the sentences of this process its part of the mean over those of all."""
    if world_size() == 1:
        return float(count > 0)
    counts = gather_features(torch.tensor([float(count)], device=device), with_grad=False)
    return count * world_size() / counts.sum().clamp(min=1)


def _elsewhere(sentences: Tensor, real: int) -> Tensor | None:
    """The sentences ``(A', D)`` of the other processes."""
    if world_size() == 1:
        return None
    there = torch.full((1, len(sentences)), real > 0, device=sentences.device)
    rows, there = gather_tokens(sentences[None], there, with_grad=True)  # (W, A, D)
    there[rank()] = False
    return rows[there]
