"""Rows to Parquet and back: the one place that knows how a pack lies on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_dir

from accord.data.packs.base import Kind, Pack, Row
from accord.errors import DataError
from accord.files import replacing

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

_NOTE = b"accord"


def cache_folder() -> Path:
    """Folder of the built packs, below the platform's cache directory."""
    return Path(user_cache_dir("accord")) / "packs"


def parquet_path(pack: Pack) -> Path:
    """Where the pack's rows are, or would be once built."""
    return pack.embedded or cache_folder() / f"{pack.name}.parquet"


def write_rows(rows: Iterable[Row], schema: Mapping[str, Kind], path: Path, note: Mapping[str, Any]) -> None:
    """Write rows as Parquet, atomically and the same bytes for the same rows.

    Args:
        rows: dicts with the keys of ``schema``.
        schema: column -> kind.
        path: file to write; its folder is made.
        note: where the rows come from, kept in the file for :func:`read_note`.

    Raises:
        DataError: there is no row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(list(rows), schema=_arrow_schema(schema))
    table = table.replace_schema_metadata({_NOTE: json.dumps(dict(note), sort_keys=True)})
    if not table.num_rows:
        raise DataError(f"{path.name}: no row to write")
    # PNG, WebP and Ogg do not compress further; the words do, the better the more of them stand together
    together = len(table) if set(schema.values()) <= {"text", "texts"} else 1024
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd", compression_level=9, row_group_size=together)


def read_note(path: Path) -> dict[str, Any]:
    """The note that :func:`write_rows` left in a file.

    Raises:
        DataError: the file is no Parquet file, or was not written by Accord.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        note: dict[str, Any] = json.loads(pq.read_schema(path).metadata[_NOTE])
    except (pa.ArrowInvalid, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a pack built by Accord; delete it and get the pack again") from error
    return note


def read_rows(path: Path, schema: Mapping[str, Kind]) -> datasets.Dataset:
    """Read a Parquet file back, media columns undecoded (``{"bytes", "path"}``).

    Raises:
        DataError: the file was not written by Accord, or lacks a column of ``schema``.
    """
    import pyarrow.parquet as pq
    from datasets import Audio, Dataset, DatasetInfo, Features, Image, Sequence, Value, Video

    read_note(path)
    table = pq.read_table(path)
    missing = [name for name in schema if name not in table.column_names]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; build the pack again")
    kinds = {
        "image": Image(decode=False),
        "video": Video(decode=False),
        "audio": Audio(decode=False),
        "sequence": {"bytes": Value("binary"), "path": Value("string")},
        "text": Value("string"),
        "texts": Sequence(Value("string")),
        "number": Value("float64"),
        "spans": Sequence(Sequence(Value("float64"))),
    }
    features = Features({name: kinds[kind] for name, kind in schema.items()})
    # the table has these types already, so nothing is cast or copied
    return Dataset(table.select(list(schema)).cast(features.arrow_schema), info=DatasetInfo(features=features))


def _arrow_schema(schema: Mapping[str, Kind]) -> pa.Schema:
    import pyarrow as pa

    media = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kinds = {
        **dict.fromkeys(("image", "video", "audio", "sequence"), media),
        "text": pa.string(),
        "texts": pa.list_(pa.string()),
        "number": pa.float64(),
        "spans": pa.list_(pa.list_(pa.float64())),
    }
    return pa.schema([(name, kinds[kind]) for name, kind in schema.items()])
