"""How well k-means on embeddings finds the classes: normalised mutual information and the adjusted Rand index."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from accord.errors import DataError
from accord.evaluation.bootstrap import bootstrap_totals, percentile_interval
from accord.evaluation.classification import group_rows, scored_rows
from accord.evaluation.embedder import Embedder
from accord.evaluation.metric import Metric
from accord.evaluation.needs import main_modality
from accord.functional import kmeans

if TYPE_CHECKING:
    from accord.data.corpus import Corpus

Floats = NDArray[np.float64]
RUNS = 10


def evaluate_clustering(model: Embedder, corpus: Corpus, modality: str | None = None, runs: int = RUNS) -> list[Metric]:
    """k-means with as many clusters as there are classes, against the classes; mean over ``runs`` random starts.

    Args:
        model: embeds ``modality``.
        corpus: one label a row; rows of none of the classes are left out.
        modality: what is embedded; None for what the model looks at.
        runs: number of starts.

    Returns:
        ``NMI`` (arithmetic mean of the entropies) and ``ARI``, in percent.

    Raises:
        DataError: there are no labels, several a row, or only one class.
    """
    modality = modality or main_modality(model, corpus)
    corpus = corpus.having(modality)
    rows, labels = scored_rows(corpus)
    if labels.ndim > 1 or len(np.unique(labels)) < 2:
        raise DataError(f"{corpus.name}: clusters are compared with classes: one label a row, at least two classes")
    embedded = model.embed_corpus(corpus, modality)[torch.from_numpy(rows)]
    truth = np.unique(labels, return_inverse=True)[1]
    classes = int(truth.max()) + 1
    found = [kmeans(embedded, classes, n_redo=1, seed=run, spherical=True)[0].numpy() for run in range(runs)]
    groups = group_rows(corpus, rows)
    return [
        _metric("NMI", normalised_information, found, truth, classes, groups, chance=None),
        _metric("ARI", adjusted_rand, found, truth, classes, groups, chance=0.0),
    ]


def normalised_information(tables: Floats) -> Floats:
    """NMI ``(R,)`` of tables ``(R, K, C)`` that count the items of each cluster and class; 0 where nothing varies.

    >>> normalised_information(np.array([[[2.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]]])).tolist()
    [1.0, 0.0]
    """
    joint = tables / tables.sum(axis=(1, 2), keepdims=True)
    cluster, kind = _entropy(joint.sum(axis=2)), _entropy(joint.sum(axis=1))
    shared = cluster + kind - _entropy(joint.reshape(len(joint), -1))
    mean = (cluster + kind) / 2
    return np.clip(np.divide(shared, mean, out=np.zeros_like(mean), where=mean > 0), 0, 1)


def adjusted_rand(tables: Floats) -> Floats:
    """Adjusted Rand index ``(R,)`` of tables ``(R, K, C)`` (Hubert and Arabie 1985); 0 for a random assignment.

    >>> adjusted_rand(np.array([[[2.0, 0.0], [0.0, 2.0]]])).tolist()
    [1.0]
    """
    together = _pairs(tables).sum(axis=(1, 2))
    cluster, kind = _pairs(tables.sum(axis=2)).sum(axis=1), _pairs(tables.sum(axis=1)).sum(axis=1)
    expected = cluster * kind / np.maximum(_pairs(tables.sum(axis=(1, 2))), 1)
    most = (cluster + kind) / 2
    return np.divide(together - expected, most - expected, out=np.ones_like(most), where=most > expected)


def _metric(
    name: str,
    index: Callable[[Floats], Floats],
    found: list[NDArray[np.int64]],
    truth: NDArray[np.int64],
    classes: int,
    groups: NDArray[np.str_] | None,
    chance: float | None,
) -> Metric:
    """Mean of an index over the runs, on all rows and on the same resamples of each run."""
    values, samples = [], []
    for clusters in found:
        cell = csr_array((np.ones(len(truth)), (np.arange(len(truth)), clusters * classes + truth)), shape=None)
        cell.resize(len(truth), classes * classes)

        def of(totals: Floats) -> Floats:
            return index(np.asarray(totals).reshape(len(totals), classes, classes))

        values.append(float(of(cell.sum(axis=0)[None])[0]))
        samples.append(bootstrap_totals(cell, groups=groups, statistic=of))
    value, spread = float(np.mean(values)), np.mean(samples, axis=0)
    # Items drawn twice agree with themselves: resamples look better than they are, so only their spread counts.
    low, high = percentile_interval(100 * (value + spread - spread.mean()))
    return Metric(name, 100 * value, low, high, chance, len(truth))


def _entropy(shares: Floats) -> Floats:
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(-(shares * logs).sum(axis=1))


def _pairs(count: Floats) -> Floats:
    return np.asarray(count * (count - 1) / 2)
