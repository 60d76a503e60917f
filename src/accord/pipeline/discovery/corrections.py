"""Found classes as a person has corrected them: the table of rows with other classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from accord.data.making.copies import check_table, write_rows
from accord.files import check_replaceable

_MARK = b"accord corrected"
_BATCH = 4096


@dataclass(frozen=True)
class Corrections:
    """What has become of classes and rows.

    Args:
        names: of the classes.
        new: whether nobody had labelled rows of them.
        rows: ``(N,)`` the class of each row; -1 for none.
        moved: ``(N,)`` whether a row is in another class than the one that it was found in.
        next: ``(N,)`` the nearest other class of each row; -1 for none.
    """

    names: Sequence[str]
    new: Sequence[bool]
    rows: NDArray[np.int64] = field(repr=False)
    moved: NDArray[np.bool_] = field(repr=False)
    next: NDArray[np.int64] = field(repr=False)


def write_classes(out: Path, table: pa.Table, corrections: Corrections) -> int:
    """Write the rows of ``discovered.parquet`` with the classes that they have by now; returns how many were moved.

    A row that was moved has no margin, no distance and no next class, which were those of the class that was found.

    Args:
        out: ``.parquet`` or ``.csv`` file; in the latter captions are one text.
        table: the rows.
        corrections: what has become of them.

    Raises:
        ConfigError: ``out`` is neither.
        StorageError: it is there and was not written by this.
    """
    check_table(out)
    plain = out.suffix.lower() == ".csv"
    header = ",".join(table.column_names).encode()
    check_replaceable(out, header if plain else _MARK, "table of corrected classes")
    if plain:
        table = _set(table, "captions", pc.binary_join(table["captions"].cast(pa.list_(pa.string())), "; "))
    names = pa.array(corrections.names, pa.string())
    table = _set(table, "class", _taken(names, corrections.rows))
    table = _set(table, "new", _taken(pa.array(corrections.new, pa.bool_()), corrections.rows))
    table = _set(table, "next", _taken(names, np.where(corrections.moved, -1, corrections.next)))
    for name in ("margin", "distance"):
        nothing = pa.scalar(None, table.schema.field(name).type)
        table = _set(table, name, pc.if_else(pa.array(corrections.moved), nothing, table[name]))
    rows = (row for batch in table.to_batches(max_chunksize=_BATCH) for row in batch.to_pylist())
    write_rows(out, rows, table.schema.remove_metadata(), _MARK)
    return int(corrections.moved.sum())


def _set(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def _taken(values: pa.Array, places: NDArray[np.int64]) -> pa.Array:
    """A value for each place; nothing where the place is -1."""
    return values.take(pa.array(places, mask=places < 0))
