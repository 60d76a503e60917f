"""HBI: Video-Text as Game Players: Hierarchical Banzhaf Interaction (Jin et al., CVPR 2023).

A clip and a sentence are compared token by token, every token with a weight, at three levels: words with frames, and
phrases with scenes twice, to which tokens are merged around density peaks. Which word means which frame nobody says;
the interaction of the two in a game whose pay-off is the similarity stands for it
(:mod:`accord.functional.similarity.banzhaf`). First a teacher learns to read it from the cosines (stage 1), then
everything is trained, and a head at each level learns from the teacher, so that its gradient reaches the cosines (stage
2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from accord import config as settings
from accord.data.inputs import VideoInput
from accord.data.loading.features import Features
from accord.encoders.base import Encoder
from accord.encoders.bundles import Bundle
from accord.encoders.clip_blocks import clip_blocks
from accord.encoders.heads import AddedSteps, BanzhafHead, TokenLevels, Tokens
from accord.encoders.video import FrameEncoder
from accord.functional import (
    contrastive_loss,
    kl_rows,
    paired_similarity,
    token_interaction,
    token_weights,
    weighted_interaction,
    world_size,
)
from accord.methods.abilities import Rescores, TimesWords, WordTimes
from accord.methods.base import Batch, DataInfo, Group, Optimiser, Stage, Step, TwoTower
from accord.methods.duplicates import contrasted
from accord.methods.video.hbi_settings import HbiConfig
from accord.state import LogitScale

STREAMS = {"text": "words", "video": "frames"}
WARM, TEACHER, TRAIN = "warm", "teacher", "train"  # the stages
_FURTHER = re.compile(r"^(teacher|readers)\.|\.merges\.|^classifiers\.[1-9]|\.votes\.[1-9]")  # than the first level
TEMPORAL = {"temporal": "transformer", "depth": 4, "heads": 8, "frames": 12}


class Hbi(TwoTower, Rescores, TimesWords):
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
        >>> hbi.word_times(batch).similarity.shape == (2, ids.shape[1], 4)
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
        self.over_frames = self._over_frames(encoders["video"]) if cfg.frame_layers else None
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
        """Frames of a bundle's picture tower; what reads them in order stands behind its projection."""
        return {"video": {"name": "frames", "options": {"image": {"name": bundle}, "frames": TEMPORAL["frames"]}}}

    @classmethod
    def settings_from(cls, bundle: Bundle) -> dict[str, Any]:
        """The size of the space, and of the blocks over frames, which begin as those of a CLIP's text tower."""
        decided = {**super().settings_from(bundle), "frame_layers": TEMPORAL["depth"]}
        blocks = clip_blocks(bundle.encoders.get("text"))
        if blocks is None or blocks.width != bundle.dim:
            return decided
        return {**decided, "frame_heads": blocks.heads, "frame_activation": blocks.activation}

    def start_from(self, bundle: Bundle) -> tuple[str, ...]:
        """What fits; for frames also the projection of the bundle's pictures, and blocks and positions of its texts."""
        taken = super().start_from(bundle)
        if self._reads_as(bundle):
            matrix = bundle.projections.get("image", torch.eye(bundle.dim))
            self.projections["video"].load_state_dict({"weight": matrix})
            taken = (*taken, "video projection")
        blocks, over = clip_blocks(bundle.encoders.get("text")), self.over_frames
        if blocks is None or over is None or not blocks.lend(over.transformer):
            return taken
        blocks.lend_positions(over.positions)
        return *taken, "transformer over frames"

    def _reads_as(self, bundle: Bundle) -> bool:
        """Whether frames are read by the bundle's tower of pictures, and projected into a space of its size."""
        video, picture = self.encoders["video"], bundle.encoders.get("image")
        if not isinstance(video, FrameEncoder) or picture is None or video.image.spec() != picture.spec():
            return False
        return self.projections["video"].weight.shape == (bundle.dim, picture.dim)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The teacher alone, on cosines that nobody trains; then all but the teacher. Before, if asked for, level 1."""
        cfg, names = self.config, [name for name, _ in self.named_parameters()]
        found = [Stage(WARM, epochs=cfg.warm_epochs, train=tuple(name for name in names if not _FURTHER.search(name)))]
        if not cfg.warm_epochs:
            found = []
        if self.teacher is not None:
            own = Optimiser(lr=cfg.teacher_lr)
            found.append(Stage(TEACHER, epochs=cfg.teacher_epochs, train=("teacher.",), optimisers=(own,)))
        return *found, Stage(TRAIN, train=tuple(name for name in names if not name.startswith("teacher.")))

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
        levels, cfg = self.levels_in(towers, step), self.config
        if step.stage == TEACHER:
            loss = self._teacher_error(*levels[0], step)
            return {"total": loss, "error": loss.detach()}
        total, scores, terms = self.matched(levels, batch, step)
        if cfg.distill_weight and len(scores) > 1:
            terms["distillation"] = _sum(2 * self.distilled(each, scores[0]) for each in scores[1:])
            total = total + cfg.distill_weight * terms["distillation"]
        return {"total": total, **{name: value.detach() for name, value in terms.items()}}

    def levels_in(self, towers: dict[str, Tensor], step: Step) -> list[tuple[Tokens, Tokens]]:
        """Words and frames of each level that a stage trains."""
        count = 1 if step.stage == WARM else 1 + len(self.config.merge_ratios)
        return [(_level(towers, "text", number), _level(towers, "video", number)) for number in range(count)]

    def matched(
        self, levels: Sequence[tuple[Tokens, Tokens]], batch: Batch, step: Step
    ) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
        """Contrast and game summed over all levels, the scores of each ``(2, b, W·b)``, and the terms by name.

        Scores have texts as rows, then clips; columns are those of all processes.
        """
        cfg, scale = self.config, self.logit_scale()
        scores = [self._both_ways(*level) for level in levels]
        pairs = contrasted(scores[0][0], batch, cfg.duplicates)
        total = _sum(contrastive_loss(scale * each, *pairs) for each in scores)
        terms = {"contrastive": total, "logit_scale": scale}
        if self.teacher is not None and step.stage != WARM:
            terms["interaction"] = _sum(self._misread(level, *tokens) for level, tokens in enumerate(levels))
            total = total + cfg.interaction_weight * terms["interaction"]
        return total, scores, terms

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

    def distilled(self, scores: Tensor, first: Tensor) -> Tensor:
        """How far the scores of a level are from those of the first, the mean over tables of rows."""
        cfg = self.config
        reduction: Literal["batch", "numel"] = "numel" if cfg.distillation == "released" else "batch"
        return kl_rows(scores, first, cfg.distill_temperature, reduction, detach_teacher=cfg.detach_first)

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

    def word_times(self, batch: Batch) -> WordTimes:
        """What the first reader sees of words and frames; the cosines of a model that was trained without."""
        text, video = (self.levels[name](*self._tokens(name, batch), 1)[0] for name in STREAMS)
        cosines, real = _cosines(text, video)
        found = self.readers[0](cosines, real) if len(self.readers) else cosines
        seconds = batch.get("video_times")
        if seconds is None:
            seconds = torch.arange(real.shape[2], device=real.device).expand(video.mask.shape)
        weights = token_weights(found.flatten(0, 1), real.flatten(0, 1)).view_as(found)
        return WordTimes(found, weights, seconds.float(), video.mask)

    def _tokens(self, modality: str, batch: Batch) -> tuple[Tensor, Tensor]:
        """Tokens ``(B, N, D)`` in the common space, and which are real."""
        stream = self.encoders[modality](batch[modality], batch.get(f"{modality}_mask")).stream(STREAMS[modality])
        tokens, real = self.projections[modality](stream.values), stream.real()
        if modality == "video" and self.over_frames is not None:
            tokens = self.over_frames(tokens, real)
        return tokens, real

    def _over_frames(self, video: Encoder) -> AddedSteps:
        cfg, frames = self.config, video.input
        assert isinstance(frames, VideoInput)  # it gives frames
        return AddedSteps(cfg.dim, frames.frames, cfg.frame_layers, cfg.heads_over_frames, cfg.frame_activation)


def _level(towers: dict[str, Tensor], modality: str, level: int) -> Tokens:
    return Tokens(*(towers[f"{modality}_{part}_{level}"] for part in ("values", "mask", "votes")))


def _cosines(text: Tokens, video: Tokens) -> tuple[Tensor, Tensor]:
    """Of the words of each text with the frames of its own clip ``(B, n, m)``, and which cells are real."""
    real = text.mask[:, :, None] & video.mask[:, None]
    return paired_similarity(text.values, video.values, text.mask, video.mask), real


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum(dim=0)
