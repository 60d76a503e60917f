"""Whether the order of a clip's frames reaches an answer: the same frames shuffled and played backwards.

Accuracy that stays when frames are shuffled comes from what single frames show (Huang et al. 2018, CVPR, "What makes a
video a video").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.data.draws import Purpose, draw
from accord.evaluation.classification import Classification, group_rows, score_classes, scored_rows
from accord.evaluation.metric import Metric, mean_metric
from accord.methods.abilities import Classifies

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.training.model import Model

AS_THEY_ARE, SHUFFLED, REVERSED = "as they are", "shuffled", "reversed"
ORDERS = (AS_THEY_ARE, SHUFFLED, REVERSED)


def frame_order(mask: Tensor, rows: NDArray[np.int64], how: str, seed: int = 0) -> Tensor:
    """Positions ``(B, T)`` of the frames of B clips in another order; padding stays where it is.

    Args:
        mask: ``(B, T)`` bool, True on real frames, which come first.
        rows: ``(B,)`` numbers of the clips, on which a shuffled order hangs.
        how: one of ``ORDERS``.
        seed: which shuffled order.

    Example:
        >>> frame_order(torch.tensor([[True, True, True, False]]), np.array([0]), REVERSED)
        tensor([[2, 1, 0, 3]])
    """
    places = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    if how == AS_THEY_ARE:
        return places
    if how == REVERSED:
        return torch.where(mask, mask.sum(dim=1, keepdim=True) - 1 - places, places)
    drawn = draw(seed, Purpose.SHUFFLE, rows[:, None], np.arange(mask.shape[1])) >> np.uint64(11)
    keys = torch.from_numpy(drawn.astype(np.int64)).to(mask.device)
    return keys.masked_fill(~mask, torch.iinfo(torch.int64).max).argsort(dim=1, stable=True)


def ordered_logits(model: Model, corpus: Corpus, seed: int = 0) -> dict[str, Tensor]:
    """Class logits ``(N, K)`` of every clip with its frames in each of ``ORDERS``, from one pass over the rows."""
    able = model.able(Classifies)

    def ask(batch: dict[str, Any]) -> Tensor:
        rows = batch["index"].cpu().numpy()
        orders = [frame_order(batch["video_mask"], rows, how, seed) for how in ORDERS]
        seen = [batch["video"].take_along_dim(order[:, :, None, None, None], dim=1) for order in orders]
        return torch.stack([able.classify({**batch, "video": video}).float().cpu() for video in seen])

    return dict(zip(ORDERS, torch.cat(model.over_batches(corpus, ask), dim=1), strict=True))


def evaluate_order(model: Model, corpus: Corpus, seed: int = 0) -> list[Metric]:
    """Accuracy in each order, and the share of clips that are answered otherwise than as they are.

    Args:
        model: classifies clips.
        corpus: one label a row, of classes that the model knows, in its order.
        seed: which shuffled order.
    """
    rows, labels = scored_rows(corpus)
    groups = group_rows(corpus, rows)
    logits = ordered_logits(model, corpus, seed)
    outcomes = {
        how: score_classes(each[torch.from_numpy(rows)], labels, corpus.classes, groups) for how, each in logits.items()
    }
    chance = 100 / len(corpus.classes)
    accuracies = [
        mean_metric(f"top-1, frames {how}", outcome.predicted == outcome.labels, chance=chance, groups=groups)
        for how, outcome in outcomes.items()
    ]
    return [*accuracies, *(_changed(outcomes[AS_THEY_ARE], outcomes[how], how) for how in (SHUFFLED, REVERSED))]


def _changed(first: Classification, other: Classification, how: str) -> Metric:
    return mean_metric(
        f"answers that change, {how}", first.predicted != other.predicted, chance=None, groups=first.groups
    )
