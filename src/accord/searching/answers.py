"""What an answer says of its row, in one Arrow file that is mapped into memory.

LanceDB holds the same, but plans and schedules each question, which takes longer than finding the neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

FIELDS = ("row", "captions", "label", "path")
_BATCH = 4096  # rows


def write_answers(path: Path, rows: pa.Table) -> None:
    """Write the :data:`FIELDS` of rows, in their order."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, rows.select(FIELDS).schema) as writer:
        writer.write_table(rows.select(FIELDS).combine_chunks(), max_chunksize=_BATCH)


class Answers:
    """Rows in a file of :func:`write_answers`.

    Args:
        path: the file.
        ids: ``(N,)`` ascending, of the rows in the order in which they were written.
    """

    def __init__(self, path: Path, ids: NDArray[np.int64]) -> None:
        self.ids, self._path = ids, path

    def of(self, ids: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Field -> value of the rows with these ids."""
        return [self._read(int(place)) for place in np.searchsorted(self.ids, ids)]

    def _read(self, place: int) -> dict[str, Any]:
        columns = self._columns[place // _BATCH]
        return {name: column[place % _BATCH].as_py() for name, column in zip(FIELDS, columns, strict=True)}

    @cached_property
    def _columns(self) -> Sequence[Sequence[pa.Array]]:
        """The columns of every batch."""
        reader = pa.ipc.open_file(pa.memory_map(str(self._path)))
        return [reader.get_batch(number).columns for number in range(reader.num_record_batches)]
