"""How well clusters match classes, known and new ones; and whether pairs that differ in one thing are told apart.

Classes are scored as generalised category discovery is: some rows of the old classes keep their labels, all others are
clustered, and the clusters are matched with the classes once over all of them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from accord.errors import ConfigError, DataError, ShapeError
from accord.evaluation.classification import group_rows, scored_rows
from accord.evaluation.metric import Metric, mean_metric
from accord.functional.checks import as_float, check_positive, check_shape
from accord.methods.abilities import DiscoversClasses, Discovery

if TYPE_CHECKING:
    from accord.data.corpus import Corpus


def gcd_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, old_mask: ArrayLike, protocol: Literal["v2", "v1"] = "v2"
) -> dict[str, float]:
    """Accuracy of clusters under the best one-to-one match with the classes (Vaze et al. 2022, CVPR, "GCD").

    Args:
        y_true: ``(N,)`` classes, any integers.
        y_pred: ``(N,)`` clusters, any integers; there may be more or fewer than classes.
        old_mask: ``(N,)`` bool, samples of classes that were known when training began.
        protocol: ``"v2"`` matches once over all samples and then looks at the two parts. ``"v1"`` matches each part
            for itself, so that one cluster may serve two classes, and weighs the parts by their size for ``all``: it
            flatters.

    Returns:
        ``all``, ``old`` and ``new`` in [0, 1]; NaN for a part without samples.

    Raises:
        ShapeError: not three vectors of equal length, or none at all.
        ConfigError: an unknown protocol.

    Example:
        >>> gcd_accuracy([0, 0, 1, 1], [5, 5, 3, 5], [True, True, False, False])
        {'all': 0.75, 'old': 1.0, 'new': 0.5}
    """
    truth, cluster, old = np.asarray(y_true), np.asarray(y_pred), np.asarray(old_mask, dtype=bool)
    for name, values in {"y_true": truth, "y_pred": cluster, "old_mask": old}.items():
        if values.shape != (truth.size,) or not values.size:
            raise ShapeError(f"{name} has shape {values.shape}: expected ({max(truth.size, 1)},)")
    if protocol == "v2":
        hit = matched(truth, cluster)
    elif protocol == "v1":
        hit = np.empty(len(truth), dtype=bool)
        for part in (old, ~old):
            hit[part] = matched(truth[part], cluster[part])
    else:
        raise ConfigError(f"protocol = {protocol!r}: expected 'v1' or 'v2'")
    parts = {"all": hit, "old": hit[old], "new": hit[~old]}
    return {name: float(part.mean()) if part.size else float("nan") for name, part in parts.items()}


def pair_accuracy(img: Tensor, txt: Tensor, scale: float = 100.0) -> float:
    """Share of the pairs of images both of whose statements pick their own image (MMVP; Tong et al. 2024, CVPR).

    A statement picks an image when ``softmax(scale · cosine)`` over the two gives it more than one half; a tie is a
    miss, so that a model that sees no difference scores 0. Guessing scores 0.25.

    Args:
        img: ``(P, 2, D)``, any norm.
        txt: ``(P, 2, D)``, any norm; statement s describes image s.
        scale: factor on the cosine.

    Returns:
        In [0, 1].

    Raises:
        ShapeError: shapes that do not fit, or no pair.
        ValueError: a scale that is not finite and positive.

    Example:
        >>> import torch
        >>> img = torch.eye(2).expand(2, 2, 2)
        >>> pair_accuracy(img, torch.stack([torch.eye(2), torch.eye(2).flip(0)]))
        0.5
    """
    check_shape((None, 2, None), img=img)
    check_shape(tuple(img.shape), txt=txt)
    check_positive(scale=scale)
    if not len(img):
        raise ShapeError(f"img has shape {tuple(img.shape)}: expected at least one pair")
    cosine = F.normalize(as_float(txt), dim=2) @ F.normalize(as_float(img), dim=2).mT  # (P, statement, image)
    chosen = (scale * cosine).softmax(dim=2).diagonal(dim1=1, dim2=2) > 0.5
    return float(chosen.all(dim=1).float().mean())


@dataclass(frozen=True, eq=False)
class Scored:
    """Classes that were discovered, against the true ones.

    Args:
        rows: ``(n,)`` positions in the corpus of the rows that were clustered, those with given labels among them.
        given: ``(n,)`` bool, whether the label of a row was given.
        old: ``(n,)`` bool, whether its class was known.
        right: ``(n,)`` bool, whether its class is the one matched with its cluster.
        found: what was discovered, of these rows.
        vectors: ``(n, D)`` what they were discovered by.
        classes: number of true classes.
        groups: ``(n,)`` rows resampled together, or None.
    """

    rows: NDArray[np.int64]
    given: NDArray[np.bool_]
    old: NDArray[np.bool_]
    right: NDArray[np.bool_]
    found: Discovery
    vectors: Tensor
    classes: int
    groups: NDArray[np.str_] | None

    def metrics(self) -> list[Metric]:
        """Accuracy of the rows whose label was not given, of old and of new classes; and the number of classes."""
        parts = {"all": ~self.given, "old": ~self.given & self.old, "new": ~self.given & ~self.old}
        metrics = [
            mean_metric(
                f"accuracy, {name} classes",
                self.right[part],
                chance=None,
                groups=None if self.groups is None else self.groups[part],
            )
            for name, part in parts.items()
            if part.any()
        ]
        count = len(self.rows)
        return [
            *metrics,
            Metric("classes found", float(self.found.classes), None, None, None, count, unit=""),
            Metric("classes there are", float(self.classes), None, None, None, count, unit=""),
        ]


def score_discovery(
    able: DiscoversClasses, vectors: Tensor, corpus: Corpus, old: Collection[str], share: float = 0.5, seed: int = 0
) -> Scored:
    """Give a method the labels of some rows of the old classes, and see how it sorts the others.

    Args:
        able: discovers.
        vectors: ``(N, D)`` unit norm, one a row of the corpus.
        corpus: one label a row; rows of none of the classes are left out.
        old: names of the classes of which labels are given.
        share: of the rows of each old class whose label is given, at least one.
        seed: which rows these are.

    Raises:
        DataError: several labels a row, no row of an old class, or none whose label is left to find.
    """
    rows, labels = scored_rows(corpus)
    if labels.ndim > 1:
        raise DataError(f"{corpus.name}: classes are discovered where every row has one label")
    is_old = np.isin(labels, [corpus.classes.index(name) for name in old if name in corpus.classes])
    if not is_old.any():
        named = ", ".join(sorted(old)[:5]) or "none"
        raise DataError(
            f"{corpus.name} has no row of a known class (known: {named}; it has {', '.join(corpus.classes[:5])}): name "
            "some of its classes, as in --set discovery.old=[NAME]"
        )
    given = np.zeros(len(rows), dtype=bool)
    random = np.random.default_rng(seed)
    for label in np.unique(labels[is_old]):
        members = random.permutation(np.flatnonzero(labels == label))
        given[members[: max(1, round(share * len(members)))]] = True
    if given.all():
        raise DataError(f"{corpus.name}: the labels of all {len(rows)} rows are given: lower discovery.share")
    own = vectors[torch.from_numpy(rows)]
    found = able.discover(own, torch.from_numpy(np.where(given, labels, -1)))
    right = np.zeros(len(rows), dtype=bool)
    right[~given] = matched(labels[~given], found.assigned.cpu().numpy()[~given])
    return Scored(
        rows, given, is_old, right, found, own, classes=len(np.unique(labels)), groups=group_rows(corpus, rows)
    )


def matched(truth: NDArray[np.generic], cluster: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Whether each sample's class is the one matched with its cluster; ``(N,)``.

    >>> matched(np.array([0, 0, 1]), np.array([5, 5, 5])).tolist()
    [True, True, False]
    """
    classes, row = np.unique(truth, return_inverse=True)
    clusters, column = np.unique(cluster, return_inverse=True)
    together = np.zeros((len(classes), len(clusters)), dtype=np.int64)
    np.add.at(together, (row, column), 1)
    class_of = np.full(len(clusters), -1)
    matched = linear_sum_assignment(together, maximize=True)
    class_of[matched[1]] = matched[0]
    return class_of[column] == row
