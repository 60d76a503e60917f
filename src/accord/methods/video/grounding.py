"""Grounding of sentences in films: a network that gives every moment and every sentence a place in two spaces.

The network of 2D-TAN and MMN (Wang et al. 2022, AAAI): clips are pooled to a sparse map of moments, convolutions over
the map let a moment see its neighbours, and a sentence is the mean of its words. One space is for contrast, the other
says how far a moment overlaps with that of the sentence; both together rank the moments. What is learnt by is the
business of the methods that derive from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from accord import config as settings
from accord.data.inputs import SequenceInput, TextInput, VideoInput
from accord.encoders.base import Encoder
from accord.encoders.heads import ProposalConv, SparseMomentMap
from accord.encoders.pooling import masked_mean, slot_means
from accord.encoders.stages import repeated
from accord.errors import ConfigError
from accord.functional import moment_iou_map, temporal_nms
from accord.methods.abilities import FindsMoments, Moments
from accord.methods.base import Batch, DataInfo, Method

STREAMS = {"sequence": "steps", "video": "frames"}
SHARPNESS = 10.0  # of the sigmoid that makes a probability of a cosine


class GroundingConfig(settings.Config):
    """Settings of the network; defaults from the released code of G2L on ActivityNet Captions."""

    modality: Literal["sequence", "video"] = Field(
        "sequence", description="what is looked through: precomputed features, or clips by a video encoder"
    )
    num_clips: int = Field(64, ge=2, description="clips that the whole is cut into; moments begin and end between them")
    pooling_counts: tuple[int, ...] = Field(
        (15, 8, 8), description="lengths of moments by stages, each with twice the step; (num_clips - 1,) keeps all"
    )
    hidden: int = Field(512, ge=1, description="width of the map of moments")
    dim: int = Field(256, ge=2, description="size of both spaces")
    kernel: int = Field(9, ge=1, description="side of the convolutions over the map, odd")
    layers: int = Field(4, ge=1, description="number of these convolutions")
    sentence: Literal["mean", "last2avg", "official"] = Field(
        "mean",
        description="a sentence is the mean of its words; that of the sums of their last two layers; or, as released, "
        "that with padding up to the longest sentence of its film",
    )
    power: float = Field(0.5, gt=0, description="exponent of the contrastive score in what moments are ranked by")
    nms: float = Field(0.5, gt=0, le=1, description="overlap above which the less likely of two moments is dropped")
    answers: int = Field(10, ge=1, description="moments found for a sentence, at most")

    @field_validator("kernel")
    @classmethod
    def _kernels_have_a_middle(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError("odd, so that a moment is in its middle")
        return kernel


class Spaces(NamedTuple):
    """Vectors of moments or sentences in the two spaces, not normalised."""

    contrast: Tensor
    overlap: Tensor


@dataclass(frozen=True)
class Asked:
    """The sentences of a batch, film after film.

    Args:
        texts: A sentences; one empty one where there is none, which counts nothing.
        counts: sentences of each film.
        owner: ``(A,)`` film of each.
        spans: ``(A, 2)`` in seconds.
        real: how many sentences there are.
    """

    texts: list[str]
    counts: list[int]
    owner: Tensor
    spans: Tensor
    real: int


class Grounder(Method, FindsMoments):
    """The network over precomputed features or any video encoder, and any text encoder that gives words.

    A subclass has the loss.
    """

    needs: Mapping[str, frozenset[str]] = {}
    targets: ClassVar[tuple[str, ...]] = ("moments",)
    target_fields: ClassVar[tuple[str, ...]] = ("moment_text",)
    config: GroundingConfig
    cells: Tensor

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg = self.config
        _check_spread(self.name, encoders[cfg.modality])
        if cfg.sentence != "mean" and len(repeated(encoders["text"].blocks())) < 2:
            raise ConfigError(
                f"method {self.name}: sentence = {cfg.sentence!r} reads the last two layers of the text encoder, which "
                "has one: give it more, or set method.sentence=mean"
            )
        width, words = encoders[cfg.modality].stream_dim(STREAMS[cfg.modality]), encoders["text"].token_dim
        self.enter = nn.Linear(width, cfg.hidden)
        self.pool = SparseMomentMap(cfg.num_clips, cfg.pooling_counts)
        self.proposals = ProposalConv(self.pool.mask, cfg.hidden, cfg.hidden, cfg.kernel, cfg.layers)
        self.moment_spaces = nn.ModuleList(nn.Linear(cfg.hidden, cfg.dim) for _ in Spaces._fields)
        self.text_norm = nn.LayerNorm(words)
        self.text_spaces = nn.ModuleList(nn.Linear(words, cfg.dim) for _ in Spaces._fields)
        start, end = self.pool.mask.nonzero(as_tuple=True)  # row by row
        self.register_buffer("cells", torch.stack([start, end + 1], dim=1), persistent=False)  # (P, 2) in clips

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """Clips in time, and the words of sentences."""
        text = {"tokens"} if config.sentence == "mean" else {"tokens", "layers"}
        return {config.modality: frozenset({STREAMS[config.modality]}), "text": frozenset(text)}

    @classmethod
    def reads(cls, config: Any) -> tuple[str, ...]:
        """What is looked through: the texts are the sentences of the moments."""
        return (config.modality,)

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """Precomputed features as they are; of clips as many frames as the map has clips."""
        text = {"name": "tiny_text", "options": {"pool": "mean"}}
        if config.modality == "sequence":
            steps = {"length": 4 * config.num_clips, "sampling": "slots", "unit_norm": True}
            return {"sequence": {"name": "steps", "options": steps}, "text": text}
        return {"video": {"name": "frames:tiny_vit", "options": {"frames": config.num_clips}}, "text": text}

    def find_moments(self, batch: Batch, *, most: int | None = None, overlap: float | None = None) -> list[Moments]:
        """The moments of each sentence, the likeliest first, none of which overlap by more than ``nms``."""
        texts = [text for row in batch["moment_text"] for text in row]
        counts = [len(row) for row in batch["moment_text"]]
        most = min(self.config.answers if most is None else most, len(self.cells))
        if not texts:
            return [Moments(torch.zeros(0, most, 2), torch.zeros(0, most)) for _ in counts]
        owner = owners_of(counts, self.device)
        moments, sentences = self.moments(batch), self.sentences(texts, counts)
        closeness = (1 + own_cosines(sentences.contrast, moments.contrast, owner)) / 2
        scores = closeness.clamp(min=0) ** self.config.power
        scores = scores * (SHARPNESS * own_cosines(sentences.overlap, moments.overlap, owner)).sigmoid()  # (A, P)
        threshold = self.config.nms if overlap is None else overlap
        kept = temporal_nms(self.cells.float(), scores, threshold, most)  # (A, M)
        there = kept >= 0
        spans = self.cells[kept.clamp(min=0)] * (batch["duration"][owner] / self.config.num_clips)[:, None, None]
        found = zip(
            spans.masked_fill(~there[..., None], 0).split(counts),
            scores.gather(1, kept.clamp(min=0)).masked_fill(~there, 0).split(counts),
            strict=True,
        )
        return [Moments(*each) for each in found]

    def overlaps(self, asked: Asked, duration: Tensor) -> Tensor:
        """Overlap ``(A, P)`` of all cells with the moments of the sentences."""
        length = duration[asked.owner].clamp(min=1e-6)
        return moment_iou_map(asked.spans, self.config.num_clips, length)[:, self.cells[:, 0], self.cells[:, 1] - 1]

    def moments(self, batch: Batch) -> Spaces:
        """Vectors ``(B, D, P)`` of the cells of the map."""
        name = self.config.modality
        features = self.encoders[name](batch[name], batch.get(f"{name}_mask"))
        stream = features.stream(STREAMS[name])
        clips = slot_means(self.enter(stream.values).relu(), stream.mask, self.config.num_clips)  # (B, N, H)
        cells = self.proposals(self.pool(clips.mT))[:, :, self.cells[:, 0], self.cells[:, 1] - 1]  # (B, H, P)
        return Spaces(*(space(cells.mT).mT for space in self.moment_spaces))

    def sentences(self, texts: Sequence[str], counts: Sequence[int] | None = None) -> Spaces:
        """Vectors ``(A, D)`` of sentences: the mean of their words.

        Args:
            texts: film after film.
            counts: how many are of each film; None for one film.
        """
        encoder = self.encoders["text"]
        assert isinstance(encoder, Encoder)
        assert isinstance(encoder.input, TextInput)  # it is a text encoder
        ids, mask = (part.to(self.device) for part in encoder.input.tokenizer(list(texts)))
        if self.config.sentence == "mean":
            words, there = encoder(ids, mask).sequence()
        else:
            with encoder.computing():
                features, hidden = encoder.encode_hidden(ids, mask)
            words, there = features.sequence()
            words = words.float() + hidden[-2][:, : words.shape[1]].float()
            there = _padded(there, counts or [len(texts)]) if self.config.sentence == "official" else there
        mean = self.text_norm(masked_mean(words, there))
        return Spaces(*(space(mean) for space in self.text_spaces))


def _padded(there: Tensor, counts: Sequence[int]) -> Tensor:
    """Which positions ``(A, L)`` a sentence has where those of a film are as long as its longest one."""
    owner, length = owners_of(counts, there.device), there.sum(dim=1)
    longest = length.new_zeros(len(counts)).scatter_reduce(0, owner, length, "amax")
    return torch.arange(there.shape[1], device=there.device) < longest[owner, None]


def asked_of(batch: Batch, device: torch.device) -> Asked:
    """The sentences of a batch; those that say nothing are left out."""
    places = [[place for place, text in enumerate(row) if text] for row in batch["moment_text"]]
    texts = [row[place] for row, kept in zip(batch["moment_text"], places, strict=True) for place in kept]
    counts = [len(kept) for kept in places]
    if not texts:
        counts[0] = 1
        return Asked(
            [""], counts, torch.zeros(1, dtype=torch.int64, device=device), torch.zeros(1, 2, device=device), 0
        )
    owner = owners_of(counts, device)
    place = torch.tensor([place for kept in places for place in kept], device=device)
    return Asked(texts, counts, owner, batch["moments"][owner, place], len(texts))


def owners_of(counts: Sequence[int], device: torch.device) -> Tensor:
    """The film of each sentence, of films that have so many."""
    return torch.tensor([film for film, count in enumerate(counts) for _ in range(count)], device=device)


def own_cosines(sentences: Tensor, moments: Tensor, owner: Tensor) -> Tensor:
    """Cosines ``(A, P)`` of sentences and the moments of their own films, in float32."""
    with torch.autocast(moments.device.type, enabled=False):
        sentences, moments = F.normalize(sentences.float(), dim=1), F.normalize(moments.float(), dim=1)
        every = torch.einsum("ad,vdp->avp", sentences, moments)
        return every[torch.arange(len(owner), device=owner.device), owner]


def _check_spread(method: str, encoder: Encoder) -> None:
    """Refuse an encoder that sees a part of the whole alone.

    Raises:
        ConfigError: it is fed a run of frames or steps.
    """
    fed = encoder.input
    if isinstance(fed, VideoInput | SequenceInput) and fed.sampling in ("dense", "window", "around"):
        usual = "segments" if isinstance(fed, VideoInput) else "slots"
        raise ConfigError(
            f"method {method} looks through the whole, of which the {encoder.modality} encoder sees a part with "
            f"sampling = {fed.sampling!r}: set encoders.{encoder.modality}.options.sampling={usual}"
        )
