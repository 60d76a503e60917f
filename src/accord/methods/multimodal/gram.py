"""GRAM: Gramian Multimodal Representation Learning and Alignment (Cicchetti et al., ICLR 2025).

How well the modalities of a row agree is the volume that their unit vectors span: small where all point the same way.
Minus the volume takes the place of the cosine in a symmetric contrast between an anchor, usually the text, and the
tuple of all other modalities. A matching head reads anchor and others together and tells right from hard wrong tuples,
which are drawn by volume. Rows may lack modalities: the volume is that of those present, at the size that it would have
with all of them. Between orthogonal vectors, as at the start, volumes have hardly any gradient; the paper starts from a
model of cosines, and here the first share of the steps contrasts the cosines of the anchor with each modality.
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
from accord.data.loading.features import Features
from accord.data.modalities import ModalityName
from accord.encoders.base import Encoder
from accord.encoders.fusion import FusionEncoder, gather_sequences
from accord.functional import (
    contrastive_logits,
    contrastive_loss,
    gather_features,
    joint_scores,
    matching_pairs,
    own_rows,
    score_and_cosine,
    tuple_scores,
    warmup_cosine_at,
    world_size,
)
from accord.methods.abilities import Ability, RescoresTuples, ScoresTuples
from accord.methods.base import Batch, DataInfo, Group, Method, Step
from accord.state import Temperature


class GramConfig(settings.Config):
    """Settings of :class:`Gram`; defaults from the paper and its released code."""

    modalities: tuple[ModalityName, ...] = Field(("text", "image", "audio"), min_length=2, description="in any order")
    anchor: ModalityName = Field("text", description="the modality that the others are compared with")
    every_anchor: bool = Field(False, description="the mean of the loss with each modality as anchor")
    dim: int = Field(512, ge=2, description="size of the shared space; at least the number of modalities")
    score: Literal["volume", "distance", "logvol"] = Field(
        "volume", description="distance leaves out the volume of the others, which makes hubs; logvol is its logarithm"
    )
    temperature: float = Field(0.07, ge=0.01, le=1, description="initial temperature; it stays in [0.01, 1]")
    temperature_lr: float = Field(0.1, ge=0, description="its learning rate over that of the rest")
    warm_start: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the steps, the first ones, that contrast the cosines of the anchor with each modality",
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of the target that goes to all candidates")
    cosine_weight: float = Field(0.0, ge=0, description="weight of InfoNCE on the mean cosine, which sees signs")
    matching_weight: float = Field(0.1, ge=0, description="weight of the matching loss; 0 leaves its head out")
    fusion_depth: int = Field(2, ge=1, description="layers of the encoder that the matching head stands on")
    fusion_heads: int | None = Field(None, ge=1, description="its attention heads; None for one per 64 dimensions")
    crop_scale: tuple[float, float] = Field((0.9, 1.0), description="area range of the training crop of images")

    @model_validator(mode="after")
    def _an_anchor_among_different_modalities(self) -> Self:
        if len(set(self.modalities)) < len(self.modalities) or self.anchor not in self.modalities:
            raise ValueError(f"modalities = {self.modalities}: each once, and the anchor {self.anchor!r} among them")
        if self.dim < len(self.modalities):
            raise ValueError(f"dim = {self.dim}: fewer dimensions than modalities have no volume")
        return self


class Gram(Method, ScoresTuples, RescoresTuples):
    """GRAM over any encoders.

    Batch keys: the modalities and their masks; of rows that may be incomplete also ``image_present (B,)`` and so on.

    Example:
        >>> from accord.encoders import build_encoder
        >>> words = ["a red ball", "a blue cup", "a tree"]
        >>> towers = {"image": build_encoder("image", "tiny_vit"),
        ...           "audio": build_encoder("audio", "tiny_audio"),
        ...           "text": build_encoder("text", {"name": "tiny_text", "pool": "mean"}, texts=words)}
        >>> gram = Gram({"dim": 16, "fusion_depth": 1}, towers, DataInfo())
        >>> ids, mask = towers["text"].input.tokenizer(words)
        >>> batch = {"image": torch.randn(3, 3, 64, 64), "text": ids, "text_mask": mask,
        ...          "audio": torch.randn(3, 80, 30), "audio_mask": torch.ones(3, 30, dtype=torch.bool)}
        >>> sorted(gram.loss(batch, Step()))
        ['anchor_cosines', 'matching', 'temperature', 'total']
        >>> z = gram.embed(batch)
        >>> gram.score_tuples({"text": z["text"], "audio": z["audio"]}, {"image": z["image"]}).shape
        torch.Size([3, 3])
    """

    name: ClassVar[str] = "gram"
    sizes_suffice: ClassVar[tuple[str, ...]] = ("audio", "image", "text")
    Config: ClassVar[type[settings.Config]] = GramConfig
    needs: Mapping[str, frozenset[str]] = {}
    config: GramConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg = self.config
        self.others = tuple(name for name in cfg.modalities if name != cfg.anchor)
        self.projections = nn.ModuleDict(
            {name: nn.Linear(encoders[name].dim, cfg.dim, bias=False) for name in self.needs}
        )
        self.temperature = Temperature(cfg.temperature, 0.01, 1.0)
        if cfg.matching_weight:
            width = encoders[cfg.anchor].token_dim
            self.conditions = nn.ModuleDict(
                {
                    name: nn.Sequential(nn.Linear(encoders[name].token_dim, width), nn.LayerNorm(width))
                    for name in self.others
                }
            )
            self.kinds = nn.ParameterDict({name: nn.Parameter(0.02 * torch.randn(width)) for name in self.others})
            self.frames = nn.ParameterDict(
                {
                    name: nn.Parameter(0.02 * torch.randn(encoders[name].input.frames, width))  # type: ignore[union-attr]
                    for name in self.others
                    if "frames" in encoders[name].gives
                }
            )
            self.register_load_state_dict_pre_hook(_without_frames)
            self.fusion = FusionEncoder(width, cfg.fusion_depth, cfg.fusion_heads, width)
            self.matching = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, 2))

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """A vector of each modality, and tokens for the matching head."""
        wanted = {"pooled", "tokens"} if config.matching_weight else {"pooled"}
        return {name: frozenset(wanted) for name in config.modalities}

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """For sound a small network to train; for the rest the usual ones."""
        return {"audio": {"name": "tiny_audio"}} if "audio" in config.modalities else {}

    @property
    def views(self) -> tuple[View, ...]:
        """A mild crop."""
        return (View(scale=self.config.crop_scale, flip=0.0),) if "image" in self.needs else ()

    def group(self, name: str) -> Group:
        """The temperature has a learning rate of its own: AdamW moves it by about that rate, whatever its size."""
        return Group("temperature" if name.startswith("temperature.") else "")

    def lr_factor(self, group: str, step: Step, warmup: int) -> float:
        """The common schedule, scaled."""
        return warmup_cosine_at(step.index, warmup, step.total, base=self.config.temperature_lr)

    # --- one step ---

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """``L_volume + cosine_weight · L_cosine + matching_weight · L_match``; first ``L_anchor`` for both."""
        cfg, warm = self.config, step.index < self.config.warm_start * step.total
        features = {name: self.encoders[name](batch[name], batch.get(f"{name}_mask")) for name in self.needs}
        z = {name: self._project(name, features[name].pooled) for name in self.needs}
        here = self._present(batch)
        everywhere = {name: gather_features(vectors, with_grad=True) for name, vectors in z.items()}
        present = {name: gather_features(there.byte(), with_grad=False).bool() for name, there in here.items()}
        contrast = self._anchor_cosines if warm else self._contrast
        terms = contrast(everywhere, present, cfg.anchor)
        main = "anchor_cosines" if warm else "volume"
        if cfg.every_anchor:
            others = (contrast(everywhere, present, anchor)[main] for anchor in self.others)
            terms[main] = torch.stack([terms[main], *others]).mean()
        total = terms[main]
        if "cosine" in terms:
            total = total + cfg.cosine_weight * terms["cosine"]
        if cfg.matching_weight:
            terms["matching"] = self._matching_loss(features, everywhere, present, here, warm, step)
            total = total + cfg.matching_weight * terms["matching"]
        terms["temperature"] = self.temperature()
        return {**{name: term.detach() for name, term in terms.items()}, "total": total}

    def after_step(self, step: Step) -> None:
        """Clamp the temperature: it is divided by as it is."""
        self.temperature.clamp_()

    def _anchor_cosines(self, z: Mapping[str, Tensor], present: Mapping[str, Tensor], anchor: str) -> dict[str, Tensor]:
        """The usual loss, which volumes take over from: the anchor against each other modality by itself."""
        losses = [self._nothing(z)]
        for name in self.needs:
            rows = present[anchor] & present[name]
            if name != anchor and rows.sum() > 1:
                logits = contrastive_logits(z[anchor][rows], z[name][rows], 1 / self.temperature())
                losses.append(contrastive_loss(logits, label_smoothing=self.config.label_smoothing, direction="both"))
        return {"anchor_cosines": torch.stack(losses).sum() / max(1, len(losses) - 1)}

    def _contrast(self, z: Mapping[str, Tensor], present: Mapping[str, Tensor], anchor: str) -> dict[str, Tensor]:
        """The volume loss, over the rows that have the anchor and another modality, and their own mean score.

        With it, if it has a weight and this is the anchor, the InfoNCE of the cosine with the mean direction of those
        that are there.
        """
        cfg, temperature = self.config, self.temperature()
        others = [name for name in self.needs if name != anchor]
        there = torch.stack([present[name] for name in others], dim=1)  # (B, k)
        rows = present[anchor] & there.any(dim=1)
        count, with_cosine = int(rows.sum()), bool(cfg.cosine_weight) and anchor == cfg.anchor
        if count < 2:
            return dict.fromkeys(("volume", "score_of_pairs", "cosine")[: 2 + with_cosine], self._nothing(z))
        vectors = [z[name] for name in (anchor, *others)]
        if count < len(rows):
            vectors, there = [each[rows] for each in vectors], there[rows]
        absent = None if bool(there.all()) else there
        losses = {}
        if with_cosine:
            scores, cosine = score_and_cosine(*vectors, score=cfg.score, present=absent)
            losses["cosine"] = contrastive_loss(cosine / temperature, direction="both")
        else:
            scores = tuple_scores(*vectors, score=cfg.score, present=absent)
        smoothing = cfg.label_smoothing
        losses["volume"] = contrastive_loss(-scores / temperature, label_smoothing=smoothing, direction="both")
        return losses | {"score_of_pairs": scores.diagonal().mean()}

    def _nothing(self, z: Mapping[str, Tensor]) -> Tensor:
        """A loss of 0 whose gradient reaches all that another batch's would."""
        return 0.0 * sum((x.sum() for x in z.values()), start=self.temperature())

    def _matching_loss(
        self,
        features: Mapping[str, Features],
        z: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        here: Mapping[str, Tensor],
        warm: bool,
        step: Step,
    ) -> Tensor:
        """The pairs of anchor and tuple, each side also with a hard wrong partner; cross-entropy of yes and no.

        Wrong partners are drawn from the rows of all processes, of which each judges the pairs of its own.
        """
        anchor, there = self.config.anchor, torch.stack([present[name] for name in self.others], dim=1)
        anchors = gather_sequences(features[anchor])
        conditions = gather_sequences(self._conditions(features, here))
        rows = torch.nonzero(present[anchor] & there.any(dim=1))[:, 0]
        own = own_rows(len(here[anchor]))
        mine = ((rows >= own.start) & (rows < own.stop)).repeat(3)
        if len(rows) < 2 or not mine.any():
            return 0.0 * self._match(anchors.select(rows.new_zeros(1)), conditions.select(rows.new_zeros(1))).sum()
        with torch.no_grad():
            vectors = [z[name][rows] for name in (anchor, *self.others)]
            if warm:
                likeness = score_and_cosine(*vectors, present=there[rows])[1]
            else:
                likeness = -tuple_scores(*vectors, score=self.config.score, present=there[rows])
            logits = likeness / self.temperature()
        places = torch.arange(len(rows), device=rows.device)
        asked, given, together = matching_pairs(logits, logits.T, places, generator=step.generator(rows.device))
        match = self._match(anchors.select(rows[asked[mine]]), conditions.select(rows[given[mine]]))
        return F.cross_entropy(match, together[mine], reduction="sum") * world_size() / len(together)

    def _conditions(self, features: Mapping[str, Features], present: Mapping[str, Tensor]) -> Features:
        """Tokens of all other modalities side by side, those of absent ones masked."""
        tokens, masks = [], []
        for name in self.others:
            sequence, mask = features[name].sequence()
            read = self.conditions[name](sequence) + self.kinds[name]
            tokens.append(read + _at_their_place(self.frames[name], mask) if name in self.frames else read)
            masks.append(mask & present[name][:, None])
        joined = torch.cat(tokens, dim=1)
        return Features(joined[:, 0], joined, torch.cat(masks, dim=1))

    def _match(self, anchor: Features, others: Features) -> Tensor:
        """Logits ``(P, 2)`` of no and yes."""
        return self.matching(self.fusion(anchor, others)[:, 0]).float()

    # --- use ---

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Unit-norm embeddings of the modalities in the batch."""
        return {
            name: self._project(name, self.encoders[name](batch[name], batch.get(f"{name}_mask")).pooled)
            for name in self.needs
            if name in batch
        }

    @property
    def lacks(self) -> frozenset[type[Ability]]:  # type: ignore[override]
        """The second stage, where there is no matching head."""
        return frozenset() if self.config.matching_weight else frozenset({RescoresTuples})

    @property
    def anchor(self) -> str:
        """The modality that the matching head reads beside all others."""
        return self.config.anchor

    def token_features(self, batch: Batch) -> dict[str, Features]:
        """Embeddings, and the tokens that the matching head reads."""
        found = {}
        for name in self.needs:
            if name in batch:
                features = self.encoders[name](batch[name], batch.get(f"{name}_mask"))
                found[name] = Features(self._project(name, features.pooled), *features.sequence())
        return found

    def rescore_tuples(self, anchor: Features, others: Mapping[str, Features]) -> Tensor:
        """Log-odds of yes; the fusion encoder reads every anchor with its tuple."""
        everything = anchor.pooled.new_ones(len(anchor.pooled), dtype=torch.bool)
        conditions = self._conditions(others, dict.fromkeys(self.others, everything))
        return self._match(anchor, conditions).diff(dim=1)[:, 0]

    def score_tuples(
        self, queries: Mapping[str, Tensor], candidates: Mapping[str, Tensor], present: Tensor | None = None
    ) -> Tensor:
        """Minus the score ``(A, B)``, as :attr:`GramConfig.score` says, of every query with every candidate."""
        return -joint_scores(list(queries.values()), list(candidates.values()), self.config.score, present)

    def _project(self, name: str, pooled: Tensor) -> Tensor:
        return F.normalize(self.projections[name](pooled).float(), dim=1)

    def _present(self, batch: Batch) -> dict[str, Tensor]:
        """Which rows have each modality, ``(B,)`` bool."""
        anchor = batch[self.config.anchor]
        rows = len(anchor.pooled if isinstance(anchor, Features) else anchor)
        everything = torch.ones(rows, dtype=torch.bool, device=self.device)
        return {name: batch.get(f"{name}_present", everything) for name in self.needs}


def _at_their_place(frames: Tensor, mask: Tensor) -> Tensor:
    """The embeddings ``(F, w)`` of the real frames of each clip ``(B, T, w)``, the nearest ones of another number."""
    count = mask.sum(dim=1, keepdim=True).clamp(min=1)
    place = torch.arange(mask.shape[1], device=mask.device) * len(frames) // count  # (B, T)
    return frames[place.clamp(max=len(frames) - 1)]


def _without_frames(method: Gram, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Models of before frames had embeddings were trained without: theirs are 0."""
    for name, frames in method.frames.items():
        state.setdefault(f"{prefix}frames.{name}", torch.zeros_like(frames))
