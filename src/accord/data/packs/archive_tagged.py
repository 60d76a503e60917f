"""A part of the archive pack that trains in minutes: packages with tags from twelve sections.

Ships with Accord; ``tools/packs/archive.py`` builds the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from accord.data.packs import archive
from accord.data.packs.base import Reject, Row

SECTIONS = frozenset(
    ("net", "games", "x11", "admin", "sound", "text", "science", "graphics", "mail", "math", "editors", "database")
)
LINKS = ("depends", "tags")


def read(folder: Path, reject: Reject) -> Iterator[Row]:
    """Packages of the twelve sections that have tags, with the dependencies and tags that at least two of them have.

    Raises:
        DataError: the file of packages is missing.
    """
    rows = [row for row in archive.read(folder, reject) if row["section"] in SECTIONS and row["tags"]]
    shared = {column: Counter(name for row in rows for name in row[column]) for column in LINKS}
    for row in rows:
        yield row | {column: [name for name in row[column] if shared[column][name] > 1] for column in LINKS}


PACK = replace(
    archive.PACK,
    name="archive_tagged",
    summary="5,706 packages of Debian 13 with tags as a graph: maintainers, dependencies, tags; 12 sections",
    about=f"{archive.ABOUT} The packages of twelve sections that have tags, linked to what at least two of them share.",
    read=read,
    expected_rows=5706,
    embedded=Path(__file__).parent / "files" / "archive_tagged.parquet",
)
