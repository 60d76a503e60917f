"""How well clusters match classes, known and new ones; and whether pairs that differ in one thing are told apart."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from accord.errors import ConfigError, ShapeError
from accord.functional.checks import as_float, check_positive, check_shape


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
        hit = _hits(truth, cluster)
    elif protocol == "v1":
        hit = np.empty(len(truth), dtype=bool)
        for part in (old, ~old):
            hit[part] = _hits(truth[part], cluster[part])
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


def _hits(truth: NDArray[np.generic], cluster: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Whether each sample's class is the one matched with its cluster; ``(N,)``."""
    classes, row = np.unique(truth, return_inverse=True)
    clusters, column = np.unique(cluster, return_inverse=True)
    together = np.zeros((len(classes), len(clusters)), dtype=np.int64)
    np.add.at(together, (row, column), 1)
    class_of = np.full(len(clusters), -1)
    matched = linear_sum_assignment(together, maximize=True)
    class_of[matched[1]] = matched[0]
    return class_of[column] == row
