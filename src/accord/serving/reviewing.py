"""The review of a cleaning: its doubted rows, the surest first, what was decided on them, and what of it is shown."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from accord.cleaning.corrections import FIELDS, Decision, check_decision
from accord.cleaning.table import DECIDED, doubted_first, read_clean
from accord.errors import ConfigError
from accord.files import write_atomically
from accord.serving.decisions import ConflictError, Decisions, UnknownError
from accord.serving.pictures import Pictures

SAVED = "decisions.json"  # what the page that needs no server saves, and accord clean apply takes
PAGE = 50  # rows


@dataclass(frozen=True)
class Filter:
    """Which doubted rows are meant.

    Args:
        kind: a kind of reason; empty for all.
        label: a class; empty for all.
        text: what captions or reasons say; empty for anything.
        undecided: only rows that nobody decided on.
        doubt: the least probability that the row is wrong.
    """

    kind: str = ""
    label: str = ""
    text: str = ""
    undecided: bool = False
    doubt: float = 0.0


@dataclass(frozen=True)
class Shown:
    """Some of the rows that a filter lets through, as they are shown together.

    Args:
        positions: of the rows.
        before: how many rows come before them.
        matching: how many the filter lets through.
        next: where the next rows begin; None where there are none.
        previous: where those before begin; None where there are none.
    """

    positions: NDArray[np.int64]
    before: int
    matching: int
    next: int | None
    previous: int | None


def shown_of(found: NDArray[np.int64] | int, start: int, most: int) -> Shown:
    """Some of what was found, from a position on.

    Args:
        found: positions in order, or how many there are.
        start: the least position that is shown.
        most: how many are shown.

    Example:
        >>> shown_of(5, 2, 2)
        Shown(positions=array([2, 3]), before=2, matching=5, next=4, previous=0)
    """
    positions = np.arange(found) if isinstance(found, int) else found
    first = int(np.searchsorted(positions, start))
    last = first + most
    return Shown(
        positions=positions[first:last],
        before=first,
        matching=len(positions),
        next=int(positions[last]) if last < len(positions) else None,
        previous=int(positions[max(first - most, 0)]) if first else None,
    )


class Review:
    """A folder that ``accord clean`` wrote, and the decisions on it.

    Decisions are in ``decided/FINGERPRINT.jsonl``, from which ``decided/decisions.json`` is made.

    Args:
        folder: the folder.

    Raises:
        ConfigError: ``accord clean`` did not write it.
        StorageError: a file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        table, self.about = read_clean(folder)
        self.folder, self.judged = folder, len(table)
        self.rows = table.take(doubted_first(table))
        fingerprint = str(self.about.get("fingerprint", ""))
        if not re.fullmatch("[0-9a-f]{1,64}", fingerprint):
            raise ConfigError(f"{folder} was not written by accord clean: its fingerprint is {fingerprint!r}")
        self.ids = [int(number) for number in self.rows["id"].to_pylist()]
        self._places = {number: place for place, number in enumerate(self.ids)}
        columns = self.about["columns"]
        self.fields = [name for name, field in FIELDS.items() if columns.get(field)]
        self.pictures = Pictures(self.about["source"], columns)
        self.decisions = Decisions(folder / DECIDED / f"{fingerprint}.jsonl", self._save)

    def __len__(self) -> int:
        return len(self.ids)

    # ---- what is shown -----------------------------------------------------------------------------------------------

    @cached_property
    def kinds(self) -> dict[str, int]:
        """Kind of reason -> how many rows have it, the most frequent first; empty in folders of earlier versions."""
        if "kinds" not in self.rows.column_names:
            return {}
        return dict(Counter(kind for kinds in self.rows["kinds"].to_pylist() for kind in kinds).most_common())

    @cached_property
    def labels(self) -> list[str]:
        """The classes of the doubted rows and those that are proposed, in alphabetical order."""
        named = {*self.rows["label"].to_pylist(), *self.rows["proposed_label"].to_pylist()}
        return sorted(name for name in named if name)

    @property
    def decided(self) -> int:
        """On how many rows somebody decided."""
        return len(self.decisions.values)

    def matching(self, wanted: Filter) -> NDArray[np.int64]:
        """Positions of the rows that a filter lets through, the surest doubt first."""
        kept = np.ones(len(self), dtype=np.bool_)
        if wanted.kind:
            kept &= self._of_kind(wanted.kind)
        if wanted.label:
            kept &= _true(pc.equal(self.rows["label"], wanted.label))
        if wanted.text:
            kept &= _true(pc.match_substring(self._words, wanted.text.lower()))
        if wanted.doubt > 0:
            kept &= 1 - self.rows["score"].to_numpy() >= wanted.doubt
        if wanted.undecided:
            values = self.decisions.values
            kept &= np.array([str(number) not in values for number in self.ids], dtype=np.bool_)
        return np.flatnonzero(kept)

    def shown(self, wanted: Filter, start: int = 0, most: int = PAGE) -> Shown:
        """The rows from position ``start`` on that a filter lets through.

        They are counted from a row and not from a page, so that none is skipped when decided rows leave the filter.
        """
        return shown_of(self.matching(wanted), start, most)

    def cards(self, positions: NDArray[np.int64]) -> list[dict[str, Any]]:
        """What is known of rows, and what was decided on them."""
        rows = self.rows.take(positions).to_pylist()
        said = self.decisions.all_of(str(row["id"]) for row in rows)
        decided = (said[str(row["id"])] for row in rows)
        return [
            {"kinds": [], **row, "decision": decision, "revision": revision}
            for row, (decision, revision) in zip(rows, decided, strict=True)
        ]

    def places_of(self, ids: list[int]) -> NDArray[np.int64]:
        """Positions of rows by their numbers; those that are not doubted are left out."""
        return np.array([self._places[number] for number in ids if number in self._places], dtype=np.int64)

    def _of_kind(self, kind: str) -> NDArray[np.bool_]:
        if "kinds" not in self.rows.column_names:
            return np.zeros(len(self), dtype=np.bool_)
        column = self.rows["kinds"].combine_chunks()
        rows = pc.list_parent_indices(column).to_numpy()[_true(pc.equal(pc.list_flatten(column), kind))]
        found = np.zeros(len(self), dtype=np.bool_)
        found[rows] = True
        return found

    @cached_property
    def _words(self) -> pa.ChunkedArray:
        """What captions and reasons say, in small letters."""
        captions = pc.binary_join(self.rows["captions"].cast(pa.list_(pa.string())), "\n")
        return pc.utf8_lower(pc.binary_join_element_wise(pc.fill_null(captions, ""), self.rows["reason"], "\n"))

    # ---- what is decided ---------------------------------------------------------------------------------------------

    def decide(self, changes: Mapping[int, Decision | None], seen: Mapping[int, int]) -> int:
        """Decide on rows, as one step.

        Args:
            changes: row -> decision; None for none.
            seen: row -> the revision that was looked at.

        Raises:
            UnknownError: a row is not doubted.
            ConfigError: this is no decision on it.
            ConflictError: somebody else decided meanwhile.
        """
        for row, decision in changes.items():
            if row not in self._places:
                raise UnknownError(f"row {row} is not doubted: there is nothing to decide")
            if decision is not None:
                check_decision(row, decision, self.about)
        return self.decisions.decide(
            {str(row): decision for row, decision in changes.items()},
            _in_words(changes),
            {str(row): revision for row, revision in seen.items()},
        )

    def decide_all(self, decision: str, wanted: Filter, expected: int) -> int:
        """Decide on all undecided rows that a filter lets through, as one step; returns on how many.

        Args:
            decision: a word.
            wanted: which rows.
            expected: how many there were when this was offered.

        Raises:
            ConflictError: there are more or fewer by now.
        """
        rows = [str(self.ids[place]) for place in self.matching(replace(wanted, undecided=True))]
        what = f"{decision} {len(rows):,} rows" + (f", {wanted.kind}" if wanted.kind else "")

        def unchanged() -> None:
            values = self.decisions.values
            left = sum(row not in values for row in rows)
            if left != expected:
                raise ConflictError(f"there are {left:,} such rows now, not {expected:,}: look again")

        self.decisions.decide(dict.fromkeys(rows, decision), what, check=unchanged)
        return len(rows)

    def decided_rows(self) -> dict[int, Decision]:
        """Row -> decision, as :func:`accord.apply_decisions` takes them."""
        return {int(row): decision for row, decision in self.decisions.values.items()}

    def _save(self, decisions: Decisions) -> None:
        held = {"fingerprint": self.about["fingerprint"], "decisions": decisions.values}
        write_atomically(self.folder / DECIDED / SAVED, json.dumps(held, ensure_ascii=False, indent=1))


def _in_words(changes: Mapping[int, Decision | None]) -> str:
    """A step for who may want to undo it."""
    if len(changes) != 1:
        return f"decisions on {len(changes):,} rows"
    ((row, decision),) = changes.items()
    return (
        f"{decision or 'no decision'} on row {row}"
        if isinstance(decision, str | None)
        else f"other words for row {row}"
    )


def _true(found: pa.ChunkedArray | pa.Array) -> NDArray[np.bool_]:
    return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False), dtype=np.bool_)
