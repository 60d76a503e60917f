"""Clips of plain frames, and methods that classify them by rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from accord.data.corpus import Corpus, corpus_from_items
from accord.methods.abilities import Classifies
from accord.methods.base import Batch
from evaluation.answering import SIDE, Answering


class Watching(Answering, Classifies):
    """Brighter at the end, or darker, of two classes."""

    needs: Mapping[str, frozenset[str]] = {"video": frozenset({"pooled"})}

    def classify(self, batch: Batch) -> Tensor:
        first, last = self.levels(batch)
        return torch.stack([first - last, last - first], dim=1)

    def levels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The brightness of the first and of the last real frame."""
        bright, last = batch["video"].mean(dim=(2, 3, 4)), batch["video_mask"].sum(dim=1) - 1
        return bright[:, 0], bright.gather(1, last[:, None])[:, 0]


class Averaging(Watching):
    """Bright or dark, whatever the order."""

    def classify(self, batch: Batch) -> Tensor:
        real = batch["video_mask"][:, :, None, None, None]
        bright = (batch["video"] * real).flatten(1).mean(dim=1)
        return torch.stack([-bright, bright], dim=1)


def films(
    folder: Path, clips: Sequence[Sequence[Any]], labels: Sequence[int], size: tuple[int, int] = (SIDE, SIDE)
) -> Corpus:
    """A clip of plain frames for each list of grey values or of pictures, with its label."""
    folders = []
    for number, frames in enumerate(clips):
        home = folder / str(number)
        home.mkdir(parents=True)
        for place, frame in enumerate(frames):
            picture = frame if isinstance(frame, Image.Image) else Image.new("RGB", size, (frame,) * 3)
            picture.save(home / f"{place:03}.png")
        folders.append(home)
    return corpus_from_items("video", folders).with_labels(np.array(labels), classes=("darker", "brighter"))
