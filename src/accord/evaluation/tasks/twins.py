"""``twins``: whether captions tell the two rows of a pair apart that are nearly alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from accord.errors import DataError
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Embeds, Rows, Shared, main_modality
from accord.evaluation.task import Options, Task
from accord.evaluation.twins import pairs_of, twin_metrics

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model


def run(model: Model, prepared: Prepared, options: Options) -> list[Metric]:
    """Shares of the pairs that are told apart, over all and by the label that both rows of a pair have."""
    modality = main_modality(model, prepared.test)
    test = prepared.test.having(modality, "text")
    groups = test.groups()
    pairs = pairs_of(np.array([], np.str_) if groups is None else groups)
    if not len(pairs):
        raise DataError(
            f"{test.name}: no two rows with {modality} and text are a pair: name with --group a column that is "
            "equal in the two rows of a pair, and in no third"
        )
    places = torch.from_numpy(pairs)
    rows, texts = (model.embed_corpus(test, name)[places] for name in (modality, "text"))
    kinds: list[str | None] = []
    if test.labels is not None and not test.multi_label:
        named = [[test.classes[label] if label >= 0 else None for label in test.labels[pair]] for pair in pairs]
        kinds = [one if one == other else None for one, other in named]
    return twin_metrics(rows, texts, modality, kinds)


TASK = Task(
    "twins",
    measures="share of pairs of rows (two of a --group) whose captions both pick the right row; by label, too",
    needs=(Embeds("text"), Rows("text", "group"), Shared(besides="text")),
    order=None,
    run=run,
)
