"""Sources: whatever the user points at becomes one Hugging Face ``datasets.Dataset`` of cells, not yet decoded."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import datasets
from rich.console import Console

from accord.data.cache import cache_folder, indispensable
from accord.data.reading.folders import metadata_of, read_media_folder
from accord.data.reading.graphs import NODES, GraphFolder, is_graph_folder, read_graph_folder
from accord.data.reading.shards import find_shards, read_shards
from accord.data.reading.tables import first_line, quiet_datasets, read_table
from accord.errors import AccordError, DataError, did_you_mean
from accord.processes import is_first_process

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
        stamp: place, size and time of the files that hold the rows; empty where they are not known.
    """

    name: str
    rows: datasets.Dataset
    root: Path | None = None
    columns: Mapping[str, str | Sequence[str] | None] = field(default_factory=dict)
    where: str = ""
    graph: GraphFolder | None = None
    bad: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    stamp: str = ""


def absolute_source(source: str | Path) -> str:
    """A path that means the same in another working folder; names of packs and of the hub stay.

    Example:
        >>> absolute_source("pack:emoji")
        'pack:emoji'
    """
    text = os.fspath(source)
    path = Path(text).expanduser()
    return str(path.absolute()) if path.exists() or find_shards(text) else text


def announce(line: str) -> None:
    """Print a line for the user, beside the output proper; of several processes of a run only the first speaks."""
    if is_first_process():
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(line)


def read_source(source: str | Path, target: str | None = None, *, without: Collection[str] = ()) -> Source:
    """Read a folder, table, tar shards, ``pack:NAME`` or ``hf:NAME``, a data set of the Hugging Face hub.

    Args:
        source: which.
        target: in a folder of nodes and edges, the node type whose nodes are the rows.
        without: columns of a Parquet file that need not be read.

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
        return _of_table(path.name, path, path.parent, without)
    raise DataError(_missing(text, path))


def _read_folder(folder: Path) -> Source:
    """A folder with ``metadata.csv|jsonl|parquet`` (column ``file_name``), or of media alone."""
    metadata = metadata_of(folder)
    if metadata:
        return _of_table(folder.name, metadata, folder)
    found = read_media_folder(folder)
    return Source(folder.name, found.rows, folder, found.columns, where=folder.name, notes=found.notes)


def _of_table(name: str, file: Path, root: Path, without: Collection[str] = ()) -> Source:
    """The rows of a table, whose paths are relative to ``root``."""
    table, stamp = read_table(file, without), _stamp([file])
    return Source(name, table.rows, root, where=file.name, bad=table.bad, notes=table.notes, stamp=stamp)


def _read_pack(name: str) -> Source:
    from accord.data.packs import get_pack, load_pack, parquet_path

    rows, columns = load_pack(name)
    return Source(
        f"pack:{name}", rows, columns=columns, where=f"pack:{name}", stamp=_stamp([parquet_path(get_pack(name))])
    )


def _read_shards(source: str, shards: Sequence[Path]) -> Source:
    """The rows of tar shards as a memory-mapped table in the cache, media left where they lie."""
    state = _stamp(shards)
    root = Path(os.path.commonpath([path.absolute().parent for path in shards]))
    try:
        with quiet_datasets(), indispensable():
            rows = datasets.Dataset.from_generator(
                read_shards,
                gen_kwargs={"shards": [str(path) for path in shards], "root": str(root)},
                cache_dir=str(cache_folder("shards", state)),
            )
    except AccordError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, AccordError):
            raise cause from None
        raise DataError(f"{source}: the shards cannot be read into one table: {first_line(cause)}") from None
    return Source(Path(source).name, rows, root, where=source, stamp=state)


def _stamp(files: Sequence[Path]) -> str:
    """Hash of place, size and time of files."""
    seen = [(str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.blake2b(repr(seen).encode(), digest_size=8).hexdigest()


def _read_hub(name: str) -> Source:
    try:
        with quiet_datasets():
            rows = datasets.load_dataset(name, split="train")
    except AccordError:
        raise
    except Exception as error:
        raise DataError(f"the hub does not give a data set {name!r}: {first_line(error)}") from None
    return Source(name, rows, where=f"{HUB}{name}")


def _missing(source: str, path: Path) -> str:
    """Nothing is asked of the hub here: a misspelt path is nobody else's business."""
    nearest = next((parent for parent in path.parents if parent.is_dir()), Path())
    lost = path.relative_to(nearest).parts[0] if path.parts else source
    hint = did_you_mean(lost, [item.name for item in nearest.iterdir()])
    on_hub = f"; a data set of the Hugging Face hub is written {HUB}{source}" if _HUB_NAME.fullmatch(source) else ""
    return f"there is no {source!r}: expected a file, folder, shard pattern, pack:NAME or {HUB}NAME{hint}{on_hub}"


__all__ = [
    "HUB",
    "Source",
    "announce",
    "cache_folder",
    "find_shards",
    "quiet_datasets",
    "read_source",
    "read_table",
]
