"""What a method makes of the hidden parts of a clip or picture, for those that learn by filling in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from accord.data.corpus import corpus_from_items
from accord.data.loading.batches import to_device
from accord.explaining.base import Explanation, Way
from accord.methods.abilities import FillsIn
from accord.training.model import Model


@dataclass(frozen=True)
class FilledExplanation(Explanation):
    """A clip or picture, what of it was hidden, and what was made of that.

    Args:
        seen: ``(T, 3, H, W)`` in [0, 1], as the encoder sees it.
        hidden: ``(T, H, W)`` bool.
        made: as ``seen``, with what was filled in.
    """

    seen: Tensor
    hidden: Tensor
    made: Tensor

    @property
    def summary(self) -> str:
        """How much was hidden, and by how much what was made is off."""
        return f"{self.hidden.float().mean():.0%} hidden; off by {self._errors(self.hidden):.3f} of 1 where it was"

    @property
    def columns(self) -> Mapping[str, str]:
        """A frame, its hidden share, and the root of the mean squared error there."""
        return {"frame": "right", "hidden": "right", "off by": "right"}

    def rows(self) -> list[tuple[str, ...]]:
        """One line a frame."""
        lines: list[tuple[str, ...]] = []
        for number, hidden in enumerate(self.hidden):
            only = torch.zeros_like(self.hidden)
            only[number] = hidden
            lines.append((str(number + 1), f"{hidden.float().mean():.0%}", f"{self._errors(only):.3f}"))
        return lines

    def _errors(self, where: Tensor) -> float:
        off = (self.made - self.seen).square().mean(dim=1)  # (T, H, W)
        return float((off[where].sum() / where.sum().clamp(min=1)).sqrt())

    def draw(self, path: str | Path) -> Path:
        """See :func:`accord.explaining.timelines.draw_filled`."""
        from accord.explaining.timelines import draw_filled

        return draw_filled(self, path)


def explain_filled(model: Model, item: str | Path, seed: int = 0) -> FilledExplanation:
    """Hide as much of a clip or picture as in training, and let the model fill it in.

    Args:
        model: its method fills in.
        item: a path; what it holds is what the method embeds.
        seed: decides what is hidden.

    Raises:
        ConfigError: the method does not fill in.
        DataError: the file cannot be read.
    """
    able, modality = model.able(FillsIn), model.modalities[0]
    corpus = corpus_from_items(modality, [item])
    batch = next(iter(model.loader(corpus, (modality,), batch_size=1)))
    with torch.inference_mode():
        found = able.fill_in(to_device(batch, model.method.device), seed)
    return FilledExplanation(found.seen[0].cpu(), found.hidden[0].cpu(), found.made[0].cpu())


WAY = Way(
    "filled",
    "What it makes of hidden parts",
    FillsIn,
    lambda model, image, text, corpus, k: explain_filled(model, image),
)
