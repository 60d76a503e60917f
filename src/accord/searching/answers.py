"""What an answer says of its row, in one Arrow file that is mapped into memory.

LanceDB holds the same, but plans and schedules each question, which takes longer than finding the neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
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

    @property
    def labels(self) -> dict[str, int]:
        """What rows say of their class -> how many say so, in alphabetical order."""
        names, codes = self._labels
        counts = np.bincount(codes[codes >= 0], minlength=len(names))
        return dict(sorted(zip(names, counts.tolist(), strict=True)))

    def ids_with(self, labels: Collection[str]) -> NDArray[np.int64]:
        """Ids of the rows that say one of these."""
        names, codes = self._labels
        wanted = [code for code, name in enumerate(names) if name in labels]
        return np.asarray(self.ids[np.isin(codes, wanted)])

    def hold(self) -> None:
        """Open the file, so that it can be read when it is gone."""
        self._columns  # noqa: B018  mapped once and for all

    @cached_property
    def _labels(self) -> tuple[list[str], NDArray[np.int32]]:
        """The different labels, and which of them each row has, -1 for none."""
        parts = [columns[FIELDS.index("label")] for columns in self._columns]
        coded = pa.chunked_array(parts, pa.string()).combine_chunks().dictionary_encode()
        return coded.dictionary.to_pylist(), coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)

    @cached_property
    def _columns(self) -> Sequence[Sequence[pa.Array]]:
        """The columns of every batch."""
        reader = pa.ipc.open_file(pa.memory_map(str(self._path)))
        return [reader.get_batch(number).columns for number in range(reader.num_record_batches)]
