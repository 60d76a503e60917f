"""What a search reads of an index, beside its table: a file of neighbours per modality, and what answers say.

A folder is never changed: a later one is made of it and of what has changed in the table, and takes its place.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from accord.searching.answers import FIELDS, Answers, write_answers
from accord.searching.neighbours import ASKED, PER_LIST, Floats, Ids, Neighbours, lists_for

ROW = "_rowid"  # by which the table knows a row for as long as it is there
_IDS, _ANSWERS = "ids.npy", "answers.arrow"  # of all rows of the table, with vectors or without
_BLOCK = 65_536  # rows read at a time
_SPARSE = 2  # times as many lists as there are, as four times the rows want, from which they are learnt anew


def vector_sizes(table: Any) -> dict[str, int]:
    """Modality -> size of its vectors, of a table."""
    return {
        field.name.removesuffix("_vector"): field.type.list_size
        for field in table.schema
        if field.name.endswith("_vector")
    }


def make_vectors(table: Any, folder: Path, before: Path | None, *, approximate: bool) -> None:
    """Write the neighbours of a table's rows.

    Args:
        table: the rows.
        folder: where to; what an interrupted call left there is replaced.
        before: folder of an earlier state of the table, of which what is still so is taken over.
        approximate: with inverted lists.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ids = all_ids(table)
    known = np.empty(0, np.int64) if before is None else np.load(before / _IDS)
    new, gone = np.setdiff1d(ids, known, assume_unique=True), np.setdiff1d(known, ids, assume_unique=True)
    draw = np.random.default_rng(0)
    sizes = vector_sizes(table)
    for modality, size in sizes.items():
        filled = table.count_rows(f"{modality}_vector IS NOT NULL")
        lists = lists_for(filled) if approximate and filled else 0
        index = None if before is None else _opened(before, modality)
        if index is None or bool(index.lists) != bool(lists) or lists > _SPARSE * index.lists:
            wanted = PER_LIST * lists * len(ids) // max(1, filled)  # since some of those drawn have no vector
            sample = _some(table, modality, ids, wanted, draw) if lists else None
            index, new_here = _empty(size, lists, sample), ids
        else:
            index.remove(gone)
            new_here = new
        for block in _blocks(table, modality, new_here):
            index.add(*block)
        alike = [name for name, other in sizes.items() if other == size]
        index.look_into_enough([_some(table, name, ids, ASKED, draw) for name in alike] if index.lists else [])
        index.save(_file(folder, modality))
    np.save(folder / _IDS, ids)
    write_answers(folder / _ANSWERS, _in_order(table, FIELDS))


def answers(folder: Path) -> Answers:
    """What the rows say."""
    return Answers(folder / _ANSWERS, np.load(folder / _IDS, mmap_mode="r"))


def neighbours(folder: Path, modality: str) -> Neighbours:
    """Those of a modality, to be searched."""
    return Neighbours.open(_file(folder, modality))


def taken(table: Any, ids: Ids | Sequence[int], columns: Sequence[str]) -> pa.Table:
    """Columns of the rows with these ids, in their order."""
    found = table.take_row_ids([int(row) for row in ids]).select(list(columns)).with_row_id().to_arrow()
    place = {row: number for number, row in enumerate(found[ROW].to_pylist())}
    return found.take(pa.array([place[int(row)] for row in ids], pa.int64())).drop_columns([ROW])


def all_ids(table: Any) -> Ids:
    """Ids of all rows, ascending."""
    return _in_order(table, [])[ROW].to_numpy().astype(np.int64)


def _in_order(table: Any, columns: Sequence[str]) -> pa.Table:
    """Columns and ids of all rows, by ascending id."""
    found = table.search().select(list(columns)).with_row_id(True).limit(table.count_rows()).to_arrow()
    return found.take(np.argsort(found[ROW].to_numpy()))


def _opened(folder: Path, modality: str) -> Neighbours | None:
    """The neighbours of a modality, to be changed; None where there are none."""
    path = _file(folder, modality)
    return Neighbours.open(path, mapped=False) if path.exists() else None


def _empty(size: int, lists: int, sample: Floats | None) -> Neighbours:
    """Neighbours before any of them is put in, exact without a sample."""
    if sample is None or not len(sample):
        return Neighbours.exact(size)
    return Neighbours.approximate(sample, min(lists, len(sample)))


def _some(table: Any, modality: str, ids: Ids, number: int, draw: np.random.Generator) -> Floats:
    """Vectors of rows drawn at random, without those that have none."""
    rows = draw.choice(ids, min(number, len(ids)), replace=False)
    return _rows(taken(table, np.sort(rows), [f"{modality}_vector"])[0])


def _blocks(table: Any, modality: str, ids: Ids) -> Iterator[tuple[Ids, Floats]]:
    """Ids and vectors of rows, a block at a time; ids of later rows are larger."""
    if not len(ids):
        return
    column = f"{modality}_vector"
    rows = table.search().where(f"{ROW} >= {ids[0]} AND {ROW} <= {ids[-1]}").select([column]).with_row_id(True)
    for batch in rows.limit(table.count_rows()).to_batches(batch_size=_BLOCK):
        wanted = pa.array(np.isin(batch[ROW].to_numpy(), ids)) if batch.num_rows else pa.array([], pa.bool_())
        part = pa.Table.from_batches([batch]).filter(wanted)
        part = part.filter(part[column].is_valid())
        yield part[ROW].to_numpy().astype(np.int64), _rows(part[column])


def _rows(column: pa.ChunkedArray) -> Floats:
    """A column of vectors as an array, without those that are not there."""
    size = column.type.list_size
    return np.asarray(column.drop_null().combine_chunks().flatten(), dtype=np.float32).reshape(-1, size)


def _file(folder: Path, modality: str) -> Path:
    return folder / f"{modality}.faiss"
