"""k-nearest-neighbour classification on embeddings: exact inner-product search by faiss.

Votes count equally, or with weight ``exp(similarity / T)`` as in DINO (2021, appendix F.1). Without a
reference set the rows are classified by each other, leaving their own group out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from accord.errors import ConfigError, ShapeError
from accord.evaluation.classification import (
    check_same_classes,
    given_labels,
    group_rows,
    label_metrics,
    labelled_rows,
    scored_rows,
)
from accord.evaluation.embedder import Embedder, check_finite
from accord.evaluation.metric import Metric, mean_metric
from accord.evaluation.needs import main_modality

if TYPE_CHECKING:
    from accord.data.corpus import Corpus

Votes = Literal["weighted", "majority"]
K = 20
_T = 0.07  # of the weighted votes
_BLOCK = 4096
_FEW = 64  # rows of a group that are looked for beside the neighbours; a larger one is left out of the search


def nearest(queries: Tensor, gallery: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k gallery rows of largest inner product with each query, exact, best first.

    Args:
        queries: ``(Q, D)``.
        gallery: ``(G, D)``.
        k: at most G.

    Returns:
        Similarities ``(Q, k)`` float32 and positions ``(Q, k)`` int64.

    Raises:
        ConfigError: k is out of range.
        ShapeError: the dimensions differ.
        DataError: embeddings are not finite.

    Example:
        >>> nearest(torch.tensor([[0.0, 1.0]]), torch.eye(2), k=1)
        (tensor([[1.]]), tensor([[1]]))
    """
    import faiss

    if not 1 <= k <= len(gallery):
        raise ConfigError(f"k = {k}: expected 1 to {len(gallery)}, the number of reference rows")
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ShapeError(f"embeddings: {tuple(queries.shape)} and {tuple(gallery.shape)}; expected (Q, D) and (G, D)")
    check_finite("query embeddings", queries)
    check_finite("reference embeddings", gallery)
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(_float_rows(gallery))
    similarities, positions = index.search(_float_rows(queries), k)
    return torch.from_numpy(similarities), torch.from_numpy(positions)


def knn_scores(
    reference: Tensor,
    labels: ArrayLike,
    queries: Tensor,
    k: int = K,
    votes: Votes = "weighted",
    temperature: float = _T,
    num_classes: int | None = None,
) -> Tensor:
    """Class scores of each query from the labels of its k nearest reference rows.

    Args:
        reference: ``(G, D)`` unit norm.
        labels: ``(G,)`` classes (-1 votes for none) or ``(G, C)`` multi-hot.
        queries: ``(Q, D)`` unit norm.
        k: number of neighbours.
        votes: ``"weighted"`` by ``exp(similarity / temperature)`` or ``"majority"``.
        temperature: T of the weighted votes.
        num_classes: C for class labels; None takes the largest label.

    Returns:
        ``(Q, C)`` share of the votes, rows sum to 1 for single labels.

    Raises:
        ConfigError: k is out of range.

    Example:
        >>> knn_scores(torch.eye(2), [0, 1], torch.tensor([[1.0, 0.0]]), k=2, votes="majority")
        tensor([[0.5000, 0.5000]])
    """
    similarities, positions = nearest(queries, reference, k)
    return _vote(similarities, positions, _targets(labels, num_classes), votes, temperature)


def knn_leave_out(
    embeddings: Tensor,
    labels: ArrayLike,
    k: int = K,
    votes: Votes = "weighted",
    temperature: float = _T,
    num_classes: int | None = None,
    groups: ArrayLike | None = None,
) -> Tensor:
    """Class scores of each row from the other rows, never from one of its own group (itself, when None).

    Args:
        embeddings: ``(N, D)`` unit norm.
        labels: ``(N,)`` classes or ``(N, C)`` multi-hot.
        k: neighbours that vote.
        votes: as for :func:`knn_scores`.
        temperature: T of the weighted votes.
        num_classes: C for class labels; None takes the largest label.
        groups: ``(N,)`` rows of equal value do not vote for each other.

    Returns:
        ``(N, C)`` share of the votes.

    Raises:
        ConfigError: k plus the largest group exceeds N.

    Example:
        >>> twins = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]])
        >>> knn_leave_out(twins, [0, 1, 0], k=2, votes="majority")
        tensor([[0.5000, 0.5000], [1.0000, 0.0000], [0.5000, 0.5000]])
    """
    similarities, positions = nearest_outside(embeddings, k, groups)
    return _vote(similarities, positions, _targets(labels, num_classes), votes, temperature)


def nearest_outside(embeddings: Tensor, k: int, groups: ArrayLike | None = None) -> tuple[Tensor, Tensor]:
    """The k rows nearest to each row, none of them of its own group (itself, when None), best first.

    Args:
        embeddings: ``(N, D)`` unit norm.
        k: neighbours.
        groups: ``(N,)`` rows of equal value are no neighbours of each other.

    Returns:
        Similarities ``(N, k)`` float32 and positions ``(N, k)`` int64.

    Raises:
        ConfigError: k plus the largest group exceeds N.

    Example:
        >>> near = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
        >>> nearest_outside(near, k=1, groups=["a", "a", "b"])[1].flatten().tolist()
        [2, 2, 1]
    """
    own = _own_groups(len(embeddings), groups)
    sizes = np.bincount(own)
    largest = int(sizes.max(initial=0))
    if k + largest > len(embeddings):
        raise ConfigError(
            f"k = {k}: expected at most {len(embeddings) - largest}, the number of rows outside the own group"
        )
    similarities, positions = torch.empty(len(embeddings), k), torch.empty(len(embeddings), k, dtype=torch.int64)
    few = torch.from_numpy(np.flatnonzero(sizes[own] <= _FEW))
    if len(few):
        similarities[few], positions[few] = _foreign(embeddings, few, torch.from_numpy(own), k, min(_FEW, largest))
    for number in np.flatnonzero(sizes > _FEW):
        inside = torch.from_numpy(own == number)
        outside = (~inside).nonzero()[:, 0]
        similarities[inside], found = nearest(embeddings[inside], embeddings[outside], k)
        positions[inside] = outside[found]
    return similarities, positions


