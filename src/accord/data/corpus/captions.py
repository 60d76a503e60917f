"""The texts of every row, packed: as tuples of Python's strings they would take three times the memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

import numpy as np
import pyarrow as pa

_TEXTS = pa.list_(pa.large_string())
_BLOCK = 1000  # rows


class Captions(Sequence[tuple[str, ...]]):
    """Several texts a row; rows are tuples of strings when they are asked for.

    Args:
        rows: ``(N,)`` lists of strings.

    Example:
        >>> said = Captions.of([["a cat", "tabby"], []])
        >>> said[0], len(said), list(said.take([1, 0, 0]))
        (('a cat', 'tabby'), 2, [(), ('a cat', 'tabby'), ('a cat', 'tabby')])
    """

    def __init__(self, rows: pa.ChunkedArray) -> None:
        self._rows = rows

    @classmethod
    def of(cls, rows: Iterable[Sequence[str]]) -> Captions:
        """Packed rows; those that are packed are returned as they are."""
        if isinstance(rows, Captions):
            return rows
        left = iter(rows)
        blocks = iter(lambda: list(islice(left, _BLOCK)), [])
        return cls(pa.chunked_array([pa.array(block, _TEXTS) for block in blocks], _TEXTS))

    def take(self, index: Sequence[int] | np.ndarray) -> Captions:
        """The rows at these positions, in this order."""
        return Captions(self._rows.take(pa.array(np.asarray(index, dtype=np.int64))))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        for start in range(0, len(self), _BLOCK):
            yield from map(tuple, self._rows.slice(start, _BLOCK).to_pylist())

    @overload
    def __getitem__(self, position: int) -> tuple[str, ...]: ...
    @overload
    def __getitem__(self, position: slice) -> Captions: ...
    def __getitem__(self, position: int | slice) -> tuple[str, ...] | Captions:
        if isinstance(position, slice):
            return self.take(range(*position.indices(len(self))))
        return tuple(self._rows[int(position)].as_py())
