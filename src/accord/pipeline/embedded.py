"""Rows with their vectors: what a model makes of data, or what a file of embeddings holds.

Verbs that look at vectors alone (``clean``, ``discover``, ``probe``) take either, and see no difference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from accord.data.columns import guess_columns
from accord.data.corpus import Corpus
from accord.data.fields import declarations
from accord.data.reading.labels import read_labels
from accord.data.reading.tables import rows_of
from accord.errors import DataError
from accord.files import reading
from accord.methods.abilities import Embeds
from accord.pipeline.model import Model, load
from accord.pipeline.rows import ColumnNames, despite_bad_rows, held_out, open_like

TABLES = (".parquet", ".pq")  # endings of files that may hold vectors
_ENDINGS = ("", "_vector", "_embedding", "_embeddings")  # after a modality's name, what its column of vectors is called
_BUFFER, _AT_ONCE = 1 << 20, 8192  # bytes and rows of vectors that are read at a time
_PLACE = "row of the file"  # a table without columns has no rows
_ALONE = "embedding"  # what vectors are called that no modality names


@dataclass(frozen=True)
class Embedded:
    """Rows and the vectors of each modality.

    Args:
        corpus: the rows: captions, labels, pictures, numbers.
        vectors: modality -> ``(N, D)`` float32 of unit norm; zeros where a row lacks it.
        present: modality -> ``(N,)`` bool, which rows have it.
        model: what made the vectors; None where they were read from a file.
    """

    corpus: Corpus
    vectors: Mapping[str, Tensor]
    present: Mapping[str, np.ndarray]
    model: Model | None = None

    def __len__(self) -> int:
        return len(self.corpus)

    def having(self, *modalities: str) -> Embedded:
        """The rows that have vectors of all of these modalities."""
        kept = np.logical_and.reduce([self.present[name] for name in modalities])
        return self if kept.all() else self.select(np.flatnonzero(kept))

    def select(self, positions: np.ndarray) -> Embedded:
        """The rows at these positions."""
        index = torch.from_numpy(np.asarray(positions, dtype=np.int64))
        return replace(
            self,
            corpus=self.corpus.select(positions),
            vectors={name: rows[index] for name, rows in self.vectors.items()},
            present={name: there[positions] for name, there in self.present.items()},
        )


def is_embeddings_file(data: str | Path) -> bool:
    """Whether this is a Parquet file with a column of vectors."""
    path = Path(data)
    if path.suffix.lower() not in TABLES or not path.is_file():
        return False
    with reading(path, "write it again with accord embed"):
        return bool(_vector_columns(pq.read_schema(path)))


def open_embedded(
    data: str | Path | None,
    run: str | Path | Model | None = None,
    columns: ColumnNames | None = None,
    *,
    device: str = "auto",
    workers: int | None = None,
    check: Callable[[Corpus, Sequence[str]], object] | None = None,
) -> Embedded:
    """The rows of ``data`` with their vectors: read from a file of embeddings, or made by the model ``run``.

    Rows that cannot be read are left out, and said on stderr.

    Args:
        data: a Parquet file with vectors, such as ``accord embed`` writes; or, with ``run``, anything that it embeds.
            None takes the held-out rows of the run.
        run: folder of a run, name of a model that ships, or that of a bundle; a model that is open; None for a file of
            embeddings.
        columns: field -> column name(s) of ``data``, where the guess is wrong, such as ``{"label": "species"}``.
        device: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``.
        workers: processes that decode; None for what suits the device.
        check: is shown the rows and the names of the modalities before anything is embedded, and may refuse them.

    Raises:
        ConfigError: there is no such model or device, or the model embeds nothing.
        DataError: the data cannot be read, hold no vectors, or have nothing that the model embeds.
    """
    if run is None:
        if data is None or not is_embeddings_file(data):
            raise DataError(
                f"{data} is no file of embeddings: name the model that is to embed it, such as a folder of a run, "
                "house or clip:FOLDER, or write its embeddings first with accord embed"
            )
        found = read_embeddings(Path(data), columns)
        if check is not None:
            check(found.corpus, list(found.vectors))
        return found
    model = run if isinstance(run, Model) else load(run, device, workers)
    model.able(Embeds)
    corpus = held_out(model).test if data is None else open_like(model, data, columns)
    names = [name for name in model.modalities if name in corpus.modalities]
    if not names:
        have, wanted = ", ".join(corpus.modalities), ", ".join(model.modalities)
        raise DataError(f"{corpus.name} has {have}, and the model embeds {wanted}: there is nothing to look at")
    if check is not None:
        check(corpus, names)

    def vectors_of(rows: Corpus) -> dict[str, Tensor]:
        return {name: model.embed_corpus(rows, name) for name in names}

    vectors, corpus = despite_bad_rows(corpus, vectors_of)
    return Embedded(corpus, vectors, {name: corpus.present[name] for name in names}, model)


def read_embeddings(path: Path, columns: ColumnNames | None = None) -> Embedded:
    """The rows of a Parquet file with vectors, as ``accord embed`` or another program wrote it.

    Vectors of a modality stand in a column of its name (``image``, ``text_vector``, ``audio_embedding``); the only
    column of vectors may be called anything. All are made unit norm. Pictures, captions and labels are found as in
    any other table; in a file of Accord they are those that were embedded.

    Args:
        path: the file.
        columns: field -> column name(s), where the guess is wrong.

    Raises:
        DataError: it holds no vectors, or some that are not finite or zero; names the first such row.
    """
    with reading(path, "write it again with accord embed"), pq.ParquetFile(path, buffer_size=_BUFFER) as file:
        named = _vector_columns(file.schema_arrow)
        if not named:
            raise DataError(f"{path} holds no column of vectors (lists of numbers): write one with accord embed")
        read = {modality: _read_vectors(file, path, column) for modality, column in named.items()}
        corpus = _rows(path, file, list(named), columns)
    return Embedded(
        corpus, {name: rows for name, (rows, _) in read.items()}, {name: there for name, (_, there) in read.items()}
    )


def embedded_rows(path: Path, columns: ColumnNames | None = None) -> Corpus:
    """The rows of :func:`read_embeddings` without reading a vector.

    Raises:
        StorageError: the file is damaged.
    """
    with reading(path, "write it again with accord embed"), pq.ParquetFile(path, buffer_size=_BUFFER) as file:
        return _rows(path, file, list(_vector_columns(file.schema_arrow)), columns)


def _rows(path: Path, file: pq.ParquetFile, modalities: Sequence[str], columns: ColumnNames | None) -> Corpus:
    """What stands beside the vectors of these modalities."""
    schema = file.schema_arrow
    names = [field.name for field in schema if not holds_vectors(field.type)]
    rest = file.read(names) if names else pa.table({_PLACE: np.arange(file.metadata.num_rows)})
    own = (schema.metadata or {}).get(b"accord")
    if own:
        rest = _as_embedded(rest, modalities)
        columns = _as_called(columns, json.loads(own), rest.column_names)
    return _corpus(path, rest, columns, None if own else path.parent)  # embed names files as it was told of them


def _vector_columns(schema: pa.Schema) -> dict[str, str]:
    """Modality -> its column of vectors."""
    vectors = [field.name for field in schema if holds_vectors(field.type)]
    known = [name for name, made in declarations().items() if made.modality]
    found = {name: name + end for name in known for end in reversed(_ENDINGS) if name + end in vectors}
    return found or ({_ALONE: vectors[0]} if len(vectors) == 1 else {})


def holds_vectors(kind: pa.DataType) -> bool:
    """Whether a column of this type holds vectors: lists of numbers."""
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return lists and pa.types.is_floating(kind.value_type)


def _read_vectors(file: pq.ParquetFile, path: Path, name: str) -> tuple[Tensor, np.ndarray]:
    """``(N, D)`` of unit norm with zeros where the cell is empty, and ``(N,)`` which cells are not.

    Some rows at a time: a column as it comes from the file takes several times the room of its numbers.
    """
    count, start = file.metadata.num_rows, 0
    rows, there = torch.zeros(count, 0), np.zeros(count, np.bool_)
    for batch in file.iter_batches(_AT_ONCE, columns=[name]):
        column = batch.column(name)
        held, block = column.drop_null(), slice(start, start + len(column))
        there[block], start = pc.is_valid(column).to_numpy(zero_copy_only=False), block.stop
        widths = set(pc.unique(pc.list_value_length(held)).to_pylist())
        if widths and not rows.shape[1]:
            rows = torch.zeros(count, max(widths))
        if widths - {rows.shape[1]} or 0 in widths:
            told = " and ".join(map(str, sorted({*widths, rows.shape[1]})))
            raise DataError(
                f"{path}: vectors of column {name} have {told} numbers; expected the same number in each row"
            )
        if widths:
            numbers = pc.list_flatten(held).to_numpy(zero_copy_only=False)
            rows.numpy()[block][there[block]] = numbers.reshape(-1, rows.shape[1])
    if not rows.shape[1]:
        raise DataError(f"{path}: column {name} holds no vector: name another file, or write it with accord embed")
    return _unit(rows, torch.from_numpy(there), f"{path}: row {{}} of column {name}"), there


def _unit(rows: Tensor, there: Tensor, told: str) -> Tensor:
    """The rows that are ``there`` at unit norm, in place."""
    norm = torch.cat([block.norm(dim=1) for block in rows.split(_AT_ONCE)])
    wrong = ~torch.isfinite(norm) | ((norm == 0) & there)
    if wrong.any():
        raise DataError(
            f"{told.format(int(wrong.nonzero()[0]))} is no vector ({int(wrong.sum())} such rows): its numbers are zero "
            "or not finite; leave such rows out"
        )
    return rows.div_(norm.clamp_min(torch.finfo(torch.float32).tiny)[:, None])


def _as_embedded(rest: pa.Table, vectors: Sequence[str]) -> pa.Table:
    """The table of ``accord embed`` with its columns under the names that every source has."""
    medium = next((name for name in vectors if name != "text"), None)
    names = {"path": medium or "path", "captions": "text"}
    kept = [name for name in rest.column_names if rest[name].null_count < len(rest)]
    return rest.select(kept).rename_columns([names.get(name, name) for name in kept])


def _as_called(
    columns: ColumnNames | None, about: Mapping[str, Any], names: Collection[str]
) -> dict[str, str | Sequence[str] | None]:
    """Columns under their ``names`` here, where they are given as the file or what was embedded calls them."""
    here = {"captions": "text"} | {
        name: field for field, used in about.get("columns", {}).items() for name in used if field in names
    }

    def called(name: str) -> str:
        return name if name in names else here.get(name, name)

    found: dict[str, str | Sequence[str] | None] = {}
    for field, used in (columns or {}).items():
        found[field] = called(used) if isinstance(used, str) else used and [called(name) for name in used]
    return found


def _corpus(path: Path, table: pa.Table, columns: ColumnNames | None, root: Path | None) -> Corpus:
    """The rows of a table whose media nobody has to decode."""
    ids = table["id"].to_numpy() if "id" in table.column_names and pa.types.is_integer(table["id"].type) else None
    rows = rows_of(table.replace_schema_metadata(None))
    mapping = guess_columns(rows, columns, any_medium=False)
    labels = read_labels(table[mapping.label].to_pylist(), None, None) if mapping.label else None
    return Corpus(
        name=path.name,
        rows=rows,
        columns=mapping,
        ids=np.arange(len(table), dtype=np.int64) if ids is None else ids,
        classes=labels.classes if labels else (),
        labels=labels.values if labels and labels.classes else None,
        root=root,
        where=str(path),
        incomplete=True,
    )
