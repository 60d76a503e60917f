"""``counterfactuals``: whether a row finds its caption among captions of which one thing was changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from accord.evaluation.counterfactuals import (
    Groups,
    Ties,
    blind_metric,
    grouped,
    ranking_metrics,
    sensitivity_metrics,
    warn_of_blind,
)
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Embeds, Rows, Shared, main_modality
from accord.evaluation.sections import Example, Item, Retrieval
from accord.evaluation.task import Options, Task

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model

_SHOWN = 6  # rows in the report


class CounterfactualOptions(Options):
    """Options of the task."""

    ties: Ties = Field(
        "mean",
        description="where altered captions with the score of the true one stand: behind it "
        "(positive, as the paper counts), before it (negative), or half of them",
    )
    prior: bool = Field(
        False, description="rank by each caption's log-odds for its row against all other rows, instead of by cosines"
    )
    blind: bool = Field(True, description="measure as well what a classifier of the captions alone finds")


def run(model: Model, prepared: Prepared, options: CounterfactualOptions) -> list[Metric]:
    """Recalls and ranks, what is seen of each kind of change, and what the captions alone give away."""
    found = _found(model, prepared)
    metrics = ranking_metrics(found, found.scores(options.prior, model.logit_scale), options.ties)
    metrics += sensitivity_metrics(found)
    if options.blind:
        blind = blind_metric(found)
        warn_of_blind(blind)
        metrics += [blind] if blind.n else []  # of very few rows nothing can be said
    return metrics


def shows(model: Model, prepared: Prepared, options: CounterfactualOptions) -> list[Retrieval]:
    """Some rows with their captions, the likeliest first."""
    found = _found(model, prepared)
    scores = found.scores(options.prior, model.logit_scale)
    chosen = np.random.default_rng(0).permutation(len(found.rows))[:_SHOWN]
    lead = (
        "Rows and their captions as the model ranks them: the true one (✓), and those in which something was changed. "
        "Nothing but what was changed tells them apart."
    )
    examples = []
    for row in chosen.tolist():
        said, values = found.said[row], scores[row, : found.sizes[row]].tolist()
        items = [Item(text=found.true[row], score=values[0], correct=True, relation="its own caption")]
        items += [
            Item(text=text, score=value, correct=False, relation=kind and f"another {kind}")
            for text, value, kind in zip(said.texts, values[1:], said.kinds, strict=True)
        ]
        ranked = sorted(items, key=lambda item: -(item.score or 0.0))
        examples.append(Example(Item(row=row), tuple(ranked)))
    return [Retrieval(lead, tuple(examples), title="Altered captions", corpus=found.corpus)]


def _found(model: Model, prepared: Prepared) -> Groups:
    test = prepared.test
    return model.once(test, "altered captions", lambda: grouped(model, test, main_modality(model, test)))


TASK = Task(
    "counterfactuals",
    measures="R@1, R@3 and rank of each row's caption among altered ones; what the model sees of each kind of change; "
    "what captions alone give away",
    needs=(Embeds("text"), Rows("text", "counterfactuals"), Shared(besides="text")),
    order=21,
    options=CounterfactualOptions,
    run=run,
    shows=shows,
)
