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
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from accord import config as settings
from accord.data.augmenting.views import View
from accord.data.inputs import TextInput
from accord.data.modalities import ModalityName
from accord.encoders.base import Encoder
from accord.functional import candidate_ce, candidate_distill, candidate_logits, gather_features, world_size
from accord.methods.base import Batch, Step
from accord.methods.image_text.clip import Clip, ClipConfig


class RcadConfig(ClipConfig):
    """Settings of :class:`Rcad`; what the paper does not publish is in the range that it must have been in."""

    modality: ModalityName = Field("video", description="what the captions are about")
    mode: Literal["lgt", "lbl"] = Field(
        "lgt", description="altered captions are ranked as the teacher of texts ranks them, or all are simply wrong"
    )
    weight: float = Field(1.0, ge=0, description="of the loss over a row's own captions, beside the contrast's 1")
    candidates: int = Field(10, ge=1, description="altered captions of a row that are read, the first ones")
    teacher_temperature: float = Field(0.1, gt=0, description="divides the teacher's likeness (0.05 to 0.1)")
    max_similarity: float = Field(
        0.98, gt=0, description="altered captions that are more like the true one than this are left out: they say it"
    )

    @field_validator("modality")
    @classmethod
    def _beside_texts(cls, value: str) -> str:
        if value == "text":
            raise ValueError("modality = 'text': captions are about something else, such as video or image")
        return value


@dataclass
class Candidates:
    """Captions of each row that compete for it, the true one first.

    Args:
        texts: ``(B, 1 + k, D)`` unit norm.
        mask: ``(B, 1 + k)`` bool, which there are.
        similarity: ``(B, 1 + k)`` how alike each and the true one are.
    """

    texts: Tensor
    mask: Tensor
    similarity: Tensor


class Rcad(Clip):
    """Two towers that contrast pairs, and each row's caption with altered ones.

    Batch keys: ``MODALITY`` and ``text`` with their masks; ``counterfactuals``, B lists of strings;
    ``counterfactual_of``, B strings, empty for the row's own caption; ``counterfactual_present (B, K)``,
    ``counterfactual_similarity (B, K)``.

    Example:
        >>> from accord.encoders import build_encoder
        >>> from accord.methods.base import DataInfo
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

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """A vector of each side."""
        return {config.modality: frozenset({"pooled"}), "text": frozenset({"pooled"})}

    @classmethod
    def fills(cls, config: Any) -> tuple[str, ...]:
        """The teacher's likeness, where it decides."""
        return ("counterfactual_similarity",) if config.mode == "lgt" else ()

    @property
    def views(self) -> tuple[View, ...]:
        """One mild crop, of pictures and clips."""
        return super().views if self.config.modality in ("image", "video") else ()

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        """The embeddings of both sides, and ``captions (B, 1 + k, D)``, filled up with the true one."""
        found = self.embed(batch)
        return {**found, "captions": self.captions(found["text"], batch)}

    def captions(self, own: Tensor, batch: Batch) -> Tensor:
        """Unit-norm embeddings ``(B, 1 + k, D)`` of each row's true caption and of its altered ones.

        Args:
            own: ``(B, D)`` of the caption that was read, the true one where ``counterfactual_of`` is empty.
            batch: with the words of all others.
        """
        width = 1 + min(self.config.candidates, batch["counterfactual_present"].shape[1])
        filled = own[:, None].expand(-1, width, -1).flatten(0, 1)  # (B (1 + k), D)
        words, places = _words(batch["counterfactual_of"], batch["counterfactuals"], width)
        if words:
            texts = self._read(words)
            filled = filled.index_copy(0, torch.tensor(places).to(filled.device), texts.to(filled))
        return filled.unflatten(0, (-1, width))

    def _read(self, words: list[str]) -> Tensor:
        """Embeddings of texts by the tower of captions."""
        encoder = self.encoders["text"]
        assert isinstance(encoder, Encoder)
        reader = encoder.input
        assert isinstance(reader, TextInput)  # it is a text encoder
        ids, mask = reader.tokenizer(words)
        return self.embed({"text": ids.to(self.device), "text_mask": mask.to(self.device)})["text"]

    def candidates(self, captions: Tensor, batch: Batch) -> Candidates:
        """What competes in each row: captions that are there and do not say the same as the true one."""
        width = captions.shape[1] - 1
        there = batch["counterfactual_present"][:, :width]
        alike = batch["counterfactual_similarity"][:, :width].to(captions)
        mask = there & ~(alike > self.config.max_similarity)  # not known is not too much
        return Candidates(captions, F.pad(mask, (1, 0), value=True), F.pad(alike.nan_to_num(), (1, 0), value=1.0))

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """The contrast of the batch, and that of each row's own captions."""
        terms = super().objective(towers, batch, step)
        anchor, found = towers[self.config.modality], self.candidates(towers["captions"], batch)
        tau, there = 1 / self.logit_scale(), found.mask[:, 1:].any(dim=1)
        if self.config.mode == "lbl":
            each = candidate_ce(anchor, found.texts, tau, found.mask, average="none")
        else:
            cold = self.config.teacher_temperature
            each = candidate_distill(anchor, found.texts, found.similarity, tau, cold, found.mask, average="none")
        rows = gather_features(there.sum()[None], with_grad=False).sum().clamp(min=1)  # of all processes
        own = world_size() * each.sum() / rows
        terms |= {"total": terms["total"] + self.config.weight * own, "candidates": own.detach()}
        return terms | {"own_caption_first": _won(anchor, found)} if step.watched else terms


@torch.no_grad()
def _won(anchor: Tensor, found: Candidates) -> Tensor:
    """Share of the rows with altered captions that are nearer to their own caption than to any of these."""
    scores = candidate_logits(anchor, found.texts, 1.0).masked_fill(~found.mask, -torch.inf)
    there = found.mask[:, 1:].any(dim=1)
    won = (scores[:, 0] > scores[:, 1:].amax(dim=1)) if scores.shape[1] > 1 else there
    return (won & there).sum() / there.sum().clamp(min=1)


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
