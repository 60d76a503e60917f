"""What the columns of a corpus hold, without decoding it: which cells are filled, which files they name, their hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from accord.data.cache import cache_folder, dispensable
from accord.data.reading.graphs import graph_digest
from accord.data.reading.media import cell_path
from accord.files import write_atomically

if TYPE_CHECKING:
    from accord.data.corpus.rows import Corpus


def filled(cells: pa.ChunkedArray) -> np.ndarray:
    """Which cells hold something."""
    if pa.types.is_struct(cells.type):
        parts = [pc.struct_field(cells, field.name) for field in cells.type if field.name in ("bytes", "path")]
        return np.asarray(np.logical_or.reduce([filled(part) for part in parts]))
    there = pc.is_valid(cells).to_numpy(zero_copy_only=False)
    if pa.types.is_list(cells.type) or pa.types.is_large_list(cells.type):
        lengths = pc.list_value_length(cells)
    elif pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        lengths = pc.utf8_length(cells)
    else:
        return np.asarray(there)
    return np.asarray(there & (pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False) > 0))


def fingerprint_of(corpus: Corpus) -> str:
    """Hash of what a corpus says: mapping, cells, labels, captions, and size and time of every file."""
    digest = hashlib.blake2b(digest_size=16)
    used = sorted({column for _, columns in corpus.columns.items() for column in columns})
    captions = None if corpus.captions is None else list(corpus.captions)
    digest.update(json.dumps([corpus.columns.stamp, corpus.classes, captions]).encode())
    if corpus.graph is not None:
        digest.update(graph_digest(corpus.graph).encode())
    for array in (corpus.ids, corpus.labels, corpus.truth):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    if corpus.box_format != "xyxy" or corpus.mask_classes:
        digest.update(json.dumps([corpus.box_format, corpus.mask_classes]).encode())
    remembered = cache_folder("fingerprints", f"{corpus.stamp}-{digest.hexdigest()}") if corpus.stamp else None
    if remembered is not None and (known := _read(remembered)):
        return known
    by_itself = True  # does not change without the files that hold the rows
    for table in corpus.rows.select_columns(used).with_format("arrow").iter(batch_size=512) if len(corpus) else ():
        digest.update(table.combine_chunks().to_batches()[0].serialize())
        for column in corpus.columns.files:
            cells = table.column(column)
            files = _file_names(cells)
            by_itself = by_itself and (not files or _in_shards(cells))
            for name in files:
                digest.update(_stamp(cell_path(name, corpus.root)).encode())
    if remembered is not None and by_itself:
        with dispensable("the hash of the rows"):
            write_atomically(remembered, digest.hexdigest())
    return digest.hexdigest()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


def _in_shards(cells: pa.ChunkedArray) -> bool:
    """Whether cells say where in a file of many their bytes lie."""
    return pa.types.is_struct(cells.type) and cells.type.get_field_index("within") >= 0


def _file_names(cells: pa.ChunkedArray) -> list[str]:
    """The files that cells name, without looking at those that hold their bytes; one that holds many stands once."""
    if _in_shards(cells):
        return pc.unique(pc.struct_field(cells, "within")).drop_null().to_pylist()
    if pa.types.is_struct(cells.type):
        outside = pc.is_null(pc.struct_field(cells, "bytes"))
        cells = pc.struct_field(cells, "path").filter(outside)
    if pa.types.is_list(cells.type) or pa.types.is_large_list(cells.type):
        cells = pc.list_flatten(cells)
    is_text = pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)
    return cells.drop_null().to_pylist() if is_text else []


def _stamp(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        status = path.stat()
    except OSError:
        return f"{path.name} missing;"
    return f"{path.name} {status.st_size} {status.st_mtime_ns};"
