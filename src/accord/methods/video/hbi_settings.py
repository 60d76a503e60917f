"""Settings of HBI (:mod:`accord.methods.video.hbi`), which answers share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from accord import config as settings
from accord.encoders.clip_tower import heads_for
from accord.encoders.transformer import ActivationName


class HbiConfig(settings.Config):
    """Settings of :class:`Hbi`; defaults from the paper, but where a description says so.

    The paper pads every caption to 24 tokens and merges padding as well, so that no level has fewer than two. Here a
    row is merged by its own tokens.
    """

    dim: int = Field(512, ge=1, description="size of the space that tokens are compared in; a multiple of heads")
    frame_layers: int = Field(
        0,
        ge=0,
        description="blocks over the projected frames, added to them; 4 where a bundle is the start, as in the paper",
    )
    frame_heads: int | None = Field(None, ge=1, description="their attention heads; none for one per 64 of dim")
    frame_activation: ActivationName = Field("quick_gelu", description="inside their MLPs")
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
        0, ge=0, description="epochs of the first level alone before the others, for encoders that start at random"
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

    @property
    def heads_over_frames(self) -> int:
        """Attention heads of the blocks over frames."""
        return heads_for(self.dim, self.frame_heads)

    @model_validator(mode="after")
    def _levels_fit(self) -> HbiConfig:
        if any(not 0 < ratio <= 1 for ratio in self.merge_ratios):
            raise ValueError(f"merge_ratios = {list(self.merge_ratios)}: expected shares in (0, 1]")
        if self.merge_ratios and self.dim % self.heads:
            raise ValueError(f"heads = {self.heads}: must divide dim = {self.dim}")
        if self.frame_layers and self.dim % self.heads_over_frames:
            raise ValueError(f"frame_heads = {self.heads_over_frames}: must divide dim = {self.dim}")
        weights, levels = self.level_weights, 1 + len(self.merge_ratios)
        if not 1 <= len(weights) <= levels or min(weights) < 0 or not sum(weights):
            raise ValueError(
                f"level_weights = {list(weights)}: expected at most one for each of {levels} levels, none negative and "
                "not all 0"
            )
        return self
