"""LLM-teacher: Rethinking Video-Text Understanding, Retrieval from Counterfactually Augmented Data (2024, ECCV).

Whoever retrieves clips by captions may look at things and scenes alone: the captions of other clips name other things.
So each clip must also tell its caption from altered ones that name the same things and another action. They compete in
its own row alone, beside the usual contrast of the batch; the target is the true caption (``lbl``), or how alike a
sentence encoder finds each altered caption and the true one (``lgt``): what was altered little may be true as well.

The training code is not public. What is filled in: both losses are added, the teacher's distribution stands first in
the divergence, and altered captions are no negatives of other rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.views import View
from accord.data.inputs import TextInput
from accord.data.modalities import ModalityName
from accord.encoders.base import Encoder
from accord.errors import ConfigError
from accord.functional import candidate_ce, candidate_distill, candidate_logits, gather_features, world_size
from accord.methods.base import Batch, DataInfo, Objective, Paired, Step
from accord.methods.image_text.clip import Clip, ClipConfig
from accord.state import LogitScale


class RankingConfig(settings.Config):
    """Settings of :class:`RankedCaptions`; what the paper does not publish is what it must have been about."""

    mode: Literal["lgt", "lbl"] = Field(
        "lgt", description="altered captions are ranked as the teacher of texts ranks them, or all are simply wrong"
    )
    weight: float = Field(1.0, ge=0, description="of the loss over a row's own captions, beside the contrast's 1")
    candidates: int = Field(10, ge=1, description="altered captions of a row that are read, the first ones")
    teacher_temperature: float = Field(0.1, gt=0, description="divides the teacher's likeness (0.05 to 0.1)")
    max_similarity: float = Field(
        0.98, gt=0, description="altered captions that are more like the true one than this are left out: they say it"
    )


class RankedCaptions(Objective):
    """Each row's caption against its altered ones, beside the loss of any method with pairs and a logit scale.

    Batch keys: ``counterfactuals``, B lists of strings; ``counterfactual_of``, B strings, empty for the row's own
    caption; ``counterfactual_present (B, K)``, ``counterfactual_similarity (B, K)``.
    """

    name: ClassVar[str] = "rcad"
    Config: ClassVar[type[settings.Config]] = RankingConfig
    targets: ClassVar[tuple[str, ...]] = ("counterfactuals",)
    config: RankingConfig

    @classmethod
    def fills(cls, config: Any) -> tuple[str, ...]:
        """The teacher's likeness, where it decides."""
        return ("counterfactual_similarity",) if config.mode == "lgt" else ()

    def check(self, method: Paired) -> None:
        """Refuse a method without texts, with nothing beside them, or without a temperature of its own."""
        if "text" not in method.needs or len(method.needs) < 2 or not isinstance(_scale(method), LogitScale):
            raise ConfigError(
                f"objective rcad ranks captions of something by a method's logit scale, and method {method.name} has "
                "no captions or no such scale: take clip, or another method of pairs"
            )

    def of_batch(self, method: Paired, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """The mean over all that is compared with texts."""
        embeddings, scale = method.embeddings(towers), _scale(method)
        assert isinstance(scale, LogitScale)
        captions = read_captions(method, embeddings["text"], batch, self.config.candidates)
        anchors = [embedding for name, embedding in embeddings.items() if name != "text"]
        found = [self.rank(anchor, captions, batch, scale(), step) for anchor in anchors]
        return {name: torch.stack([terms[name] for terms in found]).mean() for name in found[0]}

    def rank(self, anchor: Tensor, captions: Tensor, batch: Batch, scale: Tensor, step: Step) -> dict[str, Tensor]:
        """The loss, times its weight, of rows ``(B, D)`` with their captions ``(B, 1 + k, D)``."""
        cfg, width = self.config, captions.shape[1] - 1
        alike = batch["counterfactual_similarity"][:, :width].to(captions)
        mask = batch["counterfactual_present"][:, :width] & ~(alike > cfg.max_similarity)
        mask = mask & ~alike.isnan() if cfg.mode == "lgt" else mask  # of what the teacher says nothing
        mask = F.pad(mask, (1, 0), value=True)
        if cfg.mode == "lbl":
            each = candidate_ce(anchor, captions, 1 / scale, mask, average="none")
        else:
            teacher = F.pad(alike.nan_to_num(), (1, 0), value=1.0)
            each = candidate_distill(
                anchor, captions, teacher, 1 / scale, cfg.teacher_temperature, mask, average="none"
            )
        there = mask[:, 1:].any(dim=1)
        rows = gather_features(there.sum()[None], with_grad=False).sum().clamp(min=1)  # of all processes
        own = world_size() * each.sum() / rows
        terms = {"total": cfg.weight * own, "candidates": own.detach()}
        return terms | {"own_caption_first": _won(anchor, captions, mask)} if step.watched else terms


class RcadConfig(RankingConfig, ClipConfig):
    """Settings of :class:`Rcad`."""

    modality: ModalityName = Field("video", description="what the captions are about")

    @field_validator("modality")
    @classmethod
    def _beside_texts(cls, value: str) -> str:
        if value == "text":
            raise ValueError("modality = 'text': captions are about something else, such as video or image")
        return value


class Rcad(Clip):
    """Two towers that contrast pairs, and each row's caption with altered ones.

    Batch keys: ``MODALITY`` and ``text`` with their masks; those of :class:`RankedCaptions`.

    Example:
        >>> from accord.encoders import build_encoder
        >>> words = ["a ball rolls left", "a cup falls", "a ball rolls right"]
        >>> towers = {"image": build_encoder("image", "tiny_vit"),
        ...           "text": build_encoder("text", "tiny_text", texts=words)}
        >>> rcad = Rcad({"modality": "image", "dim": 32}, towers, DataInfo())
        >>> ids, mask = towers["text"].input.tokenizer(words[:2])
        >>> size = towers["image"].input.size
        >>> batch = {"image": torch.randn(2, 3, size, size), "text": ids, "text_mask": mask,
        ...          "counterfactuals": [words[2:], []], "counterfactual_of": ["", ""],
        ...          "counterfactual_present": torch.tensor([[True], [False]]),
        ...          "counterfactual_similarity": torch.tensor([[0.5], [torch.nan]])}
        >>> sorted(rcad.loss(batch, Step()))
        ['candidates', 'contrastive', 'logit_scale', 'own_caption_first', 'total']
    """

    name: ClassVar[str] = "rcad"
    Config: ClassVar[type[settings.Config]] = RcadConfig
    needs: Mapping[str, frozenset[str]] = {}
    targets: ClassVar[tuple[str, ...]] = ("counterfactuals",)
    config: RcadConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.ranked = RankedCaptions({name: getattr(self.config, name) for name in RankingConfig.model_fields})

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """A vector of each side."""
        return {config.modality: frozenset({"pooled"}), "text": frozenset({"pooled"})}

    @classmethod
    def fills(cls, config: Any) -> tuple[str, ...]:
        """The teacher's likeness, where it decides."""
        return RankedCaptions.fills(config)

    @property
    def views(self) -> tuple[View, ...]:
        """One mild crop, of pictures and clips."""
        return super().views if self.config.modality in ("image", "video") else ()

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        """The embeddings of both sides, and ``captions (B, 1 + k, D)``, filled up with the true one."""
        found = self.embed(batch)
        return {**found, "captions": read_captions(self, found["text"], batch, self.config.candidates)}

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """The contrast of the batch, and that of each row's own captions."""
        terms, anchor = super().objective(towers, batch, step), towers[self.config.modality]
        own = self.ranked.rank(anchor, towers["captions"], batch, self.logit_scale(), step)
        return {**terms, **own, "total": terms["total"] + own["total"]}


def read_captions(method: Paired, own: Tensor, batch: Batch, most: int) -> Tensor:
    """Unit-norm embeddings ``(B, 1 + k, D)`` of each row's true caption and of its altered ones.

    Args:
        method: reads texts.
        own: ``(B, D)`` of the caption that was read, the true one where ``counterfactual_of`` is empty. It fills up
            what is not there.
        batch: with the words of all others.
        most: altered captions of a row.
    """
    width = 1 + min(most, batch["counterfactual_present"].shape[1])
    filled = own[:, None].expand(-1, width, -1).flatten(0, 1)  # (B (1 + k), D)
    words, places = _words(batch["counterfactual_of"], batch["counterfactuals"], width)
    if words:
        encoder = method.encoders["text"]
        assert isinstance(encoder, Encoder)
        reader = encoder.input
        assert isinstance(reader, TextInput)  # it is a text encoder
        ids, mask = (part.to(own.device) for part in reader.tokenizer(words))
        texts = method.embed({"text": ids, "text_mask": mask})["text"]
        filled = filled.index_copy(0, torch.tensor(places).to(own.device), texts.to(filled))
    return filled.unflatten(0, (-1, width))


@torch.no_grad()
def _won(anchor: Tensor, captions: Tensor, mask: Tensor) -> Tensor:
    """Share of the rows with altered captions that are nearer to their own caption than to any of these."""
    scores, there = candidate_logits(anchor, captions, 1.0), mask[:, 1:].any(dim=1)
    nearer = (scores[:, :1] > scores[:, 1:]) | ~mask[:, 1:]
    return (nearer.all(dim=1) & there).sum() / there.sum().clamp(min=1)


def _scale(method: Paired) -> nn.Module | None:
    return dict(method.named_children()).get("logit_scale")


def _words(of: Sequence[str], altered: Sequence[Sequence[str]], width: int) -> tuple[list[str], list[int]]:
    """Texts to read, and the place of each among ``B * width`` captions.

    >>> _words(["", "a cat sits"], [["a dog runs"], []], width=2)
    (['a dog runs', 'a cat sits'], [1, 2])
    """
    found = {
        row * width + place: text
        for row, (true, others) in enumerate(zip(of, altered, strict=True))
        for place, text in enumerate([true, *others][:width])
        if text
    }
    return list(found.values()), list(found)
