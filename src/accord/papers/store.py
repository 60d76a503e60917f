"""A store of papers, subscribers and mails: one SQLite file of the user's own.

All that is written in one go is one transaction, so that a crash leaves what was there before. Several processes may
use a file at once.
"""

from __future__ import annotations

import datetime
import json
import secrets
import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import platformdirs

from accord.errors import StorageError
from accord.files import storage_of
from accord.papers.feeds import Entry, Feed

_OURS = 0x41435044  # the file's application_id: no other program's file is taken for ours
_VERSION = 1
_WAIT = 30.0  # seconds for another process to finish writing
_COLUMNS = "id, arxiv, doi, title, abstract, authors, date, version, votes, url, seen"


@dataclass(frozen=True)
class Paper:
    """One paper of the store.

    Args:
        id: its number in the store.
        arxiv: arXiv's number without version, or None.
        doi: the DOI, or None.
        title: the title.
        abstract: the abstract.
        authors: names.
        date: day of the first version.
        version: the newest that was imported.
        votes: as last imported.
        url: where to read it; http or https, or empty.
        seen: when it was first imported.
    """

    id: int
    arxiv: str | None
    doi: str | None
    title: str
    abstract: str
    authors: tuple[str, ...]
    date: datetime.date
    version: int
    votes: int
    url: str
    seen: datetime.datetime


@dataclass(frozen=True)
class Imported:
    """What an import did: how many papers were new, changed or the same, and how many entries were broken."""

    new: int
    updated: int
    unchanged: int
    broken: int


@dataclass(frozen=True)
class Quarantined:
    """An entry that was left out: its file, its place there, its title, the reason, and when it was tried."""

    file: str
    place: str
    title: str
    reason: str
    seen: datetime.datetime


def usual_store() -> Path:
    """The store where no other is named, in the user's folder for data."""
    return platformdirs.user_data_path("accord") / "papers.sqlite"


