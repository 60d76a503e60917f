"""The archive packs: stanzas become rows, and rows a graph that ships."""

from __future__ import annotations

import numpy as np
import pytest

from accord.data import open_corpus
from accord.data.packs import archive, archive_tagged
from accord.errors import DataError

STANZAS = """Package: zoo
Source: zoo-src (1.2)
Maintainer: Zoe Keeper <zoe@example.org>
Depends: libc6 (>= 2.4), animals | plants, python3:any
Pre-Depends: dpkg
Description: Animals to look at
Tag: game::strategy, use::gameplaying,
 role::program
Section: games

Package: aviary
Maintainer: Zoe Keeper <zoe@example.org>
Depends: libc6
Description: Birds
Section: games
Tag: role::program

Package: zoo
Maintainer: Somebody Else <else@example.org>
Section: games

Package: old
Section: oldlibs

Package: adrift
Maintainer: Nobody <no@example.org>
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / archive.FILE).write_text(STANZAS)
    return tmp_path


def test_stanzas_become_rows_in_alphabetical_order(folder):
    rejected = []
    rows = list(archive.read(folder, lambda name, reason: rejected.append((name, reason))))
    assert [row["name"] for row in rows] == ["aviary", "zoo"]
    assert rejected == [("adrift", "no section")]
    assert rows[1] == {
        "name": "zoo",
        "description": "Animals to look at",
        "section": "games",
        "source": "zoo-src",
        "maintainer": "Zoe Keeper",
        "depends": ["animals", "dpkg", "libc6", "python3"],
        "tags": ["game::strategy", "role::program", "use::gameplaying"],
    }


def test_the_tagged_part_keeps_what_at_least_two_packages_share(folder):
    rows = list(archive_tagged.read(folder, lambda name, reason: None))
    assert [(row["depends"], row["tags"]) for row in rows] == [(["libc6"], ["role::program"])] * 2


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(DataError, match=r"apt-cache dumpavail > dumpavail\.txt"):
        list(archive.read(tmp_path, lambda name, reason: None))


def test_the_part_that_ships_opens_as_a_graph():
    corpus = open_corpus("pack:archive_tagged", quiet=True)
    assert len(corpus) == archive_tagged.PACK.expected_rows
    assert set(corpus.classes) == archive_tagged.SECTIONS
    assert {"row", "maintainer", "depends", "tags"} == set(corpus.graph.node_types)
    assert corpus.graph["row", "depends", "depends"].edge_index.shape[1] > 30_000
    assert len(np.unique(corpus.groups())) == 4165
