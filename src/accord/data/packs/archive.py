"""The Debian archive as a graph: packages with their maintainers, dependencies and tags, labelled by section.

Ships with Accord; ``tools/packs/archive.py`` builds the file from what ``apt-cache dumpavail`` prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from accord.data.packs.base import Kind, Pack, Reject, Row
from accord.errors import DataError

FILE = "dumpavail.txt"
LEFT_OUT = frozenset({"oldlibs", "debug"})
_ADDRESS = re.compile(r"\s*<[^>]*>")
_ALTERNATIVE = re.compile(r"[a-z0-9][a-z0-9+.-]*")


def read(folder: Path, reject: Reject) -> Iterator[Row]:
    """Rows of a folder that holds ``dumpavail.txt``, in alphabetical order; old and debugging packages are left out.

    Raises:
        DataError: the file is missing.
    """
    path = folder / FILE
    if not path.is_file():
        raise DataError(f"{path} is missing: apt-cache dumpavail > {FILE}")
    found: dict[str, Row] = {}
    for stanza in path.read_text(encoding="utf-8", errors="replace").split("\n\n"):
        fields = _fields(stanza)
        name, section = fields.get("Package"), fields.get("Section", "")
        if not name or section in LEFT_OUT or name in found:
            continue
        if not section:
            reject(name, "no section")
            continue
        found[name] = {
            "name": name,
            "description": fields.get("Description", ""),
            "section": section,
            "source": fields.get("Source", name).split(" ")[0],
            "maintainer": _ADDRESS.sub("", fields.get("Maintainer", "")).strip(),
            "depends": sorted(set(_depends(f"{fields.get('Pre-Depends', '')}, {fields.get('Depends', '')}"))),
            "tags": sorted({tag.strip() for tag in fields.get("Tag", "").split(",")} - {""}),
        }
    yield from (found[name] for name in sorted(found))


def _fields(stanza: str) -> dict[str, str]:
    """``Key: value`` lines; a line that begins with a space goes on."""
    fields: dict[str, str] = {}
    key = ""
    for line in stanza.splitlines():
        if line.startswith(" "):
            fields[key] = f"{fields.get(key, '')} {line.strip()}"
            continue
        key, _, value = line.partition(":")
        fields[key] = value.strip()
    return fields


def _depends(value: str) -> Iterator[str]:
    """Names of what a package depends on, the first of each set of alternatives.

    >>> list(_depends("libc6 (>= 2.39), default-mta | mail-transport-agent, python3:any"))
    ['libc6', 'default-mta', 'python3']
    """
    for entry in value.split(","):
        match = _ALTERNATIVE.match(entry.strip())
        if match:
            yield match.group()


_SCHEMA: dict[str, Kind] = {
    "name": "text",
    "description": "text",
    "section": "text",
    "source": "text",
    "maintainer": "text",
    "depends": "texts",
    "tags": "texts",
}
ABOUT = (
    "One row per package: its one-line description, section (the label), source package, maintainer, what it depends "
    "on and its debtags. As a graph the packages are linked to maintainers, dependencies and tags; split by source, so "
    "that two packages built from one source never stand on both sides. Some tags nearly name the section: to be "
    "strict leave them out with --graph maintainer --graph depends."
)
_CREDIT = "Debian, the maintainers of the packages and the authors of the debtags: facts and short descriptions."
_COLUMNS = {
    "graph": ("maintainer", "depends", "tags"),
    "text": ("description",),
    "label": "section",
    "group": "source",
    "image": None,
}

PACK = Pack(
    name="archive",
    summary="68,679 packages of Debian 13 as a graph: maintainers, dependencies, tags; 56 sections",
    about=f"{ABOUT} All packages of main for amd64 without old and debugging ones; 25,146 of them have tags.",
    licence="facts; descriptions as the packages",
    credit=_CREDIT,
    origin="https://www.debian.org",
    sources=(),
    read=read,
    schema=_SCHEMA,
    columns=_COLUMNS,
    expected_rows=68679,
    options="--method meow",
    embedded=Path(__file__).parent / "files" / "archive.parquet",
)
