"""``discovery``: whether a method finds classes that nobody has labelled, and how many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from accord.evaluation.classification import scored_rows
from accord.evaluation.discovery import Scored, score_discovery
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Can, Labels, Shared, main_modality
from accord.evaluation.sections import Example, Item, Retrieval
from accord.evaluation.task import Options, Task
from accord.methods.abilities import DiscoversClasses

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model

SHOWN, ROWS = 12, 6  # new classes in the report, and rows of each


class DiscoveryOptions(Options):
    """Options of the task."""

    old: tuple[str, ...] = Field((), description="classes whose labels are given; none for those of the training data")
    share: float = Field(0.5, gt=0, lt=1, description="share of the rows of these whose label is given")
    seed: int = Field(0, ge=0, description="which rows these are")


def run(model: Model, prepared: Prepared, options: DiscoveryOptions) -> list[Metric]:
    """Accuracy on the rows whose label was not given, and the number of classes."""
    return _scored(model, prepared, options).metrics()


def shows(model: Model, prepared: Prepared, options: DiscoveryOptions) -> list[Retrieval]:
    """The most typical rows of the largest new classes."""
    scored = _scored(model, prepared, options)
    assigned, known = scored.found.assigned.cpu(), scored.found.known
    sizes = torch.bincount(assigned, minlength=scored.found.classes)[known:]
    largest = (sizes.argsort(descending=True, stable=True)[:SHOWN] + known).tolist()
    examples = tuple(_typical(scored, assigned, number) for number in largest)
    lead = "Clusters that are none of the known classes, the largest first: the rows nearest to their middle."
    corpus = prepared.test.having(main_modality(model, prepared.test))
    return [Retrieval(lead, examples, title="New classes", corpus=corpus)] if examples else []


def knows_some(model: Model, prepared: Prepared) -> bool:
    """Whether a class that the model was trained on has a row to label and one to find."""
    test = prepared.test
    labels = scored_rows(test)[1]
    known = [number for number, name in enumerate(test.classes) if name in model.classes]
    return labels.ndim == 1 and bool((np.bincount(labels, minlength=len(test.classes))[known] > 1).any())


def _typical(scored: Scored, assigned: torch.Tensor, number: int) -> Example:
    """One class that was found, and the rows nearest to its mean."""
    members = (assigned == number).nonzero().squeeze(1)
    own = scored.vectors[members]
    nearness = own @ F.normalize(own.mean(dim=0), dim=0)
    best = nearness.topk(min(ROWS, len(members)))
    hits = tuple(
        Item(row=int(scored.rows[int(members[place])]), score=value)
        for place, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )
    return Example(Item(text=f"class {number + 1}, {len(members)} rows"), hits)


def _scored(model: Model, prepared: Prepared, options: DiscoveryOptions) -> Scored:
    modality = main_modality(model, prepared.test)
    test = prepared.test.having(modality)
    vectors = model.embed_corpus(test, modality)
    able = model.able(DiscoversClasses)
    return score_discovery(able, vectors, test, options.old or model.classes, options.share, options.seed)


TASK = Task(
    "discovery",
    measures="accuracy on rows without label of old and of new classes under the best match, and how many were found",
    needs=(Can(DiscoversClasses), Labels(), Shared()),
    order=18,
    options=DiscoveryOptions,
    run=run,
    shows=shows,
    fits=knows_some,
)
