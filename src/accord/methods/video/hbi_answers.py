"""HBI answers questions about clips (Jin et al., CVPR 2023, video question answering).

A question and its clip are compared at three levels as a caption and its clip are (:mod:`accord.methods.video.hbi`). At
each level the words and the frames, pooled by their votes, go to a classifier over the commonest answers of training;
what it says at further levels is drawn to what it says of words and frames, which is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.data.inputs import Input, TextInput
from accord.encoders.base import Encoder
from accord.encoders.generation import Caption, Decoding
from accord.encoders.heads import TokenAnswers, Tokens
from accord.errors import ConfigError
from accord.functional import own_rows, token_mean, world_size
from accord.methods.abilities import Answers
from accord.methods.base import Batch, DataInfo, Step
from accord.methods.video.hbi import TEACHER, Hbi
from accord.methods.video.hbi_settings import HbiConfig


class HbiAnswersConfig(HbiConfig):
    """Settings of :class:`HbiAnswers`; defaults from the paper, but where a description says so."""

    most_answers: int = Field(1500, ge=2, description="commonest answers of training that it chooses from")
    answer_width: int = Field(512, ge=1, description="numbers that a clip, and a question, are to its classifiers")
    answer_dropout: float = Field(0.1, ge=0, lt=1, description="share of these that is dropped in training")
    distill_weight: float = Field(2.0, ge=0, description="of the distillation of the first level's answers into others")


@dataclass(frozen=True)
class AnswerList:
    """A tokenizer of whole answers: one id for each, masked where an answer is not in the list.

    Args:
        answers: in lower case.

    Example:
        >>> AnswerList(("yes", "no"))(["No", "maybe"])
        (tensor([[1],
                [0]]), tensor([[ True],
                [False]]))
    """

    answers: tuple[str, ...]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {answer: place for place, answer in enumerate(self.answers)}

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Ids ``(B, 1)`` and mask."""
        places = torch.tensor([self._places.get(text.lower(), -1) for text in texts]).view(-1, 1)
        return places.clamp(min=0), places >= 0


class HbiAnswers(Hbi, Answers):
    """HBI's answers to questions about clips, over encoders as for :class:`Hbi`; a question is read as a text.

    Batch keys: ``video (B, T, 3, H, W)``, ``video_mask (B, T)``, ``input_text (B, L)``, ``input_text_mask (B, L)``,
    ``answers (B, 1)``, ``answers_mask (B, 1)``; in use a ``text (B, L)`` may stand in the place of the question.

    Raises:
        ConfigError: the training rows have fewer than two different answers.

    Example:
        >>> from accord.encoders import build_encoder
        >>> image = {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}
        >>> asked = ["which colour is it?", "what moves?"]
        >>> towers = {"video": build_encoder("video", {"name": "frames", "image": image, "frames": 4}),
        ...           "text": build_encoder("text", "tiny_text", texts=asked)}
        >>> method = HbiAnswers({"dim": 16, "head_width": 4}, towers, DataInfo(answers=("red", "a ball")))
        >>> ids, mask = towers["text"].input.tokenizer(asked)
        >>> batch = {"video": torch.randn(2, 4, 3, 16, 16), "input_text": ids, "input_text_mask": mask}
        >>> {str(answer) for answer in method.eval().answer(batch)} <= {"red", "a ball"}
        True
    """

    name: ClassVar[str] = "hbi_answers"
    Config: ClassVar[type[settings.Config]] = HbiAnswersConfig
    config: HbiAnswersConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg = self.config
        self.listed = AnswerList(data.answers[: cfg.most_answers])
        if len(self.listed.answers) < 2:
            raise ConfigError(f"method {self.name} needs at least 2 different answers, got {len(self.listed.answers)}")
        sizes = (cfg.dim, cfg.answer_width, len(self.listed.answers))
        self.classifiers = nn.ModuleList(TokenAnswers(*sizes) for _ in range(1 + len(cfg.merge_ratios)))

    # --- what it reads ---

    @classmethod
    def reads(cls, config: Any) -> tuple[str, ...]:
        """Clips, questions and their answers."""
        return ("video", "input_text", "answers")

    @property
    def inputs(self) -> dict[str, Input]:
        """Questions for the text encoder, and one answer of a row, by its place in the list."""
        read = super().inputs
        return {**read, "input_text": read["text"], "answers": TextInput(self.listed)}

    @property
    def subjects(self) -> tuple[str, ...]:
        """What an answer is about."""
        return ("video", "input_text")

    # --- the loss ---

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        """As of :class:`Hbi`, the question in the place of a caption."""
        return super().towers(_asked(batch))

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """The teacher's error, or half of contrast and game, and at all levels answers and their distillation."""
        if step.stage == TEACHER:
            return super().objective(towers, batch, step)
        levels, cfg = self.levels_in(towers, step), self.config
        matched, _, terms = self.matched(levels, _asked(batch), step)
        logits = self._logits(levels, step)
        terms["answers"] = torch.stack([_error(each, batch) for each in logits]).sum()
        total = matched / 2 + terms["answers"]
        if cfg.distill_weight and len(logits) > 1:
            terms["distillation"] = torch.stack([self.distilled(each, logits[0]) for each in logits[1:]]).sum()
            total = total + cfg.distill_weight * terms["distillation"]
        return {"total": total, **{name: value.detach() for name, value in terms.items()}}

    def _logits(self, levels: list[tuple[Tokens, Tokens]], step: Step) -> list[Tensor]:
        """Of the answers at each level ``(b, A)``; what is dropped is drawn for the rows of all processes."""
        cfg, rows = self.config, len(levels[0][0].votes)
        draws = step.generator(self.device)
        shape, own = (world_size() * rows, 2 * cfg.answer_width), own_rows(rows)
        found = []
        for classify, level in zip(self.classifiers[: len(levels)], levels, strict=True):
            kept = torch.rand(shape, generator=draws, device=self.device)[own] >= cfg.answer_dropout
            found.append(classify(*level, kept / (1 - cfg.answer_dropout)))
        return found

    # --- use ---

    def token_features(self, batch: Batch) -> dict[str, Any]:
        """As of :class:`Hbi`; a question where there is no other text."""
        return super().token_features(batch if "text" in batch else _asked(batch))

    @torch.inference_mode()
    def answer(self, batch: Batch, decoding: Decoding | None = None) -> list[Caption]:
        """The likeliest answer to the question of each row, with its log-likelihood; nothing is decoded."""
        asked = _asked(batch)
        text, video = (self.levels[name](*self._tokens(name, asked), 1)[0] for name in ("text", "video"))
        best = self.classifiers[0](text, video).log_softmax(dim=1).max(dim=1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [Caption(self.listed.answers[place], score) for place, score in pairs]


def _asked(batch: Batch) -> Batch:
    """The batch with its question in the place of the text."""
    if "input_text" not in batch:
        return batch
    return {**batch, "text": batch["input_text"], "text_mask": batch.get("input_text_mask")}


def _error(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of answers, the mean over the rows of all processes whose answer is in the list."""
    known = batch["answers_mask"][:, 0]
    errors = F.cross_entropy(logits, batch["answers"][:, 0], reduction="none")
    return token_mean((errors * known).sum(), known.sum(), across_processes=True)
