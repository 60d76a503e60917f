"""The store: what is known is recognised, what is written is whole, and no other program's file is touched."""

from __future__ import annotations

import datetime
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from accord.errors import StorageError
from accord.papers import store as module
from accord.papers.feeds import Broken, Entry, Feed
from accord.papers.store import Imported, Store, usual_store

DAY = datetime.date(2024, 1, 18)


def feed(*entries: dict, broken: tuple[Broken, ...] = ()) -> Feed:
    return Feed("a.json", "JSON", tuple(Entry.parse({"date": DAY, **entry}) for entry in entries), broken)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "papers.sqlite") as opened:
        yield opened


def test_the_same_feed_again_changes_nothing(store) -> None:
    papers = feed({"title": "One", "arxiv": "2401.00001", "votes": 3}, {"title": "Two", "authors": ("A B",)})
    assert store.add(papers) == Imported(new=2, updated=0, unchanged=0, broken=0)
    before = store.papers()
    assert store.add(papers) == Imported(new=0, updated=0, unchanged=2, broken=0)
    assert store.papers() == before
    assert store.paper(2).authors == ("A B",)


def test_votes_and_newer_versions_come_in_and_older_ones_do_not(store) -> None:
    store.add(feed({"title": "Old title", "abstract": "old", "arxiv": "2401.00001", "version": 1, "votes": 9}))
    store.add(feed({"title": "New title", "abstract": "new", "arxiv": "2401.00001", "version": 3, "votes": 4}))
    store.add(feed({"title": "Middle title", "abstract": "middle", "arxiv": "2401.00001", "version": 2}))
    (paper,) = store.papers()
    assert (paper.title, paper.abstract, paper.version, paper.votes) == ("New title", "new", 3, 4)


@pytest.mark.parametrize(
    ("first", "second", "one"),
    [
        ({"title": "PC²: Noisy!", "arxiv": "2401.00001"}, {"title": "pc2 — noisy"}, True),
        ({"title": "A", "doi": "10.1/x"}, {"title": "B", "doi": "10.1/x"}, True),
        ({"title": "Same", "arxiv": "2401.00001"}, {"title": "Same", "arxiv": "2401.00002"}, False),
        ({"title": "Same", "doi": "10.1/x"}, {"title": "Same", "doi": "10.1/y"}, False),
        ({"title": "Same", "doi": "10.1/x"}, {"title": "Same", "arxiv": "2401.00002"}, True),
    ],
)
def test_papers_are_one_by_number_or_by_title_where_no_number_speaks_against_it(store, first, second, one) -> None:
    store.add(feed(first))
    store.add(feed(second))
    assert store.count() == (1 if one else 2)
    store.add(feed(first, second))
    assert store.count() == (1 if one else 2)


def test_two_papers_that_turn_out_to_be_one_become_one(store) -> None:
    store.add(
        feed({"title": "In a journal", "doi": "10.1/x", "votes": 5}, {"title": "At arXiv", "arxiv": "2401.00001"})
    )
    assert store.count() == 2
    assert store.add(feed({"title": "At arXiv", "arxiv": "2401.00001", "doi": "10.1/x"})).updated == 1
    (paper,) = store.papers()
    assert (paper.arxiv, paper.doi, paper.votes) == ("2401.00001", "10.1/x", 5)


def test_a_doi_that_two_papers_of_arxiv_share_does_not_make_them_one(store) -> None:
    store.add(feed({"title": "A", "arxiv": "2401.00001"}, {"title": "B", "arxiv": "2401.00002", "doi": "10.1/x"}))
    store.add(feed({"title": "A", "arxiv": "2401.00001", "doi": "10.1/x"}))
    assert sorted(paper.arxiv for paper in store.papers()) == ["2401.00001", "2401.00002"]


def test_pages_are_newest_first_and_leave_nothing_out(store) -> None:
    days = [DAY + datetime.timedelta(days=number) for number in range(7)]
    store.add(feed(*({"title": f"T{number}", "date": day} for number, day in enumerate(days))))
    pages = [[paper.title for paper in store.papers(limit=3, offset=start)] for start in (0, 3, 6)]
    assert pages == [["T6", "T5", "T4"], ["T3", "T2", "T1"], ["T0"]]
    assert len(store.papers(since=days[5])) == 2


def test_broken_entries_are_kept_with_their_reasons_once(store) -> None:
    broken = feed(broken=(Broken("entry 2", "B", "it has no date"),))
    assert store.add(broken).broken == 1
    store.add(broken)
    (item,) = store.quarantine()
    assert (item.file, item.place, item.title, item.reason) == ("a.json", "entry 2", "B", "it has no date")


def test_an_import_that_fails_leaves_what_was_there(store, monkeypatch) -> None:
    take_in = module._take_in

    def failing(db: sqlite3.Connection, entry: Entry, seen: str) -> str:
        if entry.title == "Bad":
            raise RuntimeError("power cut")
        return take_in(db, entry, seen)

    monkeypatch.setattr(module, "_take_in", failing)
    with pytest.raises(RuntimeError):
        store.add(feed({"title": "Good"}, {"title": "Bad"}))
    assert store.count() == 0


def test_a_killed_import_leaves_what_was_there(tmp_path) -> None:
    code = f"""
import os, datetime
from accord.papers import store as module
from accord.papers.feeds import Entry, Feed
take_in, seen = module._take_in, []
def dying(*args):
    seen.append(args)
    if len(seen) == 2:
        os.kill(os.getpid(), 9)
    return take_in(*args)
module._take_in = dying
entries = tuple(Entry.parse({{"title": t, "date": datetime.date(2024, 1, 1)}}) for t in "ABC")
with module.Store({str(tmp_path / "papers.sqlite")!r}) as store:
    store.add(Feed("f", "JSON", entries, ()))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with Store(tmp_path / "papers.sqlite") as opened:
        assert opened.count() == 0
        assert opened.add(feed({"title": "A"})).new == 1


def test_the_file_is_the_owners_alone(store) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_the_usual_place_is_the_users_folder_for_data(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("platformdirs.user_data_path", lambda name: tmp_path / name)
    assert usual_store() == tmp_path / "accord" / "papers.sqlite"


def test_files_of_others_are_refused_and_left_as_they_are(tmp_path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes, which are rather long so that no database would begin like that" * 20)
    with pytest.raises(StorageError, match="is no store of papers"):
        Store(path)
    assert path.read_text().startswith("my notes")
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE mine (a)")
    with pytest.raises(StorageError, match="a database of another program: name another file with --store"):
        Store(other)
    with pytest.raises(StorageError, match="cannot be opened"):
        Store(path / "below.sqlite")


def test_a_store_of_a_newer_version_is_refused(store) -> None:
    store.db.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="written by a newer version of Accord"):
        Store(store.path)


def test_the_key_of_a_store_stays_and_differs_from_that_of_another(store, tmp_path: Path) -> None:
    with Store(store.path) as again, Store(tmp_path / "other.sqlite") as other:
        assert store.key() == again.key() != other.key()
