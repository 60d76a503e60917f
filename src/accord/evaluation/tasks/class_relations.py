"""``class_relations``: how classes are related in the dimensions that a method opens to each pair of them (Hydra)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from accord.evaluation.classification import in_classes_of, labelled_rows
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Can, Labels, Subjects
from accord.evaluation.sections import Relations, Section
from accord.evaluation.task import Options, Task
from accord.functional import class_means
from accord.methods.abilities import RelatesClasses

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.data.recipe import Prepared
    from accord.training.model import Model


class RelationOptions(Options):
    """Options of the task."""

    classes: int = Field(40, ge=2, le=100, description="most classes that are related, those with most rows first")


@dataclass(frozen=True)
class Related:
    """Every pair of C classes.

    Args:
        names: of the classes.
        inside: ``(C, C)`` cosine of the two classes' mean vectors in the dimensions that are open to the pair.
        outside: ``(C, C)`` cosine of the same in all dimensions.
        share: ``(C, C)`` share of the dimensions that is open.
        gates: ``(C, C)`` cosine of the gates of the two classes, each paired with itself.
    """

    names: tuple[str, ...]
    inside: Tensor
    outside: Tensor
    share: Tensor
    gates: Tensor


def run(model: Model, prepared: Prepared, options: RelationOptions) -> list[Metric]:
    """How close two different classes are where their gate is open and in all dimensions, and how much is open."""
    found = _related(model, prepared, options)
    first, second = torch.triu_indices(len(found.names), len(found.names), 1)
    values: dict[str, Tensor | float] = {
        "cosine of two classes, open dimensions": found.inside[first, second].mean(),
        "cosine of two classes, all dimensions": found.outside[first, second].mean(),
        "open dimensions": found.share[first, second].mean(),
        "rank correlation of gates and vectors": _agreement(found.gates[first, second], found.outside[first, second]),
    }
    return [Metric(name, 100 * float(value), None, None, None, len(first)) for name, value in values.items()]


def shows(model: Model, prepared: Prepared, options: RelationOptions) -> Iterator[Section]:
    """Two maps of all pairs, classes that are related beside each other."""
    found = _related(model, prepared, options)
    order = _beside_each_other(found.inside)
    names = tuple(found.names[place] for place in order)
    for title, lead, values in (
        ("Related classes", "Cosine of two classes in the dimensions that are open to their pair.", found.inside),
        ("Open dimensions", "Share of the dimensions that is open to each pair of classes.", found.share),
    ):
        yield Relations(lead, names, values[order][:, order].tolist(), title=title)


def _related(model: Model, prepared: Prepared, options: RelationOptions) -> Related:
    test = labelled_rows(in_classes_of(prepared.test.having(*model.method.subjects), model.classes))
    return model.once(test, f"relations of {options.classes}", lambda: _relate(model, test, options.classes))


@torch.inference_mode()
def _relate(model: Model, test: Corpus, most: int) -> Related:
    able = model.able(RelatesClasses)
    labels = torch.from_numpy(np.asarray(test.labels))
    vectors = torch.cat(model.over_batches(test, lambda batch: able.project(batch).cpu()))
    means, counts = class_means(F.normalize(vectors, dim=1), labels, len(test.classes))
    # Classes without rows have no vector
    chosen = counts.argsort(descending=True, stable=True)[: min(most, int((counts > 0).sum()))].sort().values
    means = means[chosen]  # (C, d)
    rows = [able.gates(chosen[place].expand(len(chosen)), chosen).cpu() for place in range(len(chosen))]  # C × (C, d)
    inside = torch.stack(
        [F.cosine_similarity(gate * mean, gate * means) for gate, mean in zip(rows, means, strict=True)]
    )
    own = F.normalize(torch.stack([gate[place] for place, gate in enumerate(rows)]), dim=1)  # (C, d)
    return Related(
        tuple(test.classes[place] for place in chosen.tolist()),
        inside,
        F.cosine_similarity(means[:, None], means[None], dim=2),
        torch.stack([gate.mean(dim=1) for gate in rows]),
        own @ own.T,
    )


def _agreement(one: Tensor, other: Tensor) -> float:
    """Rank correlation of two values of each pair; NaN where one is the same for all."""
    from scipy.stats import spearmanr

    same = any(bool((values == values[:1]).all()) for values in (one, other))
    return np.nan if same else float(spearmanr(one, other).statistic)


def _beside_each_other(similarity: Tensor) -> list[int]:
    """The order of the leaves of a tree of average linkage over distances ``1 - similarity (C, C)``."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = (1 - (similarity + similarity.T) / 2).clamp(min=0).double().numpy()
    np.fill_diagonal(distance, 0)
    return [int(place) for place in leaves_list(linkage(squareform(distance), "average", optimal_ordering=True))]


TASK = Task(
    "class_relations",
    measures="cosine of two classes in the dimensions that the method opens to them, and how many these are",
    needs=(Can(RelatesClasses), Labels(known=True), Subjects()),
    order=95,
    options=RelationOptions,
    run=run,
    shows=shows,
)
