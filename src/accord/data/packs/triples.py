"""Small knowledge graphs from PyKEEN's package: triples of subject, relation and object become one row per entity.

An entity is linked to what it says of others (``relation object``) and to what others say of it (``subject relation``),
so that two entities are alike that stand in the same relations to the same others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from accord.data.packs.base import Archive, Pack, Reject, Row
from accord.data.packs.files import root_of
from accord.errors import DataError

SOURCE = Archive(
    "pip",
    "pykeen",
    "1.11.1",
    730_295,
    "b6cc0ab012fc6ba4f37b58fb7081a409a5c1f04cbbb0e0e9c2256e911757d4ba",
)
PARTS = ("train.txt", "valid.txt", "test.txt")


def read(name: str, folder: Path, reject: Reject) -> Iterator[Row]:
    """Entities in alphabetical order, with all that the three files of triples say of them.

    Raises:
        DataError: a file is missing.
    """
    root = root_of(folder, f"pykeen/datasets/{name}")
    says, is_said = defaultdict(set), defaultdict(set)
    for part in PARTS:
        path = root / part
        if not path.is_file():
            raise DataError(f"{path} is missing: unpack {SOURCE}")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            fields = line.split("\t")
            if len(fields) != 3:
                reject(f"{part} line {number}", "not three fields between tabs")
                continue
            subject, relation, other = fields
            says[subject].add(f"{relation} {other}")
            is_said[other].add(f"{subject} {relation}")
    for entity in sorted({*says, *is_said}):
        yield {"name": entity, "says": sorted(says[entity]), "is_said": sorted(is_said[entity])}


def triples_pack(name: str, summary: str, about: str, credit: str, rows: int) -> Pack:
    """The pack of one of these graphs."""
    return Pack(
        name=name,
        summary=summary,
        about=f"{about} As a graph an entity is linked to what it says of others and to what others say of it. There "
        "are no labels: it is for trying a method on something small and known.",
        licence="MIT",
        credit=credit,
        origin="https://github.com/pykeen/pykeen",
        sources=(SOURCE,),
        read=partial(read, name),
        schema={"name": "text", "says": "texts", "is_said": "texts"},
        columns={"graph": ("says", "is_said"), "text": None, "label": None, "group": "name", "image": None},
        expected_rows=rows,
        options="--method meow",
    )
