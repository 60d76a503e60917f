"""Classification from a few labels of each class: how node embeddings are usually measured (HeCo, MEOW).

A linear probe is fitted on so many labelled rows of each class, drawn several times, and scored on held-out rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.errors import DataError
from accord.evaluation.classification import check_same_classes, given_labels, group_rows, scored_rows
from accord.evaluation.embedder import Embedder
from accord.evaluation.linear_probe import fit_probe
from accord.evaluation.metric import Metric, mean_metric, ratio_metric
from accord.evaluation.needs import main_modality

if TYPE_CHECKING:
    from accord.data.corpus import Corpus

PER_CLASS, DRAWS = (20, 40, 60), 10


def evaluate_few_labels(
    model: Embedder,
    corpus: Corpus,
    reference: Corpus,
    modality: str | None = None,
    per_class: Sequence[int] = PER_CLASS,
    draws: int = DRAWS,
) -> list[Metric]:
    """Macro-F1, micro-F1 and AUC of probes that are fitted on a few labels of each class; means over the draws.

    Args:
        model: embeds ``modality``; it is not trained.
        corpus: one label a row; scored.
        reference: labelled with the same classes; the labels are drawn from it, all where a class has fewer.
        modality: what is embedded; None for what the model looks at.
        per_class: labels of each class.
        draws: how often they are drawn.

    Returns:
        For each number of labels ``macro-F1 at 20``, ``micro-F1 at 20`` and ``AUC at 20`` (one against the rest).

    Raises:
        DataError: labels are missing or several a row, the reference is empty, or the two corpora have other classes.
    """
    check_same_classes(corpus, reference)
    modality = modality or main_modality(model, corpus)
    corpus, reference = corpus.having(modality), reference.having(modality)
    rows, labels = scored_rows(corpus)
    known = given_labels(reference)
    if known.ndim > 1:
        raise DataError(f"{reference.name}: a few labels of each class need one label a row")
    held, taught = model.embed_corpus(corpus, modality)[torch.from_numpy(rows)], model.embed_corpus(reference, modality)
    groups, count = group_rows(corpus, rows), len(corpus.classes)
    metrics = []
    for number in per_class:
        scores = []
        for draw in range(draws):
            chosen = few_of_each(known, number, draw)
            probe = fit_probe(taught[torch.from_numpy(chosen)], known[chosen], count, strengths=(1.0, 10.0, 100.0))
            scores.append(probe.logits(held))
        metrics += _metrics(scores, labels, count, f" at {number}", groups)
    return metrics


def few_of_each(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Positions of ``count`` rows of each class, all where a class has fewer, in random order.

    >>> few_of_each(np.array([0, 0, 0, 1, -1]), 2, seed=0).size
    3
    """
    random = np.random.default_rng(seed)
    classes = np.unique(labels[labels >= 0])
    drawn = [random.permutation(np.flatnonzero(labels == each))[:count] for each in classes]
    return random.permutation(np.concatenate(drawn))


def _metrics(
    scores: list[Tensor], labels: NDArray[np.int64], count: int, suffix: str, groups: NDArray[np.str_] | None
) -> list[Metric]:
    found = np.stack([each.argmax(dim=1).numpy() for each in scores])  # (draws, n)
    classes = np.arange(count)
    right = (found == labels)[..., None] & (labels[:, None] == classes)  # (draws, n, C)
    counted = np.stack([right, found[..., None] == classes, np.broadcast_to(labels[:, None] == classes, right.shape)])
    parts = counted.transpose(2, 0, 1, 3).reshape(len(labels), -1)  # (n, 3 · draws · C)

    def macro(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        hits, predicted, true = totals.reshape(len(totals), 3, len(scores), count).swapaxes(0, 1)
        occurs = predicted + true > 0
        f1 = np.divide(2 * hits, predicted + true, out=np.zeros_like(hits), where=occurs)
        return np.asarray(100 * f1.sum(axis=(1, 2)) / np.maximum(occurs.sum(axis=(1, 2)), 1))

    from torchmetrics.functional.classification import multiclass_auroc

    target = torch.from_numpy(labels)
    areas = [float(multiclass_auroc(each.softmax(dim=1), target, count)) for each in scores]
    return [
        ratio_metric(f"macro-F1{suffix}", parts, macro, chance=None, groups=groups),
        mean_metric(f"micro-F1{suffix}", (found == labels).mean(axis=0), chance=100 / count, groups=groups),
        Metric(f"AUC{suffix}", 100 * float(np.mean(areas)), None, None, 50.0, len(labels)),
    ]
