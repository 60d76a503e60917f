"""Tables: Parquet, CSV as people and spreadsheets write it, and JSON Lines: a bad line costs only its own row."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from datasets.fingerprint import generate_random_fingerprint

from accord.data.cache import cache_folder, indispensable
from accord.data.columns import is_usual
from accord.data.modalities import modality_of_file
from accord.data.reading.media import UNDECODABLE
from accord.data.reading.textfiles import read_text
from accord.errors import AccordError, DataError
from accord.files import storage_of

# Spellings of "no value"; NA and None stay texts, they are names of things too.
MISSING = ["", "nan", "NaN", "NAN", "null", "NULL"]
_SEPARATORS = ",;\t|"
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+$")
_LOOK_AT = 50  # lines from which the separator is told, and rows from which a header is
TABLES = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}


@dataclass(frozen=True)
class Table:
    """A file, read.

    Args:
        rows: its rows, those of bad lines without any value.
        bad: position -> ``"kind: detail"`` with the line, for lines that are no rows.
        notes: sentences on what was made of the file where it could have been meant otherwise.
    """

    rows: datasets.Dataset
    bad: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_table(path: Path, without: Collection[str] = ()) -> Table:
    """Read a CSV, TSV, JSON Lines, JSON or Parquet file, see :func:`read_text_table`.

    Args:
        path: the file.
        without: columns of a Parquet file that need not be read.

    Raises:
        DataError: the suffix is none of these, or the file is not what its suffix says.
    """
    kind = TABLES.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path}: expected a folder, {', '.join(sorted(TABLES))} or .tar")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (zero bytes)")
    with storage_of(path, "read"):
        return Table(_read_parquet(path, without)) if kind == "parquet" else read_text_table(path, kind)


def rows_of(table: pa.Table) -> datasets.Dataset:
    """A table in memory as rows, under a random name: for one of its content ``datasets`` would pickle all of it."""
    return datasets.Dataset(table, fingerprint=generate_random_fingerprint())


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Without the progress bars and log lines of ``datasets`` and the hub's client: what matters is said by us."""
    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    bars, levels = datasets.are_progress_bars_disabled(), [logger.level for logger in loggers]
    datasets.disable_progress_bars()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def read_text_table(path: Path, kind: str) -> Table:
    """Read a file of text.

    Separator, encoding and a missing header of a CSV file are recognised; bytes that are not UTF-8 spoil only the
    cells that they are in.

    Args:
        path: the file.
        kind: ``"csv"`` or ``"json"``, which is one object a line, or a list of them.

    Raises:
        DataError: there are no rows in it, or it is not what its name says; names file and line.
    """
    text, note = read_text(path.read_bytes(), str(path))
    if not text.strip():
        raise DataError(f"{path} is empty: there are only blank lines in it")
    table = _read_json(path, text) if kind == "json" else _read_csv(path, text)
    return Table(table.rows, table.bad, (*([note] if note else []), *table.notes))


# ---- CSV ------------------------------------------------------------------------------------------------------------


def _read_parquet(path: Path, without: Collection[str]) -> datasets.Dataset:
    try:
        with quiet_datasets(), indispensable():
            if not pq.read_metadata(path).num_rows:
                raise DataError(f"{path} holds columns ({', '.join(pq.read_schema(path).names)}) and no rows")
            kept = [name for name in pq.read_schema(path).names if name not in without] if without else None
            # without any column there would be no rows
            rows = datasets.Dataset.from_parquet(
                str(path), cache_dir=str(cache_folder("datasets")), columns=kept or None
            )
    except AccordError:
        raise
    except Exception as error:  # pyarrow and datasets each raise their own
        raise DataError(f"{path} cannot be read as parquet: {first_line(error.__cause__ or error)}") from None
    return _repair_strings(rows)


