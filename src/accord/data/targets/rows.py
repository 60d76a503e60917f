"""The targets of a corpus's rows: which class names things have, which rows have a target, and what it lies on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from accord.data.inputs import Input
from accord.data.reading.cells import cells_of
from accord.data.reading.frames import Clip
from accord.data.reading.labels import read_labels
from accord.data.reading.media import Unreadable, picture_size
from accord.data.reading.video import read_video
from accord.data.targets.base import LABEL, Canvas, listed

if TYPE_CHECKING:
    from accord.data.corpus import Corpus


def things_classes(rows: datasets.Dataset, column: str) -> tuple[str, ...]:
    """The classes that a column names of the things in each row, sorted; numbers by size."""
    inner = getattr(rows.features[column], "feature", None)
    if isinstance(inner, datasets.ClassLabel):
        return tuple(inner.names)
    names: list[Any] = []
    for cell in cells_of(rows, column):
        try:
            names += [name for name in listed(cell, LABEL) if name is not None]
        except Unreadable:
            continue  # the row is bad, which is said when it is read
    return read_labels(names).classes


def has_value(cells: pa.ChunkedArray) -> np.ndarray:
    """Which rows ``(N,)`` say something: an empty list does, that there is nothing; an empty text or file does not.

    >>> has_value(pa.chunked_array([[[], [1], None]])).tolist(), has_value(pa.chunked_array([["", "a"]])).tolist()
    ([True, True, False], [False, True])
    """
    if pa.types.is_struct(cells.type):
        parts = [pc.struct_field(cells, field.name) for field in cells.type if field.name in ("bytes", "path")]
        return np.logical_or.reduce([has_value(part) for part in parts])
    there = pc.is_valid(cells)
    if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        there = pc.and_(there, pc.greater(pc.fill_null(pc.utf8_length(cells), 0), 0))
    return np.asarray(there.to_numpy())


def is_empty(cell: Any) -> bool:
    """Whether a cell says nothing, see :func:`has_value`.

    >>> is_empty(None), is_empty({"bytes": None, "path": None}), is_empty([])
    (True, True, False)
    """
    if isinstance(cell, Mapping):
        return all(cell.get(part) is None for part in ("bytes", "path"))
    return cell is None or (isinstance(cell, str) and cell == "")


def canvas_of(
    corpus: Corpus, position: int, medium: str | None, media: Mapping[str, Any], inputs: Mapping[str, Input]
) -> Canvas:
    """What a target of a row lies on.

    Args:
        corpus: the rows.
        position: which row.
        medium: the field whose pixels it lies on, or None.
        media: field -> what was decoded of the row, for its size and frames; what is not there is opened.
        inputs: field -> what an encoder is fed, for the number of frames.

    Raises:
        Unreadable: the medium cannot be opened.
    """
    if medium is None:
        return Canvas()
    slots = getattr(inputs.get(medium), "frames", None)
    if medium not in corpus.columns.media or not corpus.present[medium][position]:
        return Canvas((1, 1), slots=slots, there=False)
    seen = media.get(medium)
    if isinstance(seen, Clip):
        return Canvas(seen[0].size, seen.timeline.positions, seen.timeline.total, slots)
    if seen is not None:
        return Canvas(seen.size)
    cell = corpus.cells(position, (medium,))[medium]
    if medium == "image":
        return Canvas(picture_size(cell, corpus.root))
    clip = read_video(cell, corpus.root, frames=1)
    return Canvas(clip[0].size, total=clip.timeline.total)
