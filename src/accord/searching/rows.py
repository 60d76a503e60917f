"""What the index and the exported files say of each row of a corpus, and how a row is known again."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from accord.data.loading.tokens import TokenRows
from accord.data.reading.cells import cells_of
from accord.data.reading.graphs import ID
from accord.data.reading.media import cell_file, cell_path
from accord.errors import DataError
from accord.evaluation.embedder import check_finite

if TYPE_CHECKING:
    from accord.data.corpus import Corpus

_THUMBNAIL = 192  # pixels of the longer side
_STRINGS = ("string", "large_string")


def row_records(
    corpus: Corpus, keys: Sequence[str], vectors: Mapping[str, Tensor], tokens: Mapping[str, TokenRows] | None = None
) -> pa.Table:
    """What the index holds of each row: key, number, captions, class, file, thumbnail, its vectors and their tokens.

    Args:
        corpus: the rows.
        keys: one of :func:`row_keys` for each.
        vectors: modality -> ``(N, D)``.
        tokens: modality -> tokens of the N rows, for a second stage.

    Raises:
        DataError: vectors or tokens are not finite.
    """
    columns: dict[str, pa.Array] = {
        "key": pa.array(keys, pa.string()),
        "row": pa.array(corpus.ids, pa.int64()),
        "captions": pa.array(corpus.texts(), pa.list_(pa.string())),
        "label": pa.array(label_names(corpus), pa.string()),
        "path": pa.array(file_paths(corpus, vectors), pa.string()),
        "thumbnail": pa.array([_thumbnail(corpus, position, vectors) for position in range(len(corpus))], pa.binary()),
    }
    for modality, rows in vectors.items():
        check_finite(f"{modality} embeddings", rows)
        columns[f"{modality}_vector"] = vector_column(rows, corpus.present[modality])
    for modality, held in (tokens or {}).items():
        check_finite(f"{modality} tokens", held.values)
        columns[f"{modality}_tokens"] = token_column(held)
    return pa.table(columns)


def vector_column(rows: Tensor, present: np.ndarray | None = None) -> pa.FixedSizeListArray:
    """``(N, D)`` as an Arrow column of fixed-size float32 lists, null where ``present (N,)`` is False.

    >>> import torch
    >>> vector_column(torch.eye(2)).type
    FixedSizeListType(fixed_size_list<item: float>[2])
    """
    flat = np.ascontiguousarray(rows.detach().cpu().numpy(), dtype=np.float32).reshape(-1)
    absent = None if present is None or present.all() else pa.array(~present)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), rows.shape[1], mask=absent)


def token_column(rows: TokenRows) -> pa.ListArray:
    """The tokens of each row as an Arrow column: lists, as long as the row has tokens, of float16 vectors.

    >>> import torch
    >>> two = TokenRows(torch.eye(2), torch.ones(3, 4, dtype=torch.float16), torch.tensor([0, 1, 3]))
    >>> token_column(two).type
    ListType(list<item: fixed_size_list<item: halffloat>[4]>)
    """
    flat = pa.array(np.ascontiguousarray(rows.values.cpu().numpy()).reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(flat, rows.values.shape[1])
    return pa.ListArray.from_arrays(pa.array(rows.starts.cpu().numpy(), pa.int32()), vectors)


def token_rows(found: pa.Table, modality: str) -> TokenRows:
    """Vectors and tokens of a modality in records of the index."""
    lists = found[f"{modality}_tokens"].combine_chunks()
    vectors = found[f"{modality}_vector"].combine_chunks()
    counts = torch.from_numpy(lists.value_lengths().to_numpy().astype(np.int64))
    return TokenRows(
        torch.from_numpy(vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(found), -1).copy()),
        torch.from_numpy(lists.flatten().flatten().to_numpy().reshape(int(counts.sum()), -1).copy()),
        torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
    )


def label_names(corpus: Corpus) -> list[str | None]:
    """Class names of every row, joined by commas; None without any."""
    if corpus.labels is None:
        return [None] * len(corpus)
    if corpus.labels.ndim == 1:
        return [corpus.classes[label] if label >= 0 else None for label in corpus.labels]
    named = [", ".join(corpus.classes[c] for c in np.flatnonzero(row)) for row in corpus.labels]
    return [names or None for names in named]


def rows_at_once(corpus: Corpus, modalities: Sequence[str], usual: int) -> int:
    """How many rows are embedded at a time: the ``usual`` number, but all nodes of a graph, which is read as a whole.

    Example:
        >>> from accord.data.corpus import corpus_from_items
        >>> rows_at_once(corpus_from_items("text", ["a cat"]), ["text"], usual=64)
        64
    """
    return max(1, len(corpus)) if "graph" in modalities else usual


def has_node_ids(corpus: Corpus) -> bool:
    """Whether the rows are nodes of a graph that have ids of their own.

    Example:
        >>> from accord.data.corpus import corpus_from_items
        >>> has_node_ids(corpus_from_items("text", ["a cat"]))
        False
    """
    return corpus.graph is not None and ID in corpus.rows.column_names


def row_named(corpus: Corpus, name: str) -> int:
    """The number of the row that is meant: by a node's id, by the number itself, or by what a column says of it alone.

    Raises:
        DataError: there is no such row, or all columns that say it do so of several.

    Example:
        >>> from accord.data.corpus import corpus_from_items
        >>> row_named(corpus_from_items("text", ["a cat", "a dog"]), "a dog")
        1
    """
    ids = [str(node) for node in cells_of(corpus.rows, ID)] if has_node_ids(corpus) else []
    if name in ids:
        return int(corpus.ids[ids.index(name)])
    if name.isdecimal() and int(name) in corpus.ids:
        return int(name)
    columns = [column for column, kind in corpus.rows.features.items() if getattr(kind, "dtype", "") in _STRINGS]
    several = 0
    for column in columns:
        found = [position for position, value in enumerate(cells_of(corpus.rows, column)) if value == name]
        if len(found) == 1:
            return int(corpus.ids[found[0]])
        several = several or len(found)
    if several:
        raise DataError(f"{several} rows of {corpus.name} say {name!r}: give a row's number, as answers show it")
    raise DataError(
        f"no row of {corpus.name} has the number {name!r}, or says it in a column ({', '.join(columns) or ID}): "
        "give what a row says letter by letter, or a number as answers show it"
    )


def file_paths(corpus: Corpus, of: Collection[str] = ()) -> list[str | None]:
    """The file of every row's first medium; None where the source holds bytes or only text.

    Args:
        corpus: the rows.
        of: media that come before the others, such as what a model reads.
    """
    media = sorted(corpus.columns.media.items(), key=lambda item: item[0] not in of)
    if not media:
        return [None] * len(corpus)
    paths = [cell_path(cell, corpus.root) for cell in _cells(corpus, media[0][1])]
    return [None if path is None else str(path) for path in paths]


def _thumbnail(corpus: Corpus, position: int, of: Collection[str]) -> bytes | None:
    """A small WebP of the row's picture, or a strip of its clip's frames."""
    picture = corpus.picture(position, _THUMBNAIL, of)
    if picture is None:
        return None
    stream = io.BytesIO()
    picture.save(stream, format="WEBP", quality=85)
    return stream.getvalue()


def row_keys(corpus: Corpus) -> Iterator[str]:
    """A hash of each row's content; the same content again gets a running number."""
    seen: Counter[str] = Counter()
    media = [_cells(corpus, column) for column in corpus.columns.media.values()]
    for texts, label, *cells in zip(corpus.texts(), label_names(corpus), *media, strict=True):
        digest = hashlib.blake2b(json.dumps([texts, label]).encode(), digest_size=16)
        for cell in cells:
            _digest_cell(digest, cell, corpus.root)
        content = digest.hexdigest()
        yield f"{content}-{seen[content]}"
        seen[content] += 1


def _digest_cell(digest: Any, cell: Any, root: Path | None) -> None:
    """Bytes and numbers by content, files and parts of them by path, size and time, lists item by item."""
    if isinstance(cell, list):
        for item in cell:
            _digest_cell(digest, item, root)
        return
    if isinstance(cell, int | float):
        digest.update(repr(cell).encode())
        return
    path = cell_file(cell, root)
    if path is not None:
        part = f"{cell['start']} " if cell_path(cell, root) is None else ""
        digest.update(f"{path} {part}{file_stamp(path)}".encode())
        return
    content = cell.get("bytes") if isinstance(cell, Mapping) else cell
    digest.update(content or b"")


def _cells(corpus: Corpus, column: str) -> Iterator[Any]:
    return cells_of(corpus.rows, column)


def file_stamp(path: Path) -> str:
    """Size and time of a file; empty when it is not there."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"