def _foreign(embeddings: Tensor, rows: Tensor, group: Tensor, k: int, largest: int) -> tuple[Tensor, Tensor]:
    """The k nearest of other groups, of rows whose own group is not larger than ``largest``: among k more than that."""
    similarities, positions = nearest(embeddings[rows], embeddings, k + largest)
    foreign = group[positions] != group[rows][:, None]  # (n, k + largest), at least k True a row
    kept = foreign & (foreign.cumsum(dim=1) <= k)
    return similarities[kept].reshape(-1, k), positions[kept].reshape(-1, k)


def evaluate_knn(
    model: Embedder,
    corpus: Corpus,
    reference: Corpus | None = None,
    k: int | None = None,
    votes: Votes = "weighted",
    modality: str | None = None,
    recall: Sequence[int] = (),
) -> list[Metric]:
    """k-NN accuracy on a corpus, its neighbours taken from ``reference``, or from its own other groups.

    Args:
        model: embeds ``modality``.
        corpus: labelled; scored, against the hidden truth where it is known.
        reference: labelled; votes with its given labels. None leaves the own group of each scored row out.
        k: number of neighbours; None takes 20, or all there are when they are fewer.
        votes: as for :func:`knn_scores`.
        modality: what is embedded; None for what the model looks at.
        recall: numbers of nearest rows; of each, how often a class of the row is among theirs, as in a search.

    Raises:
        ConfigError: there are fewer than k neighbours, or none at all.
        DataError: labels are missing, or the two corpora have different classes.
    """
    modality = modality or main_modality(model, corpus)
    corpus = corpus.having(modality)
    rows, labels = scored_rows(corpus)
    mine = group_rows(corpus, rows)
    embedded = model.embed_corpus(corpus, modality)[torch.from_numpy(rows)]
    count = len(corpus.classes)
    if reference is None:
        own = _own_groups(len(rows), mine)
        given, most = given_labels(corpus)[rows], len(rows) - _largest(own)
        find = partial(nearest_outside, embedded, groups=mine)
    else:
        check_same_classes(corpus, reference)
        reference = labelled_rows(reference.having(modality))
        gallery, given = model.embed_corpus(reference, modality), given_labels(reference)
        most, find = len(gallery), partial(nearest, embedded, gallery)
    targets = _targets(given, count)
    found = label_metrics(_vote(*find(k=k or max(1, min(K, most))), targets, votes, _T), labels, corpus.classes, mine)
    if recall:
        found += _recalls(find(k=max(recall))[1], targets, _targets(labels, count), recall, mine)
    return found


def _recalls(
    positions: Tensor, targets: Tensor, truth: Tensor, at: Sequence[int], groups: ArrayLike | None
) -> list[Metric]:
    """How often one of the nearest ``(Q, K)`` has a class of the row."""
    blocks = zip(positions.split(_BLOCK), truth.split(_BLOCK), strict=True)
    shared = torch.cat([torch.einsum("qkc,qc->qk", targets[near], own) > 0 for near, own in blocks])
    return [mean_metric(f"R@{k}", shared[:, :k].any(dim=1).numpy(), chance=None, groups=groups) for k in at]


def _own_groups(count: int, groups: ArrayLike | None) -> NDArray[np.int64]:
    """A number for the group of each row; every row is its own when None."""
    if groups is None:
        return np.arange(count)
    return np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)


def _largest(groups: NDArray[np.int64]) -> int:
    return int(np.bincount(groups).max(initial=0))


def _targets(labels: ArrayLike, num_classes: int | None) -> Tensor:
    """Labels as ``(G, C)`` floats."""
    values = torch.as_tensor(np.asarray(labels))
    if values.ndim == 2:
        return values.float()
    count = num_classes or int(values.max()) + 1
    votes = torch.nn.functional.one_hot(values.long().clamp(min=0), count).float()
    return votes * (values >= 0)[:, None]


def _vote(similarities: Tensor, positions: Tensor, targets: Tensor, votes: Votes, temperature: float) -> Tensor:
    if votes == "weighted":
        # Relative to the nearest neighbour, so that no temperature overflows.
        weights = ((similarities - similarities[:, :1]) / temperature).exp()
    elif votes == "majority":
        weights = torch.ones_like(similarities)
    else:
        raise ConfigError(f"votes = {votes!r}: expected 'weighted' or 'majority'")
    blocks = zip(weights.split(_BLOCK), positions.split(_BLOCK), strict=True)
    return torch.cat([torch.einsum("qk,qkc->qc", w, targets[p]) / w.sum(dim=1, keepdim=True) for w, p in blocks])


def _float_rows(values: Tensor) -> NDArray[Any]:
    return np.ascontiguousarray(values.detach().cpu().numpy(), dtype=np.float32)
