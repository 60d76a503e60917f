"""``sts``: whether texts that people find alike are near each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from accord.errors import DataError
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Embeds, Rows
from accord.evaluation.sts import Aggregate, sts_evaluate
from accord.evaluation.task import Options, Task

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model


class StsOptions(Options):
    """Options of the task."""

    aggregate: Aggregate = Field("all", description="over all pairs at once, or the mean over the subsets")


def run(model: Model, prepared: Prepared, options: StsOptions) -> list[Metric]:
    """Correlations over the rows with a second text and a score."""
    there = prepared.test.has_target("text_pair") & prepared.test.has_target("score")
    test = prepared.test.select(np.flatnonzero(there)).having("text")
    if len(test) < 2:
        raise DataError(f"{prepared.test.name} has {len(test)} rows with text_pair and score; expected two at least")
    pairs = [test.targets_of(position, ["text_pair"])["text_pair"] for position in range(len(test))]
    second = model.embed(texts=[pair.text for pair in pairs])
    gold, subsets = [pair.score for pair in pairs], [pair.subset for pair in pairs]
    return sts_evaluate(model.embed_corpus(test, "text"), second, gold, subsets, options.aggregate, test.groups())


TASK = Task(
    "sts",
    measures="Spearman's correlation, times 100, of cosines with how alike people found pairs of texts",
    needs=(Embeds("text"), Rows("text", "text_pair", "score")),
    order=15,
    options=StsOptions,
    run=run,
)
