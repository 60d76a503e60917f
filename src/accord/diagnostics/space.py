"""What measures look at: the embeddings of rows, and what else is known of these rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from accord.errors import DataError

CATEGORIES = 20  # different numbers up to which they are names of values; more are cut into fifths
LEAST = 5  # rows of a value, below which nothing can be said of it


@dataclass(frozen=True, eq=False)
class Factor:
    """A property of rows: one of several values each.

    Args:
        values: ``(N,)`` int64, which of ``names`` a row has; -1 for none.
        names: what the values are called.
    """

    values: NDArray[np.int64]
    names: tuple[str, ...]

    @classmethod
    def of(cls, cells: Iterable[Any], name: str) -> Factor:
        """The factor in the cells of a column: words, or numbers.

        More than 20 different numbers are cut into fifths of equally many rows. Empty cells and values that fewer
        than 5 rows have count as none.

        Args:
            cells: one a row.
            name: of the column, for messages.

        Raises:
            DataError: the cells are no words or numbers, or fewer than two values have 5 rows.

        Example:
            >>> made = Factor.of(["red", "blue", None] * 5, "colour")
            >>> made.names, made.values[:3].tolist()
            (('blue', 'red'), [1, 0, -1])
            >>> Factor.of(range(25), "size").names
            ('up to 4.8', '4.8 to 9.6', '9.6 to 14.4', '14.4 to 19.2', 'over 19.2')
        """
        found = [None if cell is None or cell != cell or cell == "" else cell for cell in cells]  # NaN is not itself
        wrong = next((cell for cell in found if not isinstance(cell, str | Real | None)), None)
        if wrong is not None:
            raise DataError(f"factor {name}: its cells hold {type(wrong).__name__}; expected words or numbers")
        values, names = _fifths(found) if _is_measured(found) else _named(found)
        return cls(values, names)._with_enough_rows(name)

    @property
    def known(self) -> NDArray[np.int64]:
        """Positions of the rows that have a value."""
        return np.flatnonzero(self.values >= 0)

    def select(self, positions: NDArray[np.int64]) -> Factor:
        """The factor of the rows at these positions."""
        return Factor(self.values[positions], self.names)

    def packed(self) -> Factor:
        """Without the names that no row has."""
        there = np.unique(self.values[self.known])
        place = np.full(len(self.names) + 1, -1)
        place[there] = np.arange(len(there))
        return Factor(place[self.values], tuple(self.names[value] for value in there))

    def _with_enough_rows(self, name: str) -> Factor:
        counts = np.bincount(self.values[self.known], minlength=len(self.names))
        rare = counts < LEAST
        if (~rare).sum() < 2:
            raise DataError(
                f"factor {name}: {len(self.names)} different values in {len(self.values)} rows, of which "
                f"{int((~rare).sum())} have {LEAST} rows or more; expected at least two such values"
            )
        return Factor(np.where(rare[self.values], -1, self.values), self.names).packed()


@dataclass(frozen=True, eq=False)
class Space:
    """Embeddings, and what is known of their rows.

    Args:
        vectors: modality -> ``(N, D)`` unit norm; row i of all modalities belongs together.
        classes: the class of each row, or None where they have none, or several each.
        factors: column -> a further property of the rows.
        groups: ``(N,)`` rows of equal value are one thing, such as two pictures of one object: they are never looked
            at as neighbours of each other, nor on both sides of a split. None: every row is its own.
        seed: of what is drawn.

    Example:
        >>> import torch
        >>> Space({"image": torch.eye(3)}, Factor.of(["cat", "dog", "cat"] * 5, "kind")).classes.names
        ('cat', 'dog')
    """

    vectors: Mapping[str, Tensor]
    classes: Factor | None = None
    factors: Mapping[str, Factor] = field(default_factory=dict)
    groups: NDArray[Any] | None = None
    seed: int = 0

    def comparable(self) -> list[dict[str, Tensor]]:
        """Each two modalities of one size.

        >>> import torch
        >>> made = {"image": torch.eye(3), "text": torch.eye(3), "audio": torch.eye(3, 5)}
        >>> [list(two) for two in Space(made).comparable()]
        [['image', 'text']]
        """
        return [
            {one: self.vectors[one], other: self.vectors[other]}
            for one, other in combinations(self.vectors, 2)
            if self.vectors[one].shape[1:] == self.vectors[other].shape[1:]
        ]


def _is_measured(cells: list[Any]) -> bool:
    """Whether these are numbers, and too many for names."""
    numbers = {cell for cell in cells if cell is not None}
    return len(numbers) > CATEGORIES and not any(isinstance(cell, str) for cell in numbers)


def _named(cells: list[Any]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    there = sorted({cell for cell in cells if cell is not None}, key=lambda cell: (isinstance(cell, str), cell))
    place = {cell: number for number, cell in enumerate(there)}
    return np.array([place.get(cell, -1) for cell in cells], dtype=np.int64), tuple(map(str, there))


def _fifths(cells: list[Any]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Numbers by the fifth that they lie in, from the lowest; fewer parts where many are equal."""
    numbers = np.array([np.nan if cell is None else float(cell) for cell in cells])
    there = np.isfinite(numbers)
    inner = np.quantile(numbers[there], (0.2, 0.4, 0.6, 0.8))
    edges = np.unique(inner[inner < numbers[there].max()])
    values = np.where(there, np.searchsorted(edges, numbers, side="left"), -1)
    ends = [f"{edge:.4g}" for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(ends)]
    return values, (f"up to {ends[0]}", *between, f"over {ends[-1]}") if ends else ("all",)
