"""Small real data sets that install with Accord or come through an ordinary package client.

A pack is one file of this folder that defines ``PACK``, and is called as the file is; another package adds to them by
the entry point ``accord.packs``. ``pack:NAME`` names it wherever Accord takes data.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.data.packs.base import Pack, Row
from accord.data.packs.fetch import Say, by_hand, fetch_folder
from accord.data.packs.store import parquet_path, read_note, read_rows, write_rows
from accord.errors import DataError, no_such
from accord.plugins import broken, find_plugin, plugin_names

if TYPE_CHECKING:
    import datasets

__all__ = ["Built", "Pack", "available_packs", "build_pack", "fetch_pack", "get_pack", "load_pack", "pack_info"]

_DECLARES = re.compile(r"^PACK\b", re.MULTILINE)
MAX_BROKEN = 0.2
"""Share of a pack's files that may be unusable before a build stops."""


@dataclass(frozen=True)
class Built:
    """What building a pack gave.

    Args:
        pack: the pack.
        path: the Parquet file.
        rows: how many rows it has.
        rejected: (file, reason) of each file that could not be used.
    """

    pack: Pack
    path: Path
    rows: int
    rejected: tuple[tuple[str, str], ...] = ()


def available_packs() -> tuple[str, ...]:
    """Names of all packs, in alphabetical order, those of other installed packages included; imports none of them.

    >>> available_packs()
    ('apps', 'archive', 'archive_tagged', 'clipart', 'emoji', 'fingerspelled', ..., 'umls')
    """
    return tuple(sorted({*_own(), *plugin_names("packs")}))


def get_pack(name: str) -> Pack:
    """The pack called ``name``, with or without ``pack:`` before it.

    Raises:
        DataError: there is none; names those there are.
        ConfigError: it is another package's and cannot be used.

    Example:
        >>> get_pack("pack:emoji").expected_rows
        3812
        >>> get_pack("emojis")
        Traceback (most recent call last):
        accord.errors.DataError: no pack 'emojis'; did you mean emoji? There are: apps, archive, ...
    """
    plain = name.removeprefix("pack:")
    if plain in _own():
        pack: Pack = import_module(f"{__name__}.{plain}").PACK
        return pack
    found = find_plugin("packs", plain)
    if found is None:
        raise DataError(no_such("pack", plain, available_packs()))
    if not isinstance(found, Pack) or found.name != plain:
        raise broken("packs", plain, f"expected a Pack called {plain!r}, got {found!r}")
    return found


@cache
def _own() -> frozenset[str]:
    """Names of the files here that define a pack."""
    sources = [entry for entry in resources.files(__name__).iterdir() if entry.name.endswith(".py")]
    return frozenset(
        entry.name.removesuffix(".py") for entry in sources if _DECLARES.search(entry.read_text(encoding="utf-8"))
    )


def fetch_pack(name: str, *, force: bool = False, say: Say = lambda line: None) -> Built:
    """Get a pack through the machine's own package client, check it, and build it.

    Args:
        name: the pack.
        force: fetch again even if it is there.
        say: told what happens, a line at a time (``rich.print`` for a terminal).

    Returns:
        The built pack; at once if it is there already or ships with Accord.

    Raises:
        DataError: the client is missing or fails, or a file is not the one the pack names.
    """
    pack = get_pack(name)
    path = parquet_path(pack)
    if path.is_file() and (pack.embedded or not force):
        say(f"{pack.name} is here already: {path}")
        return Built(pack, path, read_note(path).get("rows", pack.expected_rows))
    with tempfile.TemporaryDirectory(prefix="accord-pack-") as folder:
        fetched = fetch_folder(pack, Path(folder), say)
        return _build(pack, Path(folder), {"checked": True, "files": fetched}, say)


def build_pack(name: str, folder: str | Path, *, say: Say = lambda line: None) -> Built:
    """Build a pack from a folder that already holds its unpacked files.

    Raises:
        DataError: the folder does not hold them, more than a fifth of the files are broken, or the pack ships with
            Accord already.
    """
    pack = get_pack(name)
    if pack.embedded:
        raise DataError(f"pack {pack.name} ships with Accord and needs no building: use pack:{pack.name}")
    return _build(pack, Path(folder), {"checked": False, "files": {}}, say)


def load_pack(name: str) -> tuple[datasets.Dataset, dict[str, Any]]:
    """Rows of a pack and which column is what.

    Returns:
        The rows, pictures, clips and sounds undecoded (``{"bytes", "path"}``), and the default mapping with the keys
        ``image``, ``text`` (a tuple), ``label`` and ``group`` (the concept to split by); None keeps a modality out.

    Raises:
        DataError: the pack has not been fetched; says how to.

    Example:
        >>> rows, columns = load_pack("emoji")
        >>> rows[0]["name"], rows[0]["image"]["bytes"][1:4], columns["group"]
        ('grinning face', b'PNG', 'concept')
    """
    pack = get_pack(name)
    path = parquet_path(pack)
    if not path.is_file():
        size = f"{pack.download_size / 1e6:.0f} MB"
        raise DataError(f"pack {pack.name} is not on this machine yet: accord data get {pack.name} ({size})")
    return read_rows(path, pack.schema), dict(pack.columns)


def pack_info(name: str) -> dict[str, Any]:
    """What is known about a pack, in plain values for printing.

    Example:
        >>> info = pack_info("emoji")
        >>> info["present"], info["rows"], info["embedded"]
        (True, 3812, True)
    """
    pack = get_pack(name)
    path = parquet_path(pack)
    note = read_note(path) if path.is_file() else {}
    return {
        "name": pack.name,
        "summary": pack.summary,
        "about": pack.about,
        "licence": pack.licence,
        "credit": pack.credit,
        "origin": pack.origin,
        "sources": [str(source) for source in pack.sources],
        "download_size": pack.download_size,
        "embedded": pack.embedded is not None,
        "columns": dict(pack.columns),
        "schema": dict(pack.schema),
        "options": pack.options,
        "expected_rows": pack.expected_rows,
        "present": path.is_file(),
        "path": str(path),
        "rows": note.get("rows"),
        "size": path.stat().st_size if path.is_file() else None,
        "checked": note.get("checked"),
        "files": note.get("files", {}),
    }


def _build(pack: Pack, folder: Path, note: Mapping[str, Any], say: Say) -> Built:
    rejected: list[tuple[str, str]] = []
    say(f"reading {folder}")
    rows: list[Row] = []
    for row in pack.read(folder, lambda name, reason: rejected.append((name, reason))):
        rows.append(row)
        if len(rows) % 500 == 0:
            say(f"{len(rows):,} of about {pack.expected_rows:,} rows")
    if len(rejected) > MAX_BROKEN * (len(rows) + len(rejected)):
        name, reason = rejected[0]
        raise DataError(
            f"pack {pack.name}: {len(rejected)} of {len(rows) + len(rejected)} files cannot be used, the first is "
            f"{name} ({reason}); {by_hand(pack)}"
        )
    path = parquet_path(pack)
    write_rows(rows, pack.schema, path, {**note, "rows": len(rows), "rejected": len(rejected)})
    say(f"{path}: {len(rows)} rows, {len(rejected)} files left out")
    return Built(pack, path, len(rows), tuple(rejected))
