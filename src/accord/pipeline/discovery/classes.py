"""What was found: classes with what is known of each, and rows with the class of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from accord.functional import class_means

Words = tuple[tuple[str, float], ...]  # the best first, each with its score
_WORDS = 5  # kept of each class
_ROWS = 4096  # whose distances to all classes are held at once


@dataclass(frozen=True)
class FoundClass:
    """One class.

    Args:
        name: the given one, or for a new class a word of its own.
        new: whether no row was labelled with it.
        rows: how many it has.
        labelled: how many of them had the label.
        density: mean cosine of the rows with their centre; 1 for copies of one thing.
        stability: mean overlap (Jaccard) with the class most like it that is found in parts of the rows; None where it
            was not measured, or too few of its rows without a label were drawn.
        words: what its rows are called, or what lies near it, each with its score.
    """

    name: str
    new: bool
    rows: int
    labelled: int
    density: float
    stability: float | None = None
    words: Words = ()


@dataclass(frozen=True, eq=False)
class Placed:
    """Where each row lies among the classes.

    Args:
        classes: ``(N,)`` int64 the class of each row.
        other: ``(N,)`` int64 the nearest other class; the class itself where there is but one.
        distance: ``(N,)`` from the centre of its class.
        margin: ``(N,)`` in [-1, 1]: 1 at the centre, 0 halfway to the nearest other class, below 0 where that is
            nearer.
    """

    classes: np.ndarray
    other: np.ndarray
    distance: np.ndarray
    margin: np.ndarray


@dataclass(frozen=True, eq=False)
class FoundClasses:
    """The classes of some rows, as ``accord discover`` wrote them.

    Args:
        path: the folder.
        classes: the known ones in their order, then new ones, the largest first.
        ids: ``(N,)`` numbers of the rows in their source.
        placed: the class of each row, by its position in ``classes``.
        history: number of classes after each sweep; empty where the model does not say.
        repeats: number of classes found in each part of the rows.
    """

    path: Path
    classes: tuple[FoundClass, ...]
    ids: np.ndarray = field(repr=False)
    placed: Placed = field(repr=False)
    history: tuple[int, ...] = ()
    repeats: tuple[int, ...] = ()

    @property
    def known(self) -> int:
        """Number of classes that had labels."""
        return sum(not one.new for one in self.classes)

    @property
    def new(self) -> int:
        """Number of classes that had none."""
        return len(self.classes) - self.known

    @property
    def page(self) -> Path:
        """The page that shows them."""
        return self.path / "discover.html"

    def sentence(self) -> str:
        """How many classes there are, and how sure that is.

        Example:
            >>> one = FoundClass("red", True, 8, 0, 0.9)
            >>> FoundClasses(Path(), (one,), np.arange(8), None, repeats=(1, 2, 1, 1)).sentence()
            '1 class in 8 rows, all new; in parts of the rows 1.2 ± 0.5 classes were found'
        """
        number = f"{len(self.classes)} class{'es' * (len(self.classes) != 1)} in {len(self.ids):,} rows"
        kinds = f"{self.known} known and {self.new} new" if self.known else "all new"
        spread = f"{np.mean(self.repeats):.1f} ± {np.std(self.repeats, ddof=1):.1f}" if len(self.repeats) > 1 else ""
        return f"{number}, {kinds}" + (f"; in parts of the rows {spread} classes were found" if spread else "")


def in_order(assigned: np.ndarray, known: int) -> np.ndarray:
    """The same classes ``(N,)`` under other numbers: known ones first, then new ones that have rows, the largest first.

    Of equally large ones that of the earliest row comes first.

    Args:
        assigned: ``(N,)`` classes, those below ``known`` the labelled ones.
        known: how many those are.

    Example:
        >>> in_order(np.array([0, 7, 4, 4]), known=1).tolist()
        [0, 2, 1, 1]
    """
    found, first, size = np.unique(assigned[assigned >= known], return_index=True, return_counts=True)
    place = np.arange(max(int(assigned.max(initial=0)) + 1, known))
    place[found[np.lexsort((first, -size))]] = known + np.arange(len(found))
    return place[assigned]


def place(vectors: Tensor, assigned: np.ndarray, count: int) -> tuple[Placed, Tensor]:
    """Where rows lie among the means of their classes, and these means.

    Args:
        vectors: ``(N, D)`` unit norm.
        assigned: ``(N,)`` classes, each of which has a row.
        count: number K of classes.

    Returns:
        The places, and ``(K, D)`` means.

    Example:
        >>> placed, centres = place(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1]), 2)
        >>> placed.margin.tolist(), placed.other.tolist()
        ([1.0, 1.0], [1, 0])
    """
    own = torch.from_numpy(assigned)
    centres, _ = class_means(vectors, own, count)
    distance, other, apart = torch.empty(len(own)), own.clone(), torch.full((len(own),), torch.inf)
    for start in range(0, len(own), _ROWS):
        rows = slice(start, start + _ROWS)
        far = torch.cdist(vectors[rows], centres)  # (n, K)
        distance[rows] = far.gather(1, own[rows, None])[:, 0]
        if count > 1:
            apart[rows], other[rows] = far.scatter(1, own[rows, None], torch.inf).min(dim=1)
    margin = torch.where(distance <= apart, 1 - distance / apart, apart / distance - 1).nan_to_num(0.0)
    return Placed(assigned, other.numpy(), distance.numpy(), margin.numpy()), centres


def described(
    placed: Placed,
    labels: np.ndarray,
    centres: Tensor,
    names: Sequence[str],
    words: Sequence[Words],
    stability: Sequence[float | None],
) -> tuple[FoundClass, ...]:
    """The classes with all that is known of them.

    Args:
        placed: rows.
        labels: ``(N,)`` given classes, -1 for none; known classes come first.
        centres: ``(K, D)`` means of unit vectors, whose length is therefore the mean cosine of the rows with them.
        names: of the K classes.
        words: of each.
        stability: of each.
    """
    count = len(centres)
    rows = np.bincount(placed.classes, minlength=count)
    labelled = np.bincount(labels[labels >= 0], minlength=count)
    return tuple(
        FoundClass(names[k], not labelled[k], int(rows[k]), int(labelled[k]), density, stability[k], words[k][:_WORDS])
        for k, density in enumerate(centres.norm(dim=1).tolist())
    )
