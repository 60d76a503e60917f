"""Tar shards in the WebDataset layout: which files there are, and their rows one after the other.

Files of one row share a name up to the first dot of the last path component: ``000/17.png``, ``000/17.txt``,
``000/17.cls``.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
import tarfile
from collections.abc import Iterator, Sequence
from glob import glob
from itertools import product
from pathlib import Path
from typing import Any

from accord.data.modalities import suffixes
from accord.data.reading.folders import metadata_of
from accord.data.reading.media import UNDECODABLE
from accord.errors import DataError

LOOK_AT = 50  # rows from which the columns are guessed
_log = logging.getLogger("accord.data")
_TEXT = ("txt", "text", "caption", "json", "cls", "label")


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
        return listed if listed and not metadata_of(found[0]) else []
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


def read_shards(shards: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of tar files, one after the other, as ``{suffix: content}`` and where it was found.

    Media are ``{"bytes", "path"}``, texts and the fields of ``.json`` are values. Every row has the same keys,
    so that rows with a part missing fit into one table. A shard that ends early loses the rows after that point,
    with a warning; bytes that are not UTF-8 spoil only their own cell.
    """
    names = _fields(shards)
    for shard in shards:
        for number, (key, parts) in enumerate(_members(shard)):
            row: dict[str, Any] = {}
            for suffix, content in parts.items():
                row |= _cells(suffix, content, f"{key}.{suffix}")
            place = {"__key__": key, "__shard__": shard, "__row__": number}
            yield {name: row.get(name) for name in names} | place


def _fields(shards: Sequence[str]) -> list[str]:
    """Field names that occur among the first rows of the first shard that has any."""
    for shard in shards:
        found: dict[str, None] = {}
        for _, parts in itertools.islice(_members(shard), LOOK_AT):
            for suffix, content in parts.items():
                found |= dict.fromkeys(_cells(suffix, content, ""))
        if found:
            return list(found)
    raise DataError(f"no rows in {len(shards)} shards (the first: {shards[0]}): expected names like 17.png, 17.txt")


def _members(shard: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and parts of each row, in order. Read as a stream: nothing is sought, nothing is unpacked to disk."""
    key = ""
    parts: dict[str, bytes] = {}
    try:
        with tarfile.open(shard, mode="r|*") as archive:
            for member in archive:
                folder, slash, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is None or not stem or not suffix:
                    continue
                if folder + slash + stem != key:
                    if parts:
                        yield key, parts
                    key, parts = folder + slash + stem, {}
                parts[suffix.lower()] = stream.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        _log.warning("shard %s ends early (%s): the rows after %s are lost", shard, error, key or "its start")
    if parts:
        yield key, parts


def _cells(suffix: str, content: bytes, path: str) -> dict[str, Any]:
    kind = suffix.rpartition(".")[2]
    if f".{kind}" in suffixes():
        return {suffix: {"bytes": content, "path": path}}
    if kind not in _TEXT:
        return {}
    text = content.decode("utf-8", "surrogateescape")
    text = "".join(UNDECODABLE if "\udc80" <= letter <= "\udcff" else letter for letter in text)
    if kind != "json":
        return {suffix: text.strip()}
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(values, dict):
        return {}
    return {name: value for name, value in values.items() if isinstance(value, str | int | float | list)}