def _repair_strings(rows: datasets.Dataset) -> datasets.Dataset:
    """Parquet does not promise that its strings are UTF-8; reading a bad one would fail far away from here."""
    for name in rows.column_names:
        column = rows.data.column(name)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            continue
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            values = [_decode(value) for value in column.cast(pa.large_binary()).to_pylist()]
            feature = rows.features[name]
            rows = rows.remove_columns(name).add_column(name, values, feature=feature)
    return rows


def _decode(value: bytes | None) -> str | None:
    if value is None:
        return None
    return re.sub("[\udc80-\udcff]", UNDECODABLE, value.decode("utf-8", "surrogateescape"))


def _read_csv(path: Path, text: str) -> Table:
    head = [line[0] for line in islice(_LINE.finditer(text), _LOOK_AT)]
    told = re.fullmatch(r"sep=(.)\s*", head[0])  # how Excel is told the separator
    separator = told[1] if told else _separator_of(head, "\t" if path.suffix.lower() == ".tsv" else ",")
    skipped = 1 if told else 0
    header, notes = _header_of(path, list(_records(head[skipped:], separator, 1 + skipped)))
    whole = _well_formed(text[len(head[0]) if told else 0 :], separator, len(header))
    columns, bad = (whole, {}) if whole else _line_by_line(text, separator, len(header), skipped)
    if not notes:  # the header is no row
        columns, bad = [column[1:] for column in columns], {row - 1: reason for row, reason in bad.items()}
    if not len(columns[0]):
        raise DataError(f"{path} holds a header ({', '.join(header)}) and no rows")
    names, renamed = _different(header, str(path))
    kept = {
        name or f"column {place}": _typed(column)
        for place, (name, column) in enumerate(zip(names, columns, strict=True), 1)
        if name or column.null_count < len(column)
    }
    return Table(rows_of(pa.table(kept)), bad, (*notes, *renamed))


