"""Tar shards in the WebDataset layout: which files there are, and their rows, whose media are read where they lie.

Files of one row share a name up to the first dot of the last path component: ``000/17.png``, ``000/17.txt``,
``000/17.cls``.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from itertools import product
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from accord.data.modalities import suffixes
from accord.data.reading.folders import metadata_of
from accord.data.reading.media import UNDECODABLE
from accord.errors import DataError

LOOK_AT = 50  # rows from which the columns are guessed
SHARD = "__shard__"  # the column that names the shard of each row
_log = logging.getLogger("accord.data")
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd")  # gzip, bzip2, xz, zstandard
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


def read_shards(shards: Sequence[str], root: str = "") -> Iterator[dict[str, Any]]:
    """The rows of tar files, one after the other: ``{field: value}``, and where the row was found.

    Texts and the fields of ``.json`` are values. Media stay where they are: only the headers are read, and a cell says
    in which shard its bytes begin, and how many they are, see :func:`accord.data.reading.media.read_bytes`. Every row
    has the same fields, so that rows with a part missing fit into one table. A shard that ends early loses the rows
    after that point, with a warning; bytes that are not UTF-8 spoil only their own cell.

    Args:
        shards: their paths.
        root: the folder that cells name shards from; empty for the working folder.

    Raises:
        DataError: there are no rows, or a shard is compressed.
    """
    names = _fields(shards)
    for shard in shards:
        place = os.path.relpath(shard, root) if root else shard
        for number, (key, parts) in enumerate(_members(shard)):
            row: dict[str, Any] = {}
            for part in parts:
                row |= _cells(part, place)
            found = {"__key__": key, SHARD: place, "__row__": number}
            yield {name: row.get(name) for name in names} | found


def _fields(shards: Sequence[str]) -> list[str]:
    """Field names that occur among the first rows of the first shard that has any."""
    for shard in shards:
        found: dict[str, None] = {}
        for _, parts in itertools.islice(_members(shard), LOOK_AT):
            for part in parts:
                found |= dict.fromkeys(_cells(part, ""))
        if found:
            return list(found)
    raise DataError(f"no rows in {len(shards)} shards (the first: {shards[0]}): expected names like 17.png, 17.txt")


@dataclass(frozen=True)
class _Part:
    """A file of a row: its name in the shard, its suffix, where its bytes are, and themselves where they are text."""

    name: str
    suffix: str
    start: int
    size: int
    content: bytes | None


def _members(shard: str) -> Iterator[tuple[str, list[_Part]]]:
    """Key and parts of each row, in order."""
    key = ""
    parts: list[_Part] = []
    try:
        with (
            open(shard, "rb") as file,
            tarfile.open(fileobj=file, mode="r:") as archive,
            mmap(file.fileno(), 0, access=ACCESS_READ) as held,
        ):
            for path, start, size in _files(archive, held):
                folder, slash, name = path.rpartition("/")
                stem, _, suffix = name.partition(".")
                if not stem or not suffix:
                    continue
                if start + size > len(held):
                    raise EOFError("unexpected end of data")
                if folder + slash + stem != key:
                    if parts:
                        yield key, parts
                    key, parts = folder + slash + stem, []
                parts.append(_part(held, path, suffix.lower(), start, size))
    except (tarfile.TarError, OSError, EOFError) as error:
        _refuse_compressed(shard)
        _log.warning("shard %s ends early (%s): the rows after %s are lost", shard, error, key or "its start")
    if parts:
        yield key, parts


def _files(archive: tarfile.TarFile, held: mmap) -> Iterator[tuple[str, int, int]]:
    """Name of each file, where its bytes begin, and how many there are.

    Headers of plain files are read here, at a tenth of what tarfile takes for them; it reads all others.
    """
    offset, block = 0, tarfile.BLOCKSIZE
    member = archive.next()  # it has read the first one already
    while True:
        plain = _plain(held[offset : offset + block])
        if plain is not None:
            name, size = plain
            yield name, offset + block, size
            offset += block + -(-size // block) * block
            continue
        if offset:
            archive.offset, archive.members = offset, []  # type: ignore[attr-defined]  # it keeps all that it has read
            member = archive.next()
        if member is None:
            break
        if member.isreg():
            yield member.name, member.offset_data, member.size
        offset = archive.offset
    if 0 < len(held) - offset < block:  # where tarfile stops without a word
        raise EOFError("unexpected end of data")


def _plain(header: bytes) -> tuple[str, int] | None:
    """Name and size in the header of a file; None where it is another one, or says more than that."""
    size, checksum = header[124:136].rstrip(b"\0 "), header[148:156].strip(b"\0 ")
    if header[156:157] != tarfile.REGTYPE or header[345:346] != b"\0" or not (size.isdigit() and checksum.isdigit()):
        return None
    if int(checksum, 8) != 256 + sum(header[:148]) + sum(header[156:]):  # eight blanks stand for the sum itself
        return None
    return header[:100].partition(b"\0")[0].decode("utf-8", "surrogateescape"), int(size, 8)


def _part(held: mmap, name: str, suffix: str, start: int, size: int) -> _Part:
    is_text = suffix.rpartition(".")[2] in _TEXT
    return _Part(name, suffix, start, size, held[start : start + size] if is_text else None)


def _refuse_compressed(shard: str) -> None:
    with open(shard, "rb") as file:
        start = file.read(6)
    if start.startswith(_COMPRESSED):
        raise DataError(f"{shard} is compressed, so that its rows cannot be read where they lie: decompress it once")


def _cells(part: _Part, shard: str) -> dict[str, Any]:
    kind = part.suffix.rpartition(".")[2]
    if f".{kind}" in suffixes():
        place = {"within": shard, "start": part.start, "size": part.size}
        return {part.suffix: {"path": part.name, **place}}
    if part.content is None:
        return {}
    text = _decoded(part.content)
    if kind != "json":
        return {part.suffix: text.strip()}
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(values, dict):
        return {}
    return {name: value for name, value in values.items() if isinstance(value, str | int | float | list)}


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("utf-8", "surrogateescape")
        return "".join(UNDECODABLE if "\udc80" <= letter <= "\udcff" else letter for letter in text)
