"""``retrieval``: rows by their captions and captions by their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from accord.evaluation.examples import captions_found
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Embeds, Rows, Shared, main_modality
from accord.evaluation.retrieval import CANDIDATES, evaluate_retrieval
from accord.evaluation.task import Options, Task

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.evaluation.sections import Section
    from accord.training.model import Model


class RetrievalOptions(Options):
    """Options of the task."""

    candidates: int = Field(CANDIDATES, ge=0, description="items that a second stage scores for each query; 0: none")


def run(model: Model, prepared: Prepared, options: RetrievalOptions) -> list[Metric]:
    """Recalls and ranks in both directions."""
    modality = main_modality(model, prepared.test)
    return evaluate_retrieval(model, prepared.test, modality, candidates=options.candidates)


def shows(model: Model, prepared: Prepared, options: RetrievalOptions) -> list[Section]:
    """Some captions and what they find, some rows and the captions that they find."""
    found = captions_found(model, prepared.test, main_modality(model, prepared.test))
    return [] if found is None else [found]


TASK = Task(
    "retrieval",
    measures="R@1, R@5, R@10 and median rank, both directions; any of a row's captions counts",
    needs=(Embeds("text"), Rows("text"), Shared(besides="text")),
    order=20,
    options=RetrievalOptions,
    run=run,
    shows=shows,
)
