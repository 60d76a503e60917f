"""Copies of a table: rows of a source written to another file, changed on the way. The source is never written.

Paths in the new table are relative to its own folder, so that it can stand anywhere.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from accord.data.reading.sources import Source
from accord.errors import ConfigError
from accord.files import replacing

_BATCH = 256
Row = dict[str, Any]


def copied_rows(source: Source, names: Collection[str], files: Collection[str], out: Path) -> Iterator[Row]:
    """The cells of every row, in order.

    Args:
        source: where they come from.
        names: the columns wanted.
        files: those of them that hold paths.
        out: the file that the rows go to.
    """
    folder = out.absolute().parent
    for batch in source.rows.select_columns(list(names)).with_format("arrow").iter(batch_size=_BATCH):
        for row in batch.to_pylist():
            if source.root is not None:
                row |= {column: _from_folder(row[column], source.root, folder) for column in files}
            yield row


def check_table(out: Path) -> None:
    """Refuse a name that is of no table that can be written.

    Raises:
        ConfigError: it ends in something else than ``.parquet`` or ``.csv``.
    """
    if out.suffix.lower() not in (".parquet", ".csv"):
        raise ConfigError(f"{out}: expected a name that ends in .parquet or .csv")


def write_rows(out: Path, rows: Iterator[Row], schema: pa.Schema, mark: bytes) -> int:
    """Write rows as the suffix says; returns how many.

    Args:
        out: ``.parquet`` or ``.csv``.
        rows: column -> cell.
        schema: their columns.
        mark: what is written into a Parquet file, to know it by.

    Raises:
        ConfigError: CSV cannot hold a column.
        StorageError: it cannot be written.
    """
    return _write_csv(out, rows, schema) if out.suffix.lower() == ".csv" else _write_parquet(out, rows, schema, mark)


def _from_folder(cell: Any, root: Path, folder: Path) -> Any:
    if isinstance(cell, str) and cell:
        return os.path.relpath(root.absolute() / cell, folder)
    if isinstance(cell, list):
        return [_from_folder(one, root, folder) for one in cell]
    if isinstance(cell, dict):
        named = "within" if cell.get("within") is not None else "path" if cell.get("bytes") is None else None
        return cell if named is None else {**cell, named: _from_folder(cell[named], root, folder)}
    return cell


def _write_parquet(out: Path, rows: Iterator[Row], schema: pa.Schema, mark: bytes) -> int:
    schema, count, held = schema.with_metadata({**(schema.metadata or {}), mark: b"1"}), 0, []
    with replacing(out) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for row in rows:
            held.append(row)
            count += 1
            if len(held) == _BATCH:
                writer.write_table(pa.Table.from_pylist(held, schema=schema))
                held = []
        writer.write_table(pa.Table.from_pylist(held, schema=schema))
    return count


def _write_csv(out: Path, rows: Iterator[Row], schema: pa.Schema) -> int:
    """A CSV file, which can hold neither bytes nor lists."""
    for field in schema:
        if pa.types.is_nested(field.type) or pa.types.is_large_binary(field.type):
            raise ConfigError(
                f"column {field.name} holds lists or encoded media, which CSV cannot: write {out.stem}.parquet"
            )
    count = 0
    with replacing(out) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, schema.names)
        writer.writeheader()
        for row in rows:
            writer.writerow(row)
            count += 1
    return count
