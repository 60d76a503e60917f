"""Embeddings as Parquet, for whatever comes after Accord."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from accord.data.reading.graphs import ID
from accord.errors import ShapeError, StorageError
from accord.files import check_replaceable, replacing
from accord.searching.rows import file_paths, has_node_ids, label_names, vector_column

if TYPE_CHECKING:
    from accord.data.corpus import Corpus


_MARK = b'"fingerprint": "'  # in the metadata of every file


def check_embeddings_file(path: Path, source: str | Path) -> None:
    """Refuse to write embeddings over anything but earlier ones, or over what is to be embedded.

    Raises:
        StorageError: ``path`` is something else.
    """
    check_replaceable(path, _MARK, "file of embeddings of Accord")
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise StorageError(f"{path} is what is to be embedded: name another file with --out")


def write_embeddings(path: Path, corpus: Corpus, embeddings: Mapping[str, Tensor]) -> Path:
    """Write one row per row of the corpus: ``id``, ``captions``, ``label``, ``path``, and a vector per modality.

    The nodes of a graph that have ids of their own bring them as ``node``.

    The vector columns are named after their modality and hold fixed-size float32 lists. The file appears whole or
    not at all.

    Args:
        path: Parquet file to write; its folder is made if missing.
        corpus: where the rows come from; ``id`` is the row number in its source.
        embeddings: modality -> ``(N, D)``.

    Returns:
        ``path``.

    Raises:
        ShapeError: not one vector per row.
    """
    for modality, rows in embeddings.items():
        if rows.ndim != 2 or len(rows) != len(corpus):
            raise ShapeError(f"{modality} embeddings: shape {tuple(rows.shape)}; expected ({len(corpus)}, D)")
    columns: dict[str, pa.Array] = {
        "id": pa.array(corpus.ids, pa.int64()),
        "captions": pa.array(corpus.texts(), pa.list_(pa.string())),
        "label": pa.array(label_names(corpus), pa.string()),
        "path": pa.array(file_paths(corpus, embeddings), pa.string()),
        **({"node": pa.array(map(str, corpus.rows[ID]), pa.string())} if has_node_ids(corpus) else {}),
        **{modality: vector_column(rows, corpus.present[modality]) for modality, rows in embeddings.items()},
    }
    about = {"corpus": corpus.name, "fingerprint": corpus.fingerprint, "columns": dict(corpus.columns.items())}
    table = pa.table(columns).replace_schema_metadata({"accord": json.dumps(about)})
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd")
    return path