class Store:
    """An open store; use it in ``with``, by one thread at a time.

    Args:
        path: the file, made where there is none; None takes :func:`usual_store`.

    Raises:
        StorageError: it cannot be opened, is damaged, or belongs to another program or a newer Accord.

    Example:
        >>> import tempfile
        >>> with Store(Path(tempfile.mkdtemp()) / "papers.sqlite") as store:
        ...     store.count()
        0
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path) if path is not None else usual_store()
        with storage_of(self.path, "opened"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(mode=0o600)  # addresses and a key are in it
        with self._told():
            self.db = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
            self.db.row_factory = sqlite3.Row
            try:
                self.db.execute("PRAGMA foreign_keys = ON")
                self._prepare()
            except BaseException:
                self.db.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A block whose changes are written together or not at all; others wait."""
        with self._told():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """What a query finds."""
        with self._told():
            return self.db.execute(query, values).fetchall()

    def key(self) -> bytes:
        """The store's own key, by which it recognises links that it gave out; made at first use."""
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO secrets VALUES ('key', ?)", (secrets.token_bytes(32),))
            return bytes(db.execute("SELECT value FROM secrets WHERE name = 'key'").fetchone()[0])

    def add(self, feed: Feed, now: datetime.datetime | None = None) -> Imported:
        """Take in a feed, all or nothing. A paper that is known gets the votes of the feed, and a newer version's text.

        Known is what has the same arXiv number, the same DOI, or the same title where no number speaks against it.

        Args:
            feed: what was read.
            now: the time; None is now.
        """
        seen = (now or datetime.datetime.now(datetime.UTC)).isoformat(timespec="seconds")
        done = {"new": 0, "updated": 0, "unchanged": 0}
        with self.transaction() as db:
            for entry in feed.entries:
                done[_take_in(db, entry, seen)] += 1
            lines = [(feed.file, item.place, item.title, item.reason, seen) for item in feed.broken]
            db.executemany("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?, ?)", lines)
        return Imported(**done, broken=len(feed.broken))

    def papers(self, since: datetime.date | None = None, limit: int | None = None, offset: int = 0) -> list[Paper]:
        """Papers, the newest first.

        Args:
            since: from which day on; None is all.
            limit: how many at most; None is all.
            offset: how many are passed over before.
        """
        where = "WHERE date >= ?" if since else ""
        found = self.rows(
            f"SELECT {_COLUMNS} FROM papers {where} ORDER BY date DESC, votes DESC, id DESC LIMIT ? OFFSET ?",
            *([since.isoformat()] if since else []),
            -1 if limit is None else limit,
            offset,
        )
        return [_paper(row) for row in found]

    def paper(self, number: int) -> Paper | None:
        """The paper of that number; None where there is none."""
        found = self.rows(f"SELECT {_COLUMNS} FROM papers WHERE id = ?", number)
        return _paper(found[0]) if found else None

    def count(self) -> int:
        """How many papers there are."""
        return int(self.rows("SELECT count(*) FROM papers")[0][0])

    def quarantine(self) -> list[Quarantined]:
        """What was left out of imports, the latest first."""
        found = self.rows("SELECT * FROM quarantine ORDER BY seen DESC, rowid")
        return [Quarantined(**{**row, "seen": datetime.datetime.fromisoformat(row["seen"])}) for row in found]

    def _prepare(self) -> None:
        """Make the tables of a new file; refuse what is no store."""
        if self._mark() == (_OURS, _VERSION):
            return
        with self.transaction() as db:
            if self._mark() == (_OURS, _VERSION):  # another process was faster
                return
            if self._mark()[0] == _OURS:
                raise StorageError(f"{self.path} was written by a newer version of Accord: update it")
            if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise StorageError(f"{self.path} is a database of another program: name another file with --store")
            for statement in (files("accord.papers") / "schema.sql").read_text(encoding="utf-8").split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {_OURS}")
            db.execute(f"PRAGMA user_version = {_VERSION}")

    def _mark(self) -> tuple[int, int]:
        """Whose file it is, and of which version of its tables."""
        ours, version = (self.db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        return ours, version

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the database as sentences about its file."""
        try:
            yield
        except sqlite3.OperationalError as error:
            reason = "another process is writing to it: wait for that" if "locked" in str(error) else str(error)
            raise StorageError(f"{self.path} cannot be used: {reason}") from error
        except sqlite3.DatabaseError as error:
            raise StorageError(
                f"{self.path} is no store of papers ({error}): name another file with --store"
            ) from error


def _take_in(db: sqlite3.Connection, entry: Entry, seen: str) -> str:
    """Put one entry into the table: "new", "updated" or "unchanged"."""
    known = _known(db, entry)
    if not known:
        facts = (entry.arxiv, entry.doi, _title_key(entry.title), entry.title, entry.abstract)
        more = (json.dumps(entry.authors), entry.date.isoformat(), entry.version, entry.votes or 0, entry.url, seen)
        db.execute(
            "INSERT INTO papers (arxiv, doi, title_key, title, abstract, authors, date, version, votes, url, seen)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*facts, *more),
        )
        return "new"
    first, *others = known
    newer = entry.version >= max(row["version"] for row in known)
    after = {
        "arxiv": entry.arxiv or _any(known, "arxiv"),
        "doi": entry.doi or _any(known, "doi"),
        "title": entry.title if newer else first["title"],
        "abstract": (newer and entry.abstract) or _any(known, "abstract") or entry.abstract,
        "authors": json.dumps(entry.authors) if newer and entry.authors else first["authors"],
        "date": min(entry.date.isoformat(), *(row["date"] for row in known), first["date"]),
        "version": max(entry.version, *(row["version"] for row in known), first["version"]),
        "votes": max(row["votes"] for row in known) if entry.votes is None else entry.votes,
        "url": first["url"] or entry.url,
    }
    if not others and all(first[name] == value for name, value in after.items()):
        return "unchanged"
    for row in others:  # two papers that turn out to be one
        db.execute("UPDATE OR IGNORE told SET paper = ? WHERE paper = ?", (first["id"], row["id"]))
        db.execute("DELETE FROM papers WHERE id = ?", (row["id"],))
    after["title_key"] = _title_key(after["title"])
    names = ", ".join(f"{name} = ?" for name in after)
    db.execute(f"UPDATE papers SET {names} WHERE id = ?", (*after.values(), first["id"]))
    return "updated"


def _known(db: sqlite3.Connection, entry: Entry) -> list[sqlite3.Row]:
    """The papers of the table that this one is, which may be two: one known by its number, one by its title."""
    found = db.execute(
        "SELECT * FROM papers WHERE arxiv = ?1 OR doi = ?2 OR (title_key = ?3"
        " AND (arxiv IS NULL OR ?1 IS NULL OR arxiv = ?1) AND (doi IS NULL OR ?2 IS NULL OR doi = ?2)) ORDER BY id",
        (entry.arxiv, entry.doi, _title_key(entry.title)),
    ).fetchall()
    numbers = [row for row in found if row["arxiv"] and row["arxiv"] == entry.arxiv]
    if numbers:  # a DOI that another paper of arXiv also gives makes them no one paper
        found = [row for row in found if row["arxiv"] in (None, entry.arxiv)]
    return found


def _any(rows: Sequence[sqlite3.Row], name: str) -> Any:
    return next((row[name] for row in rows if row[name]), rows[0][name])


def _title_key(title: str) -> str:
    """Letters and digits of a title, by which two ways to write it are one.

    >>> _title_key("PC²: Pseudo-Captioning") == _title_key("PC2 pseudo captioning")
    True
    """
    return "".join(sign for sign in unicodedata.normalize("NFKD", title).casefold() if sign.isalnum())


def _paper(row: sqlite3.Row) -> Paper:
    told = dict(row)
    told["authors"] = tuple(json.loads(told["authors"]))
    told["date"] = datetime.date.fromisoformat(told["date"])
    told["seen"] = datetime.datetime.fromisoformat(told["seen"])
    return Paper(**told)