def _well_formed(text: str, separator: str, width: int) -> list[pa.ChunkedArray] | None:
    """The columns of a file in which every line fits, read fast; None for any other."""
    if text.count('"') % 2 or f'{separator} "' in text:
        return None
    names = _numbers(1, width)
    try:
        table = pacsv.read_csv(
            pa.BufferReader(text.encode()),
            pacsv.ReadOptions(column_names=names),
            pacsv.ParseOptions(delimiter=separator, newlines_in_values=True),
            pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except pa.ArrowInvalid:  # a line does not fit: which one, the slow way tells
        return None
    return [_without_missing(column) for column in table.columns]


def _without_missing(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cells without blanks before them, and without those that say that there is no value; the same where all are."""
    if pc.any(pc.starts_with(column, " ")).as_py():
        column = pc.utf8_ltrim(column, characters=" ")
    missing = pc.is_in(column, pa.array(MISSING))
    return pc.if_else(missing, None, column) if pc.any(missing).as_py() else column


def _line_by_line(text: str, separator: str, width: int, skipped: int) -> tuple[list[pa.ChunkedArray], dict[int, str]]:
    """The columns of any file, and what is wrong with which row."""
    lines = list(io.StringIO(text, newline=""))[skipped:]
    records = list(_records(lines, separator, 1 + skipped))
    fitted = [_fitted(values, width) for _, values in records]
    bad = {row: _misfit(records[row], width) for row, values in enumerate(fitted) if values is None}
    columns = [
        pa.chunked_array(
            [[None if values is None or values[place] in MISSING else values[place] for values in fitted]], pa.string()
        )
        for place in range(width)
    ]
    return columns, bad


def _separator_of(lines: Sequence[str], usual: str) -> str:
    """The character that divides the first line and most often as many times those below.

    >>> _separator_of(["name;text", "a.png;red, round", "b.png;blue"], ","), _separator_of(["text", "one"], ",")
    (';', ',')
    """
    best, most = usual, 0.0
    for separator in (usual, *_SEPARATORS.replace(usual, "")):
        widths = [len(values or ()) for _, values in _records(lines[:_LOOK_AT], separator)]
        fitting = widths.count(widths[0]) / len(widths) if widths else 0.0
        if widths and widths[0] > 1 and fitting > most:
            best, most = separator, fitting
    return best


def _records(lines: Sequence[str], separator: str, first: int = 1) -> Iterator[tuple[int, list[str] | None]]:
    """Number of the first line and values of each record; None in place of a line whose quotation mark stays open."""
    csv.field_size_limit(sys.maxsize)  # a cell may hold a whole text
    start = 0
    while start < len(lines):
        done = 0
        reader = csv.reader(lines[start:], delimiter=separator, skipinitialspace=True)
        for values in reader:
            begin, done = done, reader.line_num
            if start + done == len(lines) and done - begin > 1 and _is_open(lines[start + begin :]):
                yield first + start + begin, None
                done = begin + 1
                break
            if values:
                yield first + start + begin, values
        start += done or 1


def _is_open(lines: Sequence[str]) -> bool:
    return sum(line.count('"') for line in lines) % 2 == 1


def _header_of(path: Path, records: Sequence[tuple[int, list[str] | None]]) -> tuple[list[str], tuple[str, ...]]:
    """The names of the columns; where the first line holds values, numbers, and a sentence that says so."""
    line, first = records[0] if records else (1, None)
    if first is None:
        raise DataError(f"{path}, line {line}: a quotation mark is opened and never closed")
    names = [name.strip() for name in first]
    rows = [values for _, values in records[1 : _LOOK_AT + 1] if values is not None and len(values) == len(first)]
    if not _holds_values(names, rows):
        return names, ()
    numbers = _numbers(1, len(first))
    return numbers, (
        f"{path} has no header: line {line} holds values ({', '.join(names)}), so the columns are called "
        f"{', '.join(numbers)}",
    )


def _holds_values(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether what stands in the first line are values: a file's name, a number, what occurs below again and again.

    >>> _holds_values(["1.png", "a cat"], []), _holds_values(["file_name", "text"], [["1.png", "text"]])
    (True, False)
    """
    if any(modality_of_file(PurePosixPath(name)) for name in names):
        return True
    if any(map(is_usual, names)):
        return False
    if list(names) in (_numbers(0, len(names)), ["", *_numbers(0, len(names) - 1)]):  # as pandas writes them
        return False
    below = [[row[place].strip() for row in rows if list(row) != list(names)] for place in range(len(names))]
    for name, cells in zip(names, below, strict=True):
        if _is_number(name) and cells and all(map(_is_number, cells)):
            return True
        if name and cells.count(name) >= 2:
            return True
    return False


def _numbers(first: int, count: int) -> list[str]:
    return [str(number) for number in range(first, first + count)]


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        float(text)
        return True
    return False


def _fitted(values: list[str] | None, width: int) -> list[str] | None:
    """As many values as there are columns, or None; empty ones too many at the end are nothing."""
    if values is None or any(values[width:]):
        return None
    return values[:width] if len(values) >= width else None


def _misfit(record: tuple[int, list[str] | None], width: int) -> str:
    line, values = record
    if values is None:
        return f"open quotation mark: line {line} opens one that is never closed"
    return f"wrong number of values: line {line} has {len(values)} instead of {width}"


def _different(names: Sequence[str], file: str) -> tuple[list[str], tuple[str, ...]]:
    """The names, those that occur twice with a number behind, and a sentence on each such."""
    seen: Counter[str] = Counter()
    found, notes = [], []
    for name in names:
        seen[name] += bool(name)
        found.append(name if seen[name] < 2 else f"{name}.{seen[name]}")
        if seen[name] > 1:
            notes.append(f"{file} has several columns {name!r}: number {seen[name]} is called {found[-1]!r}")
    return found, tuple(notes)


def _typed(column: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Whole numbers, numbers or strings, whichever all cells are; a column without any value has no type."""
    if column.null_count == len(column):
        return pa.nulls(len(column))
    if pc.any(pc.match_substring_regex(column, r"^[-+]?0\d")).as_py():  # 007 is a name
        return column
    for kind in (pa.int64(), pa.float64()):
        with suppress(pa.ArrowInvalid):
            return column.cast(kind)
    return column


# ---- JSON -----------------------------------------------------------------------------------------------------------


def _read_json(path: Path, text: str) -> Table:
    """One object a line, or the whole file a list of objects; what is neither is a bad row."""
    whole = _whole(path, text)
    records = enumerate(whole, 1) if whole is not None else _json_lines(text)
    place = "line" if whole is None else "item"
    found: list[dict[str, Any]] = []
    bad: dict[int, str] = {}
    for row, (number, record) in enumerate(records):
        if not isinstance(record, dict):
            what = _plain(record) if isinstance(record, json.JSONDecodeError) else f"a {_kind(record)}"
            bad[row] = f"not a JSON object: {place} {number}: {what}"
        found.append(record if isinstance(record, dict) else {})
    if len(bad) == len(found):
        raise DataError(f"{path} holds no rows: {next(iter(bad.values()), 'the list is empty')}")
    names = dict.fromkeys(name for record in found for name in record)
    columns = {name: _harmonised(name, [record.get(name) for record in found], bad) for name in names}
    notes = [f"{path}: {note}" for _, note in columns.values() if note]
    return Table(rows_of(pa.table({name: cells for name, (cells, _) in columns.items()})), bad, tuple(notes))


def _whole(path: Path, text: str) -> list[Any] | None:
    """The objects of a file that is one list, alone or in an object; None where each line is an object."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("["):
            raise DataError(f"{path}, line {error.lineno}: not JSON ({_plain(error)})") from None
        return None
    if not isinstance(content, dict):
        return content if isinstance(content, list) else [content]
    lists = [value for value in content.values() if isinstance(value, list)]
    of_objects = [value for value in lists if value and isinstance(value[0], dict)]
    if len(of_objects) == len(content) == 1:
        return of_objects[0]
    if of_objects:
        keys = ", ".join(content)
        raise DataError(f"{path} is one object ({keys}): expected a list of objects, one per row, or one object a line")
    if path.suffix.lower() == ".json" and len(lists) == len(content) and len(set(map(len, lists))) == 1:
        return [dict(zip(content, values, strict=True)) for values in zip(*lists, strict=True)]  # column by column
    return [content]


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(io.StringIO(text), 1):
        if line.strip():
            try:
                yield number, json.loads(line.strip())
            except json.JSONDecodeError as error:
                yield number, error


def _plain(error: json.JSONDecodeError) -> str:
    """What the parser says, without its own count of lines."""
    return f"{error.msg[0].lower()}{error.msg[1:]} at character {error.colno}"


def _harmonised(name: str, values: list[Any], bad: dict[int, str]) -> tuple[pa.Array, str]:
    """A column of one type, and a sentence where types were mixed; a value of no fitting type makes its row bad."""
    kinds = Counter(_kind(value) for value in values if value is not None)
    if kinds["object"]:  # such as {"path": …}: nothing else can stand beside it
        for row, value in enumerate(values):
            if value is not None and not isinstance(value, dict):
                bad.setdefault(row, f"mixed types: {name} is a {_kind(value)}, elsewhere an object")
        values = [value if isinstance(value, dict) else None for value in values]
    elif kinds["list"]:
        values = [value if value is None or isinstance(value, list) else [value] for value in values]
    with suppress(pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array(values), ""
    mixed = ", ".join(f"{count:,} {kind}{'s' * (count > 1)}" for kind, count in kinds.most_common())
    return pa.array([_as_text(value) for value in values]), f"{name!r} holds {mixed}: all are read as text"


def _kind(value: Any) -> str:
    """What a JSON value is called.

    >>> [_kind(value) for value in ("a", 1, True, [], {})]
    ['text', 'number', 'truth value', 'list', 'object']
    """
    names = {str: "text", bool: "truth value", int: "number", float: "number", list: "list", dict: "object"}
    return names.get(type(value), "null")


def _as_text(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
