"""Sources: whatever the user points at becomes one Hugging Face ``datasets.Dataset`` of cells, not yet decoded."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from glob import glob
from itertools import product
from pathlib import Path

import datasets
import platformdirs
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from accord.data.folders import METADATA, read_media_folder
from accord.data.graphs import NODES, GraphFolder, is_graph_folder, read_graph_folder
from accord.data.media import UNDECODABLE
from accord.data.tables import Table, read_text_table
from accord.errors import AccordError, DataError, did_you_mean
from accord.files import storage_of

TABLES = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
HUB = "hf:"  # before the name of a data set on the Hugging Face hub, so that no name of a folder is asked for there
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Source:
    """What was found.

    Args:
        name: how to call it.
        rows: its rows; media columns hold paths or bytes.
        root: the folder that paths are relative to, or None.
        columns: the mapping that the source itself suggests.
        where: file that holds row ``i``, for messages about rows without a file of their own.
        graph: the graph of a folder of nodes and edges; its target's nodes are the rows.
        bad: position -> reason, for rows that could not be read from their file at all.
        notes: sentences on what was made of it where it could have been meant otherwise.
    """

    name: str
    rows: datasets.Dataset
    root: Path | None = None
    columns: Mapping[str, str | Sequence[str] | None] = field(default_factory=dict)
    where: str = ""
    graph: GraphFolder | None = None
    bad: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def cache_folder(*parts: str) -> Path:
    """A folder below Accord's place in the platform's cache directory."""
    return platformdirs.user_cache_path("accord").joinpath(*parts)


def announce(line: str) -> None:
    """Print a line for the user, beside the output proper."""
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(line)


def read_source(source: str | Path, target: str | None = None) -> Source:
    """Read a folder, table, tar shards, ``pack:NAME`` or ``hf:NAME``, a data set of the Hugging Face hub.

    Args:
        source: which.
        target: in a folder of nodes and edges, the node type whose nodes are the rows.

    Raises:
        DataError: there is no such source or it cannot be read; says what was tried.
    """
    text = os.fspath(source)
    if text.startswith("pack:"):
        return _read_pack(text.removeprefix("pack:"))
    if text.startswith(HUB):
        return _read_hub(text.removeprefix(HUB))
    shards = find_shards(text)
    if shards:
        return _read_shards(text, shards)
    path = Path(text).expanduser()
    if path.is_dir() and is_graph_folder(path):
        found = read_graph_folder(path, target)
        where = f"{NODES}/{found.target}"
        return Source(path.name, found.rows, path, found.columns, where=where, graph=found)
    if path.is_dir():
        return _read_folder(path)
    if path.is_file():
        table = read_table(path)
        return Source(path.name, table.rows, path.parent, where=path.name, bad=table.bad, notes=table.notes)
    raise DataError(_missing(text, path))


def read_table(path: Path) -> Table:
    """Read a CSV, TSV, JSON Lines, JSON or Parquet file; see :func:`accord.data.tables.read_text_table`.

    Raises:
        DataError: the suffix is none of these, or the file is not what its suffix says.
    """
    kind = TABLES.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path}: expected a folder, {', '.join(sorted(TABLES))} or .tar")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (zero bytes)")
    with storage_of(path, "read"):
        return Table(_read_parquet(path)) if kind == "parquet" else read_text_table(path, kind)


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


def find_shards(source: str) -> list[Path]:
    """Tar files that a path, folder, ``*`` pattern or ``{000..012}`` range names, in order.

    >>> find_shards("no/such/shard-{00..02}.tar")
    []
    """
    path = Path(source).expanduser()
    patterns = _expand_ranges(str(path))
    found = [path] if path.exists() else [Path(name) for pattern in patterns for name in sorted(glob(pattern))]
    if len(found) == 1 and found[0].is_dir():
        listed = sorted(found[0].glob("*.tar"))
        return listed if listed and not _metadata_of(found[0]) else []
    return found if found and all(path.suffix == ".tar" for path in found) else []


def _expand_ranges(pattern: str) -> list[str]:
    """WebDataset's notation: ``a-{08..10}`` is a-08, a-09, a-10."""
    parts = re.split(r"\{(\d+)\.\.(\d+)\}", pattern)
    ranges = [
        [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
        for first, last in zip(parts[1::3], parts[2::3], strict=True)
    ]
    return [
        "".join(piece for pair in zip(parts[::3], (*chosen, ""), strict=True) for piece in pair)
        for chosen in product(*ranges)
    ]


def _read_parquet(path: Path) -> datasets.Dataset:
    try:
        with quiet_datasets():
            if not pq.read_metadata(path).num_rows:
                raise DataError(f"{path} holds columns ({', '.join(pq.read_schema(path).names)}) and no rows")
            rows = datasets.Dataset.from_parquet(str(path), cache_dir=str(cache_folder("datasets")))
    except DataError:
        raise
    except Exception as error:  # pyarrow and datasets each raise their own
        raise DataError(f"{path} cannot be read as parquet: {_first_line(error.__cause__ or error)}") from None
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


def _metadata_of(folder: Path) -> Path | None:
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def _read_folder(folder: Path) -> Source:
    """A folder with ``metadata.csv|jsonl|parquet`` (column ``file_name``), or of media alone."""
    metadata = _metadata_of(folder)
    if metadata:
        table = read_table(metadata)
        return Source(folder.name, table.rows, folder, where=metadata.name, bad=table.bad, notes=table.notes)
    found = read_media_folder(folder)
    return Source(folder.name, found.rows, folder, found.columns, where=folder.name, notes=found.notes)


def _read_pack(name: str) -> Source:
    from accord.data.packs import load_pack

    rows, columns = load_pack(name)
    return Source(f"pack:{name}", rows, columns=columns, where=f"pack:{name}")


def _read_shards(source: str, shards: Sequence[Path]) -> Source:
    """All rows of tar shards, copied once into a memory-mapped table in the cache."""
    from accord.data.stream import read_shards

    stamp = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in shards]
    state = hashlib.blake2b(repr(stamp).encode(), digest_size=8).hexdigest()
    try:
        with quiet_datasets():
            rows = datasets.Dataset.from_generator(
                read_shards,
                gen_kwargs={"shards": [str(path) for path in shards]},
                cache_dir=str(cache_folder("shards", state)),
            )
    except AccordError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, AccordError):
            raise cause from None
        raise DataError(f"{source}: the shards cannot be read into one table: {_first_line(cause)}") from None
    return Source(Path(source).name, rows, where=source)


def _read_hub(name: str) -> Source:
    try:
        with quiet_datasets():
            rows = datasets.load_dataset(name, split="train")
    except AccordError:
        raise
    except Exception as error:
        raise DataError(f"the hub does not give a data set {name!r}: {_first_line(error)}") from None
    return Source(name, rows, where=f"{HUB}{name}")


def _missing(source: str, path: Path) -> str:
    """Nothing is asked of the hub here: a misspelt path is nobody else's business."""
    nearest = next((parent for parent in path.parents if parent.is_dir()), Path())
    lost = path.relative_to(nearest).parts[0] if path.parts else source
    hint = did_you_mean(lost, [item.name for item in nearest.iterdir()])
    on_hub = f"; a data set of the Hugging Face hub is written {HUB}{source}" if _HUB_NAME.fullmatch(source) else ""
    return f"there is no {source!r}: expected a file, folder, shard pattern, pack:NAME or {HUB}NAME{hint}{on_hub}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
