"""G2L: Semantically Aligned and Uniform Video Grounding via Geodesic and Game Theory (Li et al., ICCV 2023).

When does something happen in a film that a sentence says? Every moment is a cell of a sparse map, and cells and
sentences meet in two spaces: one says how far a moment overlaps with that of the sentence, the other contrasts them.
MMN (Wang et al. 2022), the baseline that ``contrast="mmn"`` trains with the same network, takes whatever nobody
annotated as a negative. G2L asks how near moments are along the graph of their neighbours, and a game between
sentences and moments says which belong together. Both are for training alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from accord import config as settings
from accord.data.inputs import SequenceInput, TextInput, VideoInput
from accord.encoders.base import Encoder
from accord.encoders.heads import ProposalConv, SparseMomentMap
from accord.encoders.pooling import masked_mean, slot_means
from accord.errors import ConfigError
from accord.functional import (
    best_moments,
    gather_features,
    gather_tokens,
    geodesic_contrastive_loss,
    geodesic_similarity,
    interaction_alignment_loss,
    moment_iou_map,
    mutual_matching_loss,
    pairwise_interaction,
    rank,
    scaled_iou_bce,
    temporal_nms,
    world_size,
)
from accord.methods.abilities import FindsMoments, Moments
from accord.methods.base import Batch, DataInfo, Group, Method, Stage, Step

STREAMS = {"sequence": "steps", "video": "frames"}
SHARPNESS = 10.0  # of the sigmoid that makes a probability of a cosine
HOPS = 64  # edges of a path; within the cut-off there are some twenty
FREEZE = 4  # epochs, of a pretrained text encoder


class G2lConfig(settings.Config):
    """Settings of :class:`G2l`; defaults from the released code on ActivityNet Captions."""

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
    interaction_moments: int = Field(7, ge=1, description="moments of a sentence that play, nearest and likeliest each")
    text_lr: float = Field(0.1, gt=0, description="learning rate of a pretrained text encoder over that of the rest")
    freeze_epochs: int | None = Field(
        None, ge=0, description=f"epochs before encoders are trained; null: {FREEZE} with a pretrained text encoder"
    )
    power: float = Field(0.5, gt=0, description="exponent of the contrastive score in what moments are ranked by")
    nms: float = Field(0.5, gt=0, le=1, description="overlap above which the less likely of two moments is dropped")
    answers: int = Field(10, ge=1, description="moments found for a sentence, at most")

    @model_validator(mode="after")
    def _one_source_of_paths(self) -> Self:
        if self.top_k > 1 and self.contrast != "mmn":
            raise ValueError(f"top_k = {self.top_k}: paths start from one moment, so more than 1 needs contrast=mmn")
        if not 0 <= self.overlap[0] < self.overlap[1] <= 1:
            raise ValueError(f"overlap = {self.overlap}: two numbers in [0, 1], the first one smaller")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel = {self.kernel}: odd, so that a moment is in its middle")
        return self


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


class G2l(Method, FindsMoments):
    """G2L over precomputed features or any video encoder, and any text encoder that gives words.

    Batch keys: ``sequence (B, T, F)`` and its mask, or ``video`` and its mask; ``moments (B, S, 2)``,
    ``moment_present``, ``moment_text``, ``duration (B,)``.

    Example:
        >>> from accord.encoders import build_encoder
        >>> words = ["a cat runs", "a dog sleeps"]
        >>> encoders = {"sequence": build_encoder("sequence", {"name": "plain_sequence", "features": 6}),
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
    needs: Mapping[str, frozenset[str]] = {}
    targets: ClassVar[tuple[str, ...]] = ("moments",)
    target_fields: ClassVar[tuple[str, ...]] = ("moment_text",)
    config: G2lConfig
    cells: Tensor

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg = self.config
        _check_spread(encoders[cfg.modality])
        width, words = encoders[cfg.modality].stream_dim(STREAMS[cfg.modality]), encoders["text"].token_dim
        self.enter = nn.Linear(width, cfg.hidden)
        self.pool = SparseMomentMap(cfg.num_clips, cfg.pooling_counts)
        self.proposals = ProposalConv(self.pool.mask, cfg.hidden, cfg.hidden, cfg.kernel, cfg.layers)
        self.moment_spaces = nn.ModuleList(nn.Linear(cfg.hidden, cfg.dim) for _ in Spaces._fields)
        self.text_norm = nn.LayerNorm(words)
        self.text_spaces = nn.ModuleList(nn.Linear(words, cfg.dim) for _ in Spaces._fields)
        start, end = self.pool.mask.nonzero(as_tuple=True)  # row by row
        self.register_buffer("cells", torch.stack([start, end + 1], dim=1), persistent=False)  # (P, 2) in clips
        if len(start) <= max(cfg.geo_k, cfg.geo_topk):
            raise ConfigError(
                f"method g2l: num_clips = {cfg.num_clips} with pooling_counts = {cfg.pooling_counts} are {len(start)} "
                f"moments, too few for geo_k = {cfg.geo_k} and geo_topk = {cfg.geo_topk}: take more clips"
            )

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """Clips in time, and the words of sentences."""
        return {config.modality: frozenset({STREAMS[config.modality]}), "text": frozenset({"tokens"})}

    @classmethod
    def reads(cls, config: Any) -> tuple[str, ...]:
        """What is looked through: the texts are the sentences of the moments."""
        return (config.modality,)

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """Precomputed features as they are; of clips as many frames as the map has clips."""
        text = {"name": "tiny_text", "options": {"pool": "mean"}}
        if config.modality == "sequence":
            return {"sequence": {"name": "plain_sequence", "options": {"length": 4 * config.num_clips}}, "text": text}
        return {"video": {"name": "frames:tiny_vit", "options": {"frames": config.num_clips}}, "text": text}

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
        cfg, asked = self.config, _asked(batch, self.device)
        moments, sentences = self._moments(batch), self._sentences(asked.texts)
        length = batch["duration"][asked.owner].clamp(min=1e-6)
        iou = moment_iou_map(asked.spans, cfg.num_clips, length)[:, self.cells[:, 0], self.cells[:, 1] - 1]  # (A, P)
        scores = (SHARPNESS * _cosines(sentences.overlap, moments.overlap, asked.owner)).sigmoid()
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
            playing = cosine[:, torch.cat(best, dim=1).flatten()]  # (n, n·2R), a moment may stand there twice
            total = total + interaction_alignment_loss(playing, pairwise_interaction(playing))
        return total * (world_size() if asked.real else 0)

    # --- use ---

    def find_moments(self, batch: Batch, *, most: int | None = None, overlap: float | None = None) -> list[Moments]:
        """The moments of each sentence, the likeliest first, none of which overlap by more than ``nms``."""
        texts = [text for row in batch["moment_text"] for text in row]
        counts = [len(row) for row in batch["moment_text"]]
        most = min(self.config.answers if most is None else most, len(self.cells))
        if not texts:
            return [Moments(torch.zeros(0, most, 2), torch.zeros(0, most)) for _ in counts]
        owner = _owners(counts, self.device)
        moments, sentences = self._moments(batch), self._sentences(texts)
        closeness = (1 + _cosines(sentences.contrast, moments.contrast, owner)) / 2
        scores = closeness.clamp(min=0) ** self.config.power
        scores = scores * (SHARPNESS * _cosines(sentences.overlap, moments.overlap, owner)).sigmoid()  # (A, P)
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

    def _moments(self, batch: Batch) -> Spaces:
        """Vectors ``(B, D, P)`` of the cells of the map."""
        name = self.config.modality
        features = self.encoders[name](batch[name], batch.get(f"{name}_mask"))
        stream = features.stream(STREAMS[name])
        clips = slot_means(self.enter(stream.values).relu(), stream.mask, self.config.num_clips)  # (B, N, H)
        cells = self.proposals(self.pool(clips.mT))[:, :, self.cells[:, 0], self.cells[:, 1] - 1]  # (B, H, P)
        return Spaces(*(space(cells.mT).mT for space in self.moment_spaces))

    def _sentences(self, texts: Sequence[str]) -> Spaces:
        """Vectors ``(A, D)`` of sentences: the mean of their words."""
        encoder = self.encoders["text"]
        assert isinstance(encoder.input, TextInput)  # it is a text encoder
        ids, mask = (part.to(self.device) for part in encoder.input.tokenizer(list(texts)))
        words, there = encoder(ids, mask).sequence()
        mean = self.text_norm(masked_mean(words, there))
        return Spaces(*(space(mean) for space in self.text_spaces))


def _asked(batch: Batch, device: torch.device) -> Asked:
    """The sentences of a batch; those that say nothing are left out."""
    places = [[place for place, text in enumerate(row) if text] for row in batch["moment_text"]]
    texts = [row[place] for row, kept in zip(batch["moment_text"], places, strict=True) for place in kept]
    counts = [len(kept) for kept in places]
    if not texts:
        counts[0] = 1
        return Asked(
            [""], counts, torch.zeros(1, dtype=torch.int64, device=device), torch.zeros(1, 2, device=device), 0
        )
    owner = _owners(counts, device)
    place = torch.tensor([place for kept in places for place in kept], device=device)
    return Asked(texts, counts, owner, batch["moments"][owner, place], len(texts))


def _owners(counts: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([film for film, count in enumerate(counts) for _ in range(count)], device=device)


def _cosines(sentences: Tensor, moments: Tensor, owner: Tensor) -> Tensor:
    """Cosines ``(A, P)`` of sentences and the moments of their own films, in float32."""
    with torch.autocast(moments.device.type, enabled=False):
        sentences, moments = F.normalize(sentences.float(), dim=1), F.normalize(moments.float(), dim=1)
        every = torch.einsum("ad,vdp->avp", sentences, moments)
        return every[torch.arange(len(owner), device=owner.device), owner]


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


def _check_spread(encoder: Encoder) -> None:
    """Refuse an encoder that sees a part of the whole alone.

    Raises:
        ConfigError: it is fed a run of frames or steps.
    """
    fed = encoder.input
    if isinstance(fed, VideoInput | SequenceInput) and fed.sampling in ("dense", "window", "around"):
        usual = "segments" if isinstance(fed, VideoInput) else "slots"
        raise ConfigError(
            f"method g2l looks through the whole: sampling = {fed.sampling!r} of the {encoder.modality} encoder shows "
            f"a part of it; set encoders.{encoder.modality}.options.sampling={usual}"
        )
