"""A discovery and what a person makes of it: classes with other names, merged, taken for none; rows that are moved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from accord.errors import ConfigError
from accord.files import reading
from accord.pipeline.discovery.corrections import Corrections, write_classes
from accord.pipeline.discovery.files import ABOUT, DECIDED, ROWS
from accord.serving.decisions import ConflictError, Decisions, UnknownError
from accord.serving.pictures import Pictures

NONE = -1  # the class of a row that has none
_REMEDY = "find the classes again with accord discover"
_NEAREST, _DOUBTFUL = 8, 4  # rows of a contact sheet


@dataclass(frozen=True)
class Sorted:
    """Classes and rows as they are after all decisions.

    Args:
        head: number of the last decision.
        names: of each class.
        into: ``(K,)`` the class that each has become part of; itself where it has not.
        real: ``(K,)`` whether it is a class.
        rows: ``(N,)`` the class of each row, -1 for none.
        order: positions of the rows by class, the nearest to its centre first.
        starts: ``(K + 1,)`` where the rows of each class begin in ``order``.
    """

    head: int
    names: tuple[str, ...]
    into: NDArray[np.int64]
    real: NDArray[np.bool_]
    rows: NDArray[np.int64] = field(repr=False)
    order: NDArray[np.int64] = field(repr=False)
    starts: NDArray[np.int64] = field(repr=False)

    def is_live(self, number: int) -> bool:
        """Whether a class is there by itself."""
        return bool(self.real[number]) and int(self.into[number]) == number

    def members(self, number: int) -> NDArray[np.int64]:
        """Positions of the rows of a class, the nearest first."""
        return self.order[self.starts[number] : self.starts[number + 1]]


class Discovery:
    """A folder that ``accord discover`` wrote, and the decisions on it, which are in ``decided/FINGERPRINT.jsonl``.

    Args:
        folder: the folder.

    Raises:
        ConfigError: ``accord discover`` did not write it.
        StorageError: a file is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        digest = hashlib.blake2b(digest_size=8)
        with reading(folder / ABOUT, _REMEDY):
            said = (folder / ABOUT).read_bytes()
            self.about: dict[str, Any] = json.loads(said)
        if not isinstance(self.about, dict) or "classes_in_parts" not in self.about:
            raise ConfigError(f"{folder / ABOUT} was not written by accord discover: name another folder")
        with reading(folder / ROWS, _REMEDY):
            digest.update(said)
            digest.update((folder / ROWS).read_bytes())
            self.table = pq.read_table(folder / ROWS)
            self.classes: list[dict[str, Any]] = self.about["classes"]
            place = {one["name"]: number for number, one in enumerate(self.classes)}
            self.found = np.array([place[name] for name in self.table["class"].to_pylist()], dtype=np.int64)
            self.next = np.array([place[name] for name in self.table["next"].to_pylist()], dtype=np.int64)
            self.ids: list[int] = self.table["id"].to_pylist()
            self._distance = self.table["distance"].to_numpy()
            self._margin = self.table["margin"].to_numpy()
        self._places = {number: position for position, number in enumerate(self.ids)}
        source = str(self.about.get("source", self.about["data"]))
        self.pictures = Pictures(source, self.about.get("columns", {}), (str(self.about["modality"]),))
        self.decisions = Decisions(folder / DECIDED / f"{digest.hexdigest()}.jsonl")
        self._sorted: Sorted | None = None

    def __len__(self) -> int:
        return len(self.ids)

    # ---- what holds --------------------------------------------------------------------------------------------------

    def sorted(self) -> Sorted:
        """Classes and rows after all decisions."""
        head = self.decisions.head
        if self._sorted is None or self._sorted.head != head:
            self._sorted = self._after(self.decisions.values, head)
        return self._sorted

    def _after(self, said: Mapping[str, Any], head: int) -> Sorted:
        count = len(self.classes)
        into, real = np.arange(count), np.ones(count, dtype=np.bool_)
        names, rows = [str(one["name"]) for one in self.classes], self.found.copy()
        for key, value in said.items():
            kind, _, number = key.partition(":")
            if kind == "name":
                names[int(number)] = value
            elif kind == "into":
                into[int(number)] = value
            elif kind == "real":
                real[int(number)] = value
            else:
                rows[self._places[int(number)]] = value
        while not (into[into] == into).all():  # classes that went into one that then went into another
            into = into[into]
        rows = np.where(rows < 0, NONE, into[rows])
        rows = np.where((rows >= 0) & real[rows], rows, NONE)
        distance = np.where(rows == into[self.found], self._distance, np.inf)  # of moved rows it is not known
        order = np.lexsort((distance, rows))
        starts = np.searchsorted(rows[order], np.arange(count + 1))
        return Sorted(head, tuple(names), into, real, rows, order, starts)

    def row(self, position: int) -> dict[str, Any]:
        """What is known of a row."""
        (said,) = self.table.slice(position, 1).to_pylist()
        _, revision = self.decisions.get(f"row:{said['id']}")
        now = self.sorted()
        own, next = int(now.rows[position]), int(now.into[self.next[position]])
        moved = own != int(now.into[self.found[position]])
        return {
            **{name: said[name] for name in ("id", "path", "captions", "given")},
            "margin": None if moved else said["margin"],
            "number": None if own == NONE else own,
            "next": None if moved or next == own else next,
            "revision": revision,
        }

    def sheet(self, number: int) -> tuple[list[int], list[int]]:
        """Positions of the rows nearest to the centre of a class, and of its most doubtful others."""
        members = self.sorted().members(number)
        near, rest = members[:_NEAREST], members[_NEAREST:]
        doubtful = rest[np.argsort(self._margin[rest], kind="stable")[:_DOUBTFUL]]
        return near.tolist(), doubtful.tolist()

    def members(self, number: int) -> NDArray[np.int64]:
        """Positions of the rows of a class, the nearest first.

        Raises:
            UnknownError: there is no such class.
        """
        self._name(number)
        return self.sorted().members(number)

    def revision(self, number: int) -> int:
        """Of a class: the last line that changed it."""
        said = self.decisions.all_of(_keys(number))
        return max(revision for _, revision in said.values())

    # ---- what is decided ---------------------------------------------------------------------------------------------

    def rename(self, number: int, name: str, revision: int) -> int:
        """Give a class another name.

        Raises:
            UnknownError: there is no such class.
            ConfigError: another has this name.
            ConflictError: somebody else decided on it meanwhile.
        """
        own = self._name(number)
        changes = {f"name:{number}": None if name == self.classes[number]["name"] else name}

        def allowed() -> None:
            self._unchanged(number, revision)
            self._require_free(name, number)

        return self.decisions.decide(changes, f"call {own} {name}", check=allowed)

    def merge(self, number: int, into: int | None, revision: int) -> int:
        """Make a class part of another; None for a class of its own again. Errors are those of :meth:`rename`."""
        name = self._name(number)

        def allowed() -> None:
            self._unchanged(number, revision)
            if into is not None:
                self._require_live(into)
                if into == number:
                    raise ConfigError(f"{name} cannot be merged with itself: name another class")
            else:
                self._require_free(self.sorted().names[number], number)

        other = "a class of its own" if into is None else f"part of {self._name(into)}"
        return self.decisions.decide({f"into:{number}": into}, f"make {name} {other}", check=allowed)

    def mark(self, number: int, real: bool, revision: int) -> int:
        """Say whether a class is one; rows of one that is none have no class. Errors are those of :meth:`rename`."""
        name = self._name(number)
        changes = {f"real:{number}": None if real else False}

        def allowed() -> None:
            self._unchanged(number, revision)
            if real:
                self._require_free(self.sorted().names[number], number)

        return self.decisions.decide(changes, f"take {name} for {'a class' if real else 'no class'}", check=allowed)

    def move(self, rows: Mapping[int, int], into: int | None) -> int:
        """Put rows into a class.

        Args:
            rows: number of a row -> the revision that was looked at.
            into: the class; None for none.

        Raises:
            UnknownError: there is no such row or class.
            ConfigError: the class is merged with another, or taken for none.
            ConflictError: somebody else moved one meanwhile.
        """
        missing = [row for row in rows if row not in self._places]
        if missing:
            raise UnknownError(f"there is no row {missing[0]} here")
        target = NONE if into is None else into
        name = "no class" if into is None else self._name(into)
        what = f"row {next(iter(rows))}" if len(rows) == 1 else f"{len(rows):,} rows"
        return self.decisions.decide(
            {f"row:{row}": target for row in rows},
            f"move {what} to {name}",
            {f"row:{row}": revision for row, revision in rows.items()},
            check=lambda: None if into is None else self._require_live(into),
        )

    def export(self, out: Path) -> int:
        """Write the rows with their classes; returns how many have another than the one that they were found in.

        Raises:
            ConfigError, StorageError: ``out`` cannot be written, see
                :func:`accord.pipeline.discovery.corrections.write_classes`.
        """
        now = self.sorted()
        new = [bool(one["new"]) for one in self.classes]
        other = now.into[self.next]
        other = np.where(now.real[other] & (other != now.rows), other, NONE)
        moved = now.rows != now.into[self.found]
        return write_classes(out, self.table, Corrections(now.names, new, now.rows, moved, other))

    def _name(self, number: int) -> str:
        if not 0 <= number < len(self.classes):
            raise UnknownError(f"there is no class {number}; there are {len(self.classes)}, from 0")
        return self.sorted().names[number]

    def _unchanged(self, number: int, revision: int) -> None:
        if self.revision(number) != revision:
            name = self.sorted().names[number]
            raise ConflictError(f"another page has decided on class {name} meanwhile: look at that, then decide again")

    def _require_free(self, name: str, number: int) -> None:
        now = self.sorted()
        if any(each == name and other != number and now.is_live(other) for other, each in enumerate(now.names)):
            raise ConfigError(f"there is a class {name!r} already: give another name, or merge the two")

    def _require_live(self, number: int) -> None:
        self._name(number)
        now = self.sorted()
        if not now.is_live(number):
            what = "is taken for no class" if not now.real[number] else "is part of another"
            raise ConfigError(f"class {now.names[number]} {what}: name one that is there")


def _keys(number: int) -> Sequence[str]:
    return [f"{kind}:{number}" for kind in ("name", "into", "real")]
