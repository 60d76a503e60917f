"""Rows that cannot be used: skipped, counted, and listed with file and reason so that they can be mended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from accord.errors import DataError
from accord.files import replacing


class RowError(DataError):
    """One row cannot be read.

    Args:
        row: its number in the source, from 0.
        file: the file it names, or where it is written.
        reason: ``"kind"`` or ``"kind: detail"``; rows are counted by kind.
    """

    def __init__(self, row: int, file: str, reason: str) -> None:
        super().__init__(f"row {row} ({file}): {reason}")
        self.row, self.file, self.reason = row, file, reason

    def __reduce__(self) -> tuple[type[RowError], tuple[int, str, str]]:
        return type(self), (self.row, self.file, self.reason)


@dataclass(frozen=True)
class BadRow:
    """One entry of the list."""

    row: int
    file: str
    reason: str


class Quarantine:
    """The list of bad rows.

    Example:
        >>> bad = Quarantine()
        >>> bad.add(3, "cat.png", "zero bytes")
        >>> bad.add(4, "dog.png", "zero bytes")
        >>> len(bad), bad.commonest()
        (2, 'zero bytes')
        >>> bad.enforce(0.2, total=4)
        Traceback (most recent call last):
        accord.errors.DataError: 2 of 4 rows (50 %) cannot be used, most often: zero bytes; ...
    """

    def __init__(self, rows: Iterable[BadRow] = ()) -> None:
        self.rows = list(rows)
        self.path: Path | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[BadRow]:
        return iter(self.rows)

    def add(self, row: int, file: str, reason: str) -> None:
        """Record one bad row."""
        self.rows.append(BadRow(row, file, reason))

    def commonest(self) -> str:
        """The kind of fault that occurs most often, ``""`` when there is none."""
        kinds = Counter(bad.reason.partition(":")[0] for bad in self.rows)
        return kinds.most_common(1)[0][0] if kinds else ""

    def sentence(self, kept: int) -> str:
        """What is left out beside ``kept`` rows, most often why, and where the list is.

        Example:
            >>> Quarantine([BadRow(3, "cat.png", "zero bytes")]).sentence(kept=9)
            '1 of 10 rows left out, most often: zero bytes; the first is row 3 (cat.png)'
        """
        where = f"listed in {self.path}" if self.path else f"the first is row {self.rows[0].row} ({self.rows[0].file})"
        return f"{len(self):,} of {len(self) + kept:,} rows left out, most often: {self.commonest()}; {where}"

    def write(self, path: Path) -> None:
        """Write one JSON object ``{row, file, reason}`` per line, atomically, in row order."""
        ordered = sorted(self.rows, key=lambda bad: bad.row)
        lines = [json.dumps(asdict(bad), ensure_ascii=False) + "\n" for bad in ordered]
        with replacing(path) as partial:
            partial.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
        self.path = path

    def enforce(self, max_bad: float, total: int) -> None:
        """Stop when too much is bad.

        Args:
            max_bad: largest share of bad rows that is accepted, in [0, 1].
            total: rows looked at.

        Raises:
            DataError: the share is larger; says how many, the commonest reason, and where the list is.
        """
        if len(self) <= max_bad * total:
            return
        where = f"the list is in {self.path}" if self.path else f"the first is row {self.rows[0].row}"
        raise DataError(
            f"{len(self)} of {total} rows ({100 * len(self) / total:.0f} %) cannot be used, most often: "
            f"{self.commonest()}; {where}; mend them, or accept a larger share with max_bad (now {max_bad:g})"
        )
