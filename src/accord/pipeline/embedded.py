"""Rows with their vectors: what a model makes of data, or what a file of embeddings holds.

Verbs that look at vectors alone (``clean``, ``discover``, ``probe``) take either, and see no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
    run: str | Path | None = None,
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
        run: folder of a run, name of a model that ships, or that of a bundle; None for a file of embeddings.
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
    model = load(run, device, workers)
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
    with reading(path, "write it again with accord embed"):
        table = pq.read_table(path, memory_map=True)
    named = _vector_columns(table.schema)
    if not named:
        raise DataError(f"{path} holds no column of vectors (lists of numbers): write one with accord embed")
    read = {modality: _vectors(table[column], path, column) for modality, column in named.items()}
    rest = table.drop_columns(list(named.values())).append_column(_PLACE, pa.array(np.arange(len(table))))
    own = (table.schema.metadata or {}).get(b"accord")
    if own:
        rest = _as_embedded(rest, read)
    corpus = _corpus(path, rest, columns, None if own else path.parent)  # embed names files as it was told of them
    return Embedded(
        corpus, {name: rows for name, (rows, _) in read.items()}, {name: there for name, (_, there) in read.items()}
    )


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


def _vectors(column: pa.ChunkedArray, path: Path, name: str) -> tuple[Tensor, np.ndarray]:
    """``(N, D)`` of unit norm with zeros where the cell is empty, and ``(N,)`` which cells are not."""
    there = pc.is_valid(column).to_numpy(zero_copy_only=False)
    held = column.drop_null()
    widths = pc.unique(pc.list_value_length(held)).to_pylist()
    if len(widths) != 1:
        raise DataError(f"{path}: the vectors of column {name} have {len(widths)} lengths; expected one")
    flat = pc.list_flatten(held).to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    rows = torch.zeros(len(column), widths[0])
    rows.numpy()[there] = flat.reshape(-1, widths[0])
    norm = rows.norm(dim=1)
    wrong = ~torch.isfinite(norm) | ((norm == 0) & torch.from_numpy(there))
    if wrong.any():
        raise DataError(
            f"{path}: row {int(wrong.nonzero()[0])} of column {name} is no vector ({int(wrong.sum())} such rows): its "
            "numbers are zero or not finite; leave such rows out"
        )
    return rows.div_(norm.clamp_min(torch.finfo(torch.float32).tiny)[:, None]), there


def _as_embedded(rest: pa.Table, vectors: Mapping[str, object]) -> pa.Table:
    """The table of ``accord embed`` with its columns under the names that every source has."""
    medium = next((name for name in vectors if name != "text"), None)
    names = {"path": medium or "path", "captions": "text"}
    kept = [name for name in rest.column_names if rest[name].null_count < len(rest)]
    return rest.select(kept).rename_columns([names.get(name, name) for name in kept])


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
