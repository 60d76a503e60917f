"""Label columns: names, numbers or lists of them become class indices or a multi-hot matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accord.data.reading.media import UNDECODABLE

MISSING_LABEL = "missing label"


@dataclass(frozen=True)
class Labels:
    """A label column, read.

    Args:
        values: ``(N,)`` int64 class indices, -1 where a row has none, or ``(N, C)`` uint8 multi-hot.
        classes: the class names; numbers are named by their digits.
        bad: position -> reason, for rows whose label cannot be used.
    """

    values: np.ndarray
    classes: tuple[str, ...]
    bad: dict[int, str] = field(default_factory=dict)

    def at(self, places: np.ndarray) -> Labels:
        """Those of rows that have the cells at these places ``(M,)``.

        >>> read_labels(["cat", None]).at(np.array([1, 0, 1]))
        Labels(values=array([-1,  0, -1]), classes=('cat',), bad={0: 'missing label', 2: 'missing label'})
        """
        rows = np.flatnonzero(np.isin(places, list(self.bad)))
        reasons = {int(row): self.bad[int(places[row])] for row in rows}
        return Labels(self.values[places], self.classes, reasons)


def read_labels(
    values: Sequence[Any], names: Sequence[str] | None = None, classes: Sequence[str] | None = None
) -> Labels:
    """Read a label column.

    Args:
        values: one name, number, list of them, or None (or NaN) a row.
        names: class names that integer values index, when the source has them.
        classes: the classes to use, in order; None takes those that occur, sorted (numbers by size).

    Example:
        >>> read_labels(["dog", "cat", None]).values, read_labels(["dog", "cat", None]).bad
        (array([ 1,  0, -1]), {2: 'missing label'})
        >>> read_labels([[0, 2], [1]]).values
        array([[1, 0, 1], [0, 1, 0]], dtype=uint8)
    """
    many = any(isinstance(value, list | tuple | np.ndarray) for value in values)
    rows: list[list[str] | None] = [_names_in(value, names) for value in values]
    bad = {i: _fault(values[i]) for i, row in enumerate(rows) if row is None}
    if classes is None:
        classes = names or sorted({name for row in rows for name in row or ()}, key=_by_size)
    index = {name: i for i, name in enumerate(classes)}
    for i, row in enumerate(rows):
        unknown = [name for name in row or () if name not in index]
        if unknown:
            bad[i] = f"unknown class: {unknown[0]!r} is not one of the {len(index)} classes"
    if many:
        hot = np.zeros((len(rows), len(index)), dtype=np.uint8)
        for i, row in enumerate(rows):
            hot[i, [index[name] for name in row or () if name in index]] = 1
        return Labels(hot, tuple(classes), bad)
    single = [index.get(row[0], -1) if row else -1 for row in rows]
    return Labels(np.array(single, dtype=np.int64), tuple(classes), bad)


def _names_in(value: Any, names: Sequence[str] | None) -> list[str] | None:
    """The class names in a cell, or None when there is no usable value."""
    if isinstance(value, list | tuple | np.ndarray):
        inner = [_names_in(item, names) for item in value]
        return None if any(item is None for item in inner) else [name for item in inner for name in item or ()]
    if value is None or (isinstance(value, float) and not value.is_integer()):
        return None
    if isinstance(value, str):
        return [value.strip()] if value.strip() and UNDECODABLE not in value else None
    number = int(value)
    if names is None:
        return [str(number)]
    return [names[number]] if 0 <= number < len(names) else None


def _fault(value: Any) -> str:
    if isinstance(value, str) and UNDECODABLE in value:
        return "label is not UTF-8"
    missing = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
    return MISSING_LABEL if missing else f"unusable label: {value!r}"


def _by_size(name: str) -> tuple[int, float, str]:
    try:
        return 0, int(name), name
    except ValueError:
        return 1, 0, name
