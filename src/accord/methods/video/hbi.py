"""HBI: Video-Text as Game Players: Hierarchical Banzhaf Interaction (Jin et al., CVPR 2023).

A clip and a sentence are compared token by token, every token with a weight, at three levels: words with frames, and
phrases with scenes twice, to which tokens are merged around density peaks. Which word means which frame nobody says;
the interaction of the two in a game whose pay-off is the similarity stands for it
(:mod:`accord.functional.similarity.banzhaf`). First a teacher learns to read it from the cosines (stage 1), then
everything is trained, and a head at each level learns from the teacher, so that its gradient reaches the cosines (stage
2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from accord import config as settings
from accord.data.loading.features import Features
from accord.encoders.base import Encoder
from accord.encoders.bundles import Bundle
from accord.encoders.heads import BanzhafHead, TokenLevels, Tokens
from accord.encoders.video import FrameEncoder
from accord.functional import (
    contrastive_loss,
    kl_rows,
    paired_similarity,
    token_interaction,
    weighted_interaction,
    world_size,
)
from accord.methods.abilities import AlignsFrames, Rescores
from accord.methods.base import Batch, DataInfo, Group, Optimiser, Stage, Step, TwoTower
from accord.methods.duplicates import contrasted
from accord.state import LogitScale

STREAMS = {"text": "words", "video": "frames"}
WARM, TEACHER, TRAIN = "warm", "teacher", "train"  # the stages
TEMPORAL = {"temporal": "transformer", "depth": 4, "heads": 8, "frames": 12}


class HbiConfig(settings.Config):
    """Settings of :class:`Hbi`; defaults from the paper, but where a description says so.

    The paper pads every caption to 24 tokens and merges padding as well, so that no level has fewer than two. Here a
    row is merged by its own tokens.
    """

    dim: int = Field(512, ge=1, description="size of the space that tokens are compared in; a multiple of heads")
    merge_ratios: tuple[float, ...] = Field((0.25, 0.5), description="tokens of each further level for one of the last")
    fewest_tokens: int = Field(2, ge=1, description="tokens of a level at least, of a row that has as many (paper: 1)")
    neighbours: int = Field(3, ge=1, description="nearest tokens that the density of a token is made of")
    heads: int = Field(8, ge=1, description="attention heads of merged tokens")
    head_width: int = Field(64, ge=1, description="channels of the heads that read interactions from cosines")
    interaction_weight: float = Field(
        1.0, ge=0, description="of the distillation of interactions; 0 is without teacher"
    )
    distill_weight: float = Field(2.0, ge=0, description="of the distillation of the first level's scores into others")
    distillation: Literal["rows", "released"] = Field(
        "rows", description="mean over rows of tables and without padding, or as released"
    )
    distill_temperature: float = Field(1.0, gt=0, description="divides scores that are distilled")
    detach_first: bool = Field(
        False, description="scores of the first level are not pulled towards those of the others"
    )
    game: Literal["textbook", "released"] = Field(
        "textbook", description="pay-offs of coalitions, see functional.token_interaction"
    )
    game_scale: float = Field(1000.0, gt=0, description="factor on the cosines in the game")
    coalitions: int = Field(100, ge=1, description="coalitions drawn at each step of the teacher")
    warm_epochs: int = Field(
        0, ge=0, description="epochs without the game before the teacher's, for encoders that start at random"
    )
    teacher_epochs: int = Field(10, ge=1, description="epochs of the teacher alone")
    teacher_lr: float = Field(0.01, gt=0, description="its learning rate")
    padding: Literal["left out", "zero"] = Field(
        "left out", description="of the maxima; or a similarity of 0 that can be chosen, as in the released code"
    )
    level_weights: tuple[float, ...] = Field((1.0,), description="of the levels in the score of a finished model")
    temperature: float = Field(0.07, gt=0, description="initial softmax temperature; the logit scale starts at 1/T")
    learn_temperature: bool = Field(True, description="train the logit scale")
    max_logit_scale: float = Field(100.0, gt=1, description="upper clamp of the logit scale after each step")
    encoder_lr: float = Field(1e-3, gt=0, description="learning rate of pretrained encoders over that of other parts")
    duplicates: Literal["negatives", "positives", "ignored"] = Field(
        "negatives", description="what rows of a batch with the same caption are to each other"
    )

    @model_validator(mode="after")
    def _levels_fit(self) -> HbiConfig:
        if any(not 0 < ratio <= 1 for ratio in self.merge_ratios):
            raise ValueError(f"merge_ratios = {list(self.merge_ratios)}: expected shares in (0, 1]")
        if self.merge_ratios and self.dim % self.heads:
            raise ValueError(f"heads = {self.heads}: must divide dim = {self.dim}")
        weights, levels = self.level_weights, 1 + len(self.merge_ratios)
        if not 1 <= len(weights) <= levels or min(weights) < 0 or not sum(weights):
            raise ValueError(
                f"level_weights = {list(weights)}: expected at most one for each of {levels} levels, none negative and "
                "not all 0"
            )
        return self


class Hbi(TwoTower, Rescores, AlignsFrames):
    """HBI over any video encoder that gives frames and any text encoder that gives words.

    Batch keys: ``video (B, T, 3, H, W)``, ``video_mask (B, T)``, ``text (B, L)``, ``text_mask (B, L)``.

    Example:
        >>> from accord.encoders import build_encoder
        >>> image = {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}
        >>> towers = {"video": build_encoder("video", {"name": "frames", "image": image, "frames": 4}),
        ...           "text": build_encoder("text", "tiny_text", texts=["a red ball", "a blue cup"])}
        >>> hbi = Hbi({"dim": 16, "head_width": 4}, towers, DataInfo())
        >>> ids, mask = towers["text"].input.tokenizer(["a red ball", "a blue cup"])
        >>> batch = {"video": torch.randn(2, 4, 3, 16, 16), "text": ids, "text_mask": mask}
        >>> sorted(hbi.loss(batch, Step(stage="train")))
        ['contrastive', 'distillation', 'interaction', 'logit_scale', 'total']
        >>> hbi.word_frame(batch).shape == (2, ids.shape[1], 4)
        True
    """

    name: ClassVar[str] = "hbi"
    Config: ClassVar[type[settings.Config]] = HbiConfig
    needs: Mapping[str, frozenset[str]] = {modality: frozenset({stream}) for modality, stream in STREAMS.items()}
    training_only: ClassVar[tuple[str, ...]] = ("teacher.",)
    config: HbiConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg = self.config
        self.projections = nn.ModuleDict(
            {name: nn.Linear(encoders[name].stream_dim(STREAMS[name]), cfg.dim, bias=False) for name in self.needs}
        )
        self.levels = nn.ModuleDict(
            {
                name: TokenLevels(cfg.dim, cfg.merge_ratios, cfg.neighbours, cfg.heads, cfg.fewest_tokens)
                for name in self.needs
            }
        )
        read = 1 + len(cfg.merge_ratios) if cfg.interaction_weight else 0
        shift = cfg.distillation == "released"  # where padding is a logit of 0
        self.readers = nn.ModuleList(BanzhafHead(cfg.head_width, shift=shift) for _ in range(read))
        self.teacher = BanzhafHead(cfg.head_width) if read else None
        self.logit_scale = LogitScale(1 / cfg.temperature, cfg.max_logit_scale)
        self.logit_scale.requires_grad_(cfg.learn_temperature)

    # --- encoders and programme ---

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """Twelve frames, and a transformer over them that is added to them."""
        image = {"name": "efficientnet_lite0", "size": 96}
        return {"video": {"name": "frames", "options": {"image": image, **TEMPORAL}}}

    @classmethod
    def encoders_from(cls, config: Any, bundle: str) -> Mapping[str, Mapping[str, Any]]:
        """The same over a bundle's picture tower."""
        return {"video": {"name": "frames", "options": {"image": {"name": bundle}, **TEMPORAL}}}

    def start_from(self, bundle: Bundle) -> tuple[str, ...]:
        """What fits, and for frames the projection of the bundle's pictures where its tower reads them."""
        taken = super().start_from(bundle)
        video, matrix = self.encoders["video"], bundle.projections.get("image", torch.eye(bundle.dim))
        picture = bundle.encoders.get("image")
        if not isinstance(video, FrameEncoder) or picture is None or video.image.spec() != picture.spec():
            return taken
        if self.projections["video"].weight.shape != matrix.shape:
            return taken
        self.projections["video"].load_state_dict({"weight": matrix})
        return *taken, "video projection"

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The teacher alone, on cosines that nobody trains; then all but the teacher. Before, if asked for, no game."""
        if self.teacher is None:
            return (Stage(TRAIN),)
        cfg, own = self.config, Optimiser(lr=self.config.teacher_lr)
        rest = [f"{part}." for part in {name.partition(".")[0]: 0 for name, _ in self.named_parameters()}]
        trained = tuple(part for part in rest if part != "teacher.")
        warm = Stage(WARM, epochs=cfg.warm_epochs or None, train=tuple(part for part in trained if part != "readers."))
        teacher = Stage(TEACHER, epochs=cfg.teacher_epochs, train=("teacher.",), optimisers=(own,))
        return *((warm,) if cfg.warm_epochs else ()), teacher, Stage(TRAIN, train=trained)

    def group(self, name: str) -> Group:
        """Pretrained weights move slowly; the transformer over frames has none."""
        parts = name.split(".")
        encoder = self.encoders[parts[1]] if parts[0] == "encoders" else None
        slow = isinstance(encoder, Encoder) and encoder.pretrained and parts[2] != "temporal"
        return Group(lr_scale=self.config.encoder_lr if slow else 1.0)

    def after_step(self, step: Step) -> None:
        """Clamp the logit scale."""
        self.logit_scale.clamp_()

    # --- the loss ---

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        """For each modality its embedding ``(B, D)``, and ``_values``, ``_mask`` and ``_votes`` of each level."""
        towers = {}
        for modality in self.needs:
            if modality in batch:
                levels = self.levels[modality](*self._tokens(modality, batch))
                towers[modality] = levels[0].direction
                for number, tokens in enumerate(levels):
                    towers |= {f"{modality}_{part}_{number}": value for part, value in vars(tokens).items()}
        return towers

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """The teacher's error, or contrast and distillation at all levels; scores are those of all processes' rows."""
        levels = [
            [_level(towers, name, number) for name in STREAMS] for number in range(1 + len(self.config.merge_ratios))
        ]
        if step.stage == TEACHER:
            text, video = levels[0]
            loss = self._teacher_error(text, video, step)
            return {"total": loss, "error": loss.detach()}
        cfg, scale = self.config, self.logit_scale()
        scores = [self._both_ways(*level) for level in levels]  # each (2, b, W·b): texts' rows, clips' rows
        pairs = contrasted(scores[0][0], batch, cfg.duplicates)
        contrast = _sum(contrastive_loss(scale * each, *pairs) for each in scores)
        terms = {"contrastive": contrast, "logit_scale": scale.detach()}
        total = contrast
        if self.teacher is not None and step.stage != WARM:
            terms["interaction"] = _sum(self._misread(level, *tokens) for level, tokens in enumerate(levels))
            total = total + cfg.interaction_weight * terms["interaction"]
        if cfg.distill_weight and len(scores) > 1:
            terms["distillation"] = _sum(self._unlike(each, scores[0]) for each in scores[1:])
            total = total + cfg.distill_weight * terms["distillation"]
        return {"total": total, **{name: value.detach() for name, value in terms.items()}}

    def _both_ways(self, text: Tokens, video: Tokens) -> Tensor:
        if world_size() == 1:
            scores = self._interaction(text, video)
            return torch.stack([scores, scores.mT])
        by_text, by_video = self._interaction(text, video.gathered()), self._interaction(text.gathered(), video)
        return torch.stack([by_text, by_video.mT])

    def _interaction(self, text: Tokens, video: Tokens) -> Tensor:
        """Scores ``(A, B)`` of texts with clips at one level."""
        tokens, votes, masks = zip(*((side.values, side.votes, side.mask) for side in (text, video)), strict=True)
        return weighted_interaction(*tokens, *votes, *masks, padding=self.config.padding)

    def _teacher_error(self, text: Tokens, video: Tokens, step: Step) -> Tensor:
        """Squared error on interactions by drawn coalitions: the mean over real cells, then over pairs."""
        cfg, cosines, real = self.config, *_cosines(text, video)
        wanted = token_interaction(
            cosines,
            text.votes,
            video.votes,
            text.mask,
            video.mask,
            cfg.coalitions,
            variant=cfg.game,
            scale=cfg.game_scale,
            generator=step.generator(cosines.device),
        )
        assert self.teacher is not None  # the stage is its own
        error = (self.teacher(cosines.detach(), real) - wanted).square().sum(dim=(1, 2))
        return (error / real.sum(dim=(1, 2)).clamp(min=1)).mean()

    def _misread(self, level: int, text: Tokens, video: Tokens) -> Tensor:
        """How far what is read at a level is from what the teacher reads there, over frames and over words."""
        cosines, real = _cosines(text, video)
        with torch.no_grad():
            wanted = self.teacher(cosines.detach(), real)  # type: ignore[misc]  # there is one
        found = self.readers[level](cosines, real)
        if self.config.distillation == "released":  # its transpose turns all axes: the second softmax is over pairs
            return kl_rows(found, wanted, reduction="numel") + kl_rows(
                found.permute(2, 1, 0), wanted.permute(2, 1, 0), reduction="numel"
            )
        over_frames = kl_rows(found, wanted, row_mask=text.mask, column_mask=video.mask)
        return over_frames + kl_rows(found.mT, wanted.mT, row_mask=video.mask, column_mask=text.mask)

    def _unlike(self, scores: Tensor, first: Tensor) -> Tensor:
        """How far the scores of a level are from those of the first, both ways."""
        cfg = self.config
        reduction: Literal["batch", "numel"] = "numel" if cfg.distillation == "released" else "batch"
        return 2 * kl_rows(scores, first, cfg.distill_temperature, reduction, detach_teacher=cfg.detach_first)

    # --- use ---

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The direction of the weighted mean of each row's tokens, for the first stage of a search."""
        return {name: features.pooled for name, features in self.token_features(batch).items()}

    def token_features(self, batch: Batch) -> dict[str, Features]:
        """Projected tokens, of which :meth:`rescore` makes all levels."""
        found = {name: self._tokens(name, batch) for name in self.needs if name in batch}
        return {name: Features(self.levels[name](*tokens, 1)[0].direction, *tokens) for name, tokens in found.items()}

    def rescore(self, query: Features, candidates: Features, modality: str) -> Tensor:
        """Weighted token-wise interaction ``(A, B)``, its mean over the levels by ``level_weights``."""
        other = next(name for name in self.needs if name != modality)
        weights = self.config.level_weights
        sides = {
            name: self.levels[name](*rows.sequence(), len(weights))
            for name, rows in ((modality, query), (other, candidates))
        }
        scores = [
            weight * self._interaction(text, video)
            for weight, text, video in zip(weights, sides["text"], sides["video"], strict=True)
            if weight
        ]
        total = _sum(scores) / sum(weights)
        return total if modality == "text" else total.mT

    def word_frame(self, batch: Batch) -> Tensor:
        """What the first reader sees in each clip and its text; the cosines of a model that was trained without."""
        text, video = (self.levels[name](*self._tokens(name, batch), 1)[0] for name in STREAMS)
        cosines, real = _cosines(text, video)
        return self.readers[0](cosines, real) if len(self.readers) else cosines

    def _tokens(self, modality: str, batch: Batch) -> tuple[Tensor, Tensor]:
        """Tokens ``(B, N, D)`` in the common space, and which are real."""
        stream = self.encoders[modality](batch[modality], batch.get(f"{modality}_mask")).stream(STREAMS[modality])
        return self.projections[modality](stream.values), stream.real()


def _level(towers: dict[str, Tensor], modality: str, level: int) -> Tokens:
    return Tokens(*(towers[f"{modality}_{part}_{level}"] for part in ("values", "mask", "votes")))


def _cosines(text: Tokens, video: Tokens) -> tuple[Tensor, Tensor]:
    """Of the words of each text with the frames of its own clip ``(B, n, m)``, and which cells are real."""
    real = text.mask[:, :, None] & video.mask[:, None]
    return paired_similarity(text.values, video.values, text.mask, video.mask), real


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum(dim=0)
