"""Sources: whatever the user points at becomes one Hugging Face ``datasets.Dataset`` of cells, not yet decoded."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from glob import glob
from itertools import product
from pathlib import Path
from typing import Any

import datasets
import platformdirs
import pyarrow as pa
from rich.console import Console

from accord.data.cache import indispensable
from accord.data.columns import AUDIO_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES
from accord.data.graphs import NODES, GraphFolder, is_graph_folder, read_graph_folder
from accord.data.media import UNDECODABLE
from accord.errors import AccordError, DataError
from accord.files import write_atomically

TABLES = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
# Spellings of "no value"; NA and None stay texts, they are names of things too.
_MISSING = ["", "nan", "NaN", "NAN", "null", "NULL"]


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
    """

    name: str
    rows: datasets.Dataset
    root: Path | None = None
    columns: Mapping[str, str | Sequence[str] | None] = field(default_factory=dict)
    where: str = ""
    graph: GraphFolder | None = None


def cache_folder(*parts: str) -> Path:
    """A folder below Accord's place in the platform's cache directory."""
    return platformdirs.user_cache_path("accord").joinpath(*parts)


def announce(line: str) -> None:
    """Print a line for the user, beside the output proper."""
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(line)


def read_source(source: str | Path, target: str | None = None) -> Source:
    """Read a folder, table, tar shards, ``pack:NAME`` or, last, a name on the hub.

    Args:
        source: which.
        target: in a folder of nodes and edges, the node type whose nodes are the rows.

    Raises:
        DataError: there is no such source or it cannot be read; says what was tried.
    """
    text = os.fspath(source)
    if text.startswith("pack:"):
        return _read_pack(text.removeprefix("pack:"))
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
        return Source(path.name, read_table(path), path.parent, where=path.name)
    return _read_hub(text)


def read_table(path: Path) -> datasets.Dataset:
    """Read a CSV, TSV, JSON Lines or Parquet file; bytes that are not UTF-8 spoil only the cells they are in.

    Raises:
        DataError: the suffix is none of these, or the file is not what its suffix says.
    """
    kind = TABLES.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path}: expected a folder, {', '.join(sorted(TABLES))} or .tar")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (zero bytes)")
    readable = path if kind == "parquet" else _as_utf8(path)
    options: dict[str, Any] = {}
    if kind == "csv":
        options = {"keep_default_na": False, "na_values": _MISSING}
        if path.suffix.lower() == ".tsv":
            options["sep"] = "\t"
    reader = getattr(datasets.Dataset, f"from_{kind}")
    try:
        with quiet_datasets(), indispensable():
            rows = reader(str(readable), cache_dir=str(cache_folder("datasets")), **options)
    except AccordError:
        raise
    except Exception as error:  # pyarrow, pandas and datasets each raise their own
        raise DataError(f"{path} cannot be read as {kind}: {_first_line(error.__cause__ or error)}") from None
    return _repair_strings(rows) if kind == "parquet" else rows


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Without the progress bars of ``datasets``, which say nothing about our work."""
    before = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not before:
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


def _as_utf8(path: Path) -> Path:
    """``path`` itself, or a copy in the cache where a mark stands for each byte that is not UTF-8."""
    content = path.read_bytes()
    try:
        content.decode("utf-8")
        return path
    except UnicodeDecodeError:
        text = re.sub("[\udc80-\udcff]", UNDECODABLE, content.decode("utf-8", "surrogateescape"))
    name = hashlib.blake2b(content, digest_size=12).hexdigest()
    copy = cache_folder("utf8", name + path.suffix)
    with indispensable():
        write_atomically(copy, text)
    return copy


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
    return next((folder / name for name in _METADATA if (folder / name).is_file()), None)


def _read_folder(folder: Path) -> Source:
    """A folder with ``metadata.csv|jsonl|parquet`` (column ``file_name``), or with class sub-folders."""
    metadata = _metadata_of(folder)
    if metadata:
        rows = read_table(metadata)
        return Source(folder.name, rows, folder, where=metadata.name)
    # Listed here rather than by imagefolder, which stops at the first file it cannot take.
    suffixes = {"image": IMAGE_SUFFIXES, "video": VIDEO_SUFFIXES, "audio": AUDIO_SUFFIXES}
    found: dict[str, list[str]] = {modality: [] for modality in suffixes}
    for base, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            for modality, family in suffixes.items():
                if Path(name).suffix.lower() in family and not name.startswith("."):
                    found[modality].append(os.path.relpath(os.path.join(base, name), folder))
    modality = max(found, key=lambda name: len(found[name]))
    files = found[modality]
    if not files:
        raise DataError(f"{folder} holds no {', '.join(_METADATA)}, no tar shards and no pictures, clips or recordings")
    table: dict[str, Any] = {modality: files}
    if all(os.path.dirname(file) for file in files):
        table["label"] = [os.path.basename(os.path.dirname(file)) for file in files]
    columns = {modality: modality, "label": "label" if "label" in table else None}
    return Source(folder.name, datasets.Dataset.from_dict(table), folder, columns, where=folder.name)


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
        with quiet_datasets(), indispensable():
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
    missing = f"{name!r} is not a file, folder, shard pattern or pack:NAME"
    if not _HUB_NAME.fullmatch(name) or Path(name).suffix.lower() in TABLES:
        raise DataError(f"{missing}: check the path")
    try:
        with quiet_datasets():
            rows = datasets.load_dataset(name, split="train")
    except AccordError:
        raise
    except Exception as error:
        reason = _first_line(error)
        raise DataError(f"{missing}, and the hub does not give a data set of that name: {reason}") from None
    return Source(name, rows, where=name)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
