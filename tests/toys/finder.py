"""A finder of moments: a start and a length for each clip, taught by the spans of its sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from accord.config import Config
from accord.data.augmenting.views import View
from accord.encoders.base import Encoder
from accord.methods.abilities import FindsMoments, Moments
from accord.methods.base import Batch, DataInfo, Method, Step


class FinderConfig(Config):
    """Nothing to set."""


class Finder(Method, FindsMoments):
    """One span for all sentences of a clip; the whole clip is its second guess.

    Batch keys: ``video``, ``video_mask``, ``moments``, ``moment_present``, ``moment_text``, ``duration``.
    """

    name: ClassVar[str] = "toy_finder"
    Config: ClassVar[type[Config]] = FinderConfig
    needs: Mapping[str, frozenset[str]] = {"video": frozenset({"pooled"})}
    targets: ClassVar[tuple[str, ...]] = ("moments",)
    views = (View(scale=(0.7, 1.0)),)

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.head = nn.Linear(encoders["video"].dim, 2)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """How far start and end are off, as shares of the clip."""
        errors = (self._spans(batch)[:, None] - batch["moments"]).abs()  # (B, S, 2)
        errors = (errors / batch["duration"][:, None, None])[batch["moment_present"]]
        return {"total": errors.sum() / max(1, len(errors)), "seconds": batch["duration"].mean()}

    def _spans(self, batch: Batch) -> Tensor:
        """Start and end ``(B, 2)`` in seconds."""
        found = self.head(self.encoders["video"](batch["video"], batch["video_mask"]).pooled).sigmoid()
        start = found[:, 0]
        return torch.stack([start, start + (1 - start) * found[:, 1]], dim=1) * batch["duration"][:, None]

    def find_moments(self, batch: Batch) -> list[Moments]:
        """Two spans for each sentence."""
        answers = []
        for span, seconds, sentences in zip(self._spans(batch), batch["duration"], batch["moment_text"], strict=True):
            guesses = torch.stack([span, torch.stack([torch.zeros_like(seconds), seconds])])  # (2, 2)
            scores = torch.tensor([1.0, 0.5], device=span.device)
            answers.append(Moments(guesses.expand(len(sentences), 2, 2), scores.expand(len(sentences), 2)))
        return answers
