"""Features place by place: a linear segmentation probe, correspondence by nearest neighbours, and found segments.

All of it at the resolution of the feature map: a cell has the class that most of its pixels have. Where the masks say
nothing (-1), nothing is learnt and nothing is scored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from accord.data.augmenting.views import centre_box
from accord.data.inputs import ImageInput
from accord.data.modalities.image import image_input
from accord.data.targets import Place
from accord.errors import DataError
from accord.evaluation.knn import nearest
from accord.evaluation.linear_probe import fit_probe
from accord.evaluation.metric import Metric, mean_metric, ratio_metric
from accord.functional.clusters.assignment import hungarian_matching
from accord.methods.abilities import Segments

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.training.model import Model

TRAINED, COMPARED = 40_000, 20_000  # cells that a probe is fitted on, and that are searched, at most
CELL = 16  # pixels of a side that stand for a cell when masks are reduced


def evaluate_segmentation(model: Model, corpus: Corpus, reference: Corpus, seed: int = 0) -> list[Metric]:
    """What the features of cells say about the masks; of a method that segments, how well its parts fit them too.

    Args:
        model: its image encoder gives a map; nothing is trained but the probe.
        corpus: has masks; scored.
        reference: has masks of the same classes; the probe is fitted on it.
        seed: chooses the cells of the probe.

    Returns:
        ``linear mIoU`` and ``linear foreground accuracy`` of a logistic regression on single cells, ``cell
        correspondence``, and with parts ``parts mIoU``, ``parts accuracy``.

    Raises:
        ConfigError: the image encoder gives no map.
        DataError: masks are missing, or nothing is left to fit on.
    """
    for part in (corpus, reference):
        if part.columns.mask is None or not len(part):
            raise DataError(f"{part.name}: segmentation needs masks of training and held-out rows: --mask COL")
    maps = model.dense_corpus(corpus)
    side: tuple[int, int] = tuple(maps.shape[2:])  # type: ignore[assignment]
    view = image_input(model.inputs["image"])
    truth, known = cell_classes(corpus, *side, view), cell_classes(reference, *side, view)
    count = int(max(truth.max(), known.max())) + 1
    cells, labels = drawn_cells(model.dense_corpus(reference), known, TRAINED, seed)
    probe = fit_probe(cells, labels, count, strengths=(1.0,))
    found = probe.logits(maps.flatten(2).mT.flatten(0, 1)).argmax(dim=1).view(len(maps), *side).numpy()
    groups = corpus.groups()
    metrics = [
        iou_metric("linear mIoU", found, truth, count, groups),
        accuracy_metric("linear foreground accuracy", found, truth, count, groups),
        correspondence(maps, truth, seed),
    ]
    if Segments.of(model.method):
        parts = model.segment_corpus(corpus, side).numpy()
        named = matched(parts, truth, count)
        metrics.append(iou_metric("parts mIoU", named, truth, count, groups))
        said = truth >= 0
        right = ((named == truth) & said).sum(axis=(1, 2)) / np.maximum(1, said.sum(axis=(1, 2)))
        metrics.append(mean_metric("parts accuracy", right, chance=None, groups=groups))
    return metrics


def cell_classes(corpus: Corpus, height: int, width: int, view: ImageInput | None = None) -> NDArray[np.int64]:
    """The most frequent class in each cell of each row's mask, ``(N, h, w)``; of equal ones the lowest.

    Args:
        corpus: has masks.
        height: h of the map.
        width: w of the map.
        view: what the encoder is fed: the cells are of its evaluation view; None for the square in the middle.
    """
    found = np.zeros((len(corpus), height, width), dtype=np.int64)
    reader = corpus.target_reader("mask")
    for row in range(len(corpus)):
        mask = corpus.targets_of(row, ("mask",))["mask"]  # (H, W)
        place = Place(
            centre_box(mask.shape[1], mask.shape[0], view or ImageInput()), False, (height * CELL, width * CELL)
        )
        cells = reader.through(mask, place).numpy()
        cells = cells.reshape(height, CELL, width, CELL).swapaxes(1, 2).reshape(height, width, -1)
        classes = np.unique(cells)
        shares = (cells[..., None] == classes).mean(axis=2)  # (h, w, classes here)
        found[row] = classes[shares.argmax(axis=2)]
    return found


def drawn_cells(maps: Tensor, classes: NDArray[np.int64], count: int, seed: int) -> tuple[Tensor, NDArray[np.int64]]:
    """Features ``(n, C)`` and classes ``(n,)`` of at most ``count`` cells of known class, drawn without repetition."""
    flat, labels = maps.flatten(2).mT.flatten(0, 1), classes.reshape(-1)
    if (labels < 0).any():
        flat, labels = flat[torch.from_numpy(labels >= 0)], labels[labels >= 0]
    if len(labels) > count:
        kept = np.random.default_rng(seed).choice(len(labels), size=count, replace=False)
        flat, labels = flat[torch.from_numpy(kept)], labels[kept]
    return flat, labels


def iou_metric(
    name: str, found: NDArray[Any], truth: NDArray[Any], count: int, groups: NDArray[Any] | None = None
) -> Metric:
    """Mean over the classes that occur of intersection over union, in percent; resampled by picture.

    Args:
        name: of the metric.
        found: ``(N, h, w)`` classes.
        truth: ``(N, h, w)`` classes, -1 for cells that do not count.
        count: number of classes C.
        groups: pictures of equal value are resampled together.

    Example:
        >>> truth = np.array([[[0, 0], [1, 1]]])
        >>> iou_metric("mIoU", np.array([[[0, 1], [1, 1]]]), truth, 2).value.__round__(1)
        58.3
    """
    classes, found = np.arange(count), np.where(truth < 0, -1, found)
    is_found, is_true = (maps.reshape(len(maps), -1, 1) == classes for maps in (found, truth))  # (N, hw, C)
    both = (is_found & is_true).sum(axis=1)
    return iou_of_counts(name, both, is_found.sum(axis=1), is_true.sum(axis=1), groups)


def iou_of_counts(
    name: str, both: NDArray[Any], found: NDArray[Any], true: NDArray[Any], groups: NDArray[Any] | None = None
) -> Metric:
    """As :func:`iou_metric`, from counts ``(N, C)`` of the pixels of each picture.

    Args:
        name: of the metric.
        both: of a class and taken for it.
        found: taken for it.
        true: of it.
        groups: pictures of equal value are resampled together.

    Example:
        >>> iou_of_counts("mIoU", np.array([[1, 2]]), np.array([[1, 3]]), np.array([[2, 2]])).value.__round__(1)
        58.3
    """
    count, share = true.shape[1], true.sum(axis=0) / max(1, true.sum())

    def mean_iou(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            return np.asarray(100 * np.nanmean(totals[:, :count] / totals[:, count:], axis=1))

    guess = 100 * float((share[share > 0] / (2 - share[share > 0])).mean())  # classes drawn by their frequency
    parts = np.concatenate([both, found + true - both], axis=1)
    return ratio_metric(name, parts, mean_iou, chance=guess, groups=groups)


def accuracy_metric(
    name: str, found: NDArray[Any], truth: NDArray[Any], count: int, groups: NDArray[Any] | None = None
) -> Metric:
    """Share of the cells that are no background whose class is found, in percent; chance is a uniform guess."""
    solid = truth.reshape(len(truth), -1) > 0
    right = solid & (found.reshape(len(found), -1) == truth.reshape(len(truth), -1))
    parts = np.stack([right.sum(axis=1), solid.sum(axis=1)], axis=1)
    return ratio_metric(name, parts, lambda sums: 100 * sums[:, 0] / sums[:, 1], chance=100 / count, groups=groups)


def correspondence(maps: Tensor, truth: NDArray[np.int64], seed: int = 0) -> Metric:
    """How often the nearest cell of all other pictures shows the same class, of cells that are no background.

    Args:
        maps: ``(N, C, h, w)`` features; compared by cosine.
        truth: ``(N, h, w)`` classes, -1 for cells that do not count.
        seed: chooses the cells where there are many.
    """
    numbers = np.broadcast_to(np.arange(len(truth))[:, None, None], truth.shape)
    where = np.stack([truth, numbers], axis=-1).reshape(-1, 2)
    random = np.random.default_rng(seed)
    known = np.flatnonzero(where[:, 0] >= 0)
    kept = known[random.permutation(len(known))[:COMPARED]]
    rows = F.normalize(maps.flatten(2).mT.flatten(0, 1)[torch.from_numpy(kept)], dim=1)
    classes, pictures = where[kept].T
    solid = np.flatnonzero(classes > 0)
    per_picture = int(np.bincount(pictures).max()) + 1
    _, near = nearest(rows[torch.from_numpy(solid)], rows, min(len(rows), per_picture))
    foreign = pictures[near.numpy()] != pictures[solid][:, None]  # the first neighbour from another picture
    first = np.take_along_axis(near.numpy(), foreign.argmax(axis=1)[:, None], axis=1)[:, 0]
    share = np.bincount(classes) / len(classes)
    guess = 100 * float(share[classes[solid]].mean()) if len(solid) else None
    return mean_metric("cell correspondence", classes[first] == classes[solid], chance=guess, groups=pictures[solid])


def matched(parts: NDArray[Any], truth: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Parts renamed to classes, one to one, so that as many cells as possible agree (Hungarian matching).

    Args:
        parts: ``(N, h, w)`` numbers of parts.
        truth: ``(N, h, w)`` classes, -1 for cells that do not count.
        count: number of classes.

    Returns:
        ``(N, h, w)`` classes; -1 for parts that are left over.

    Example:
        >>> matched(np.array([[[5, 5], [2, 0]]]), np.array([[[0, 0], [1, 1]]]), 2).tolist()
        [[[0, 0], [-1, 1]]]
    """
    together = np.zeros((int(parts.max()) + 1, count))
    known = truth >= 0
    np.add.at(together, (parts[known], truth[known]), 1)
    rows, columns = hungarian_matching(torch.from_numpy(-together))
    names = np.full(len(together), -1, dtype=np.int64)
    names[rows.numpy()] = columns.numpy()
    return names[parts]
