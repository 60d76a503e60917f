"""What people decided, step by step, with a way back: a journal to which lines are added, and never changed.

A line holds what one step set, or the number of the step that it undoes or does again. What holds now is what the lines
make one after the other, so that all of it can be undone and done again, also after a restart. A line is on the disk
before anybody is told that it counts; one that a crash cut short does not count, and is said.

Each key has a revision, the number of the line that last changed it. Who decides says which one was seen, and is
refused where somebody else was faster.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from accord.errors import AccordError
from accord.files import reading, storage_of

Value = Any  # what JSON holds; None stands for nothing decided


class ConflictError(AccordError):
    """Somebody else decided meanwhile; the message says on what."""


class UnknownError(AccordError):
    """There is nothing of this number that could be decided on."""


@dataclass(frozen=True)
class Step:
    """One step, of which there may be many decisions.

    Args:
        number: of its line, from 1.
        what: for people, such as ``accept row 7``.
        after: key -> what it set.
        before: key -> what was there.
    """

    number: int
    what: str
    after: Mapping[str, Value] = field(repr=False)
    before: Mapping[str, Value] = field(repr=False)


class Decisions:
    """Decisions by their keys, kept in a file.

    Several may be open on the same file, in one process or in many: each reads what the others have added.

    Args:
        path: the journal, a JSONL file; it is made with the first decision.
        saved: is called after each change, such as to write the decisions in another form.

    Raises:
        StorageError: the file is damaged elsewhere than at its end, or cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "decided.jsonl"
        >>> decisions = Decisions(path)
        >>> _ = decisions.decide({"7": "accept", "9": "drop"}, "two rows")
        >>> Decisions(path).undo().what
        'two rows'
        >>> decisions.values
        {}
        >>> decisions.redo().what, decisions.values
        ('two rows', {'7': 'accept', '9': 'drop'})
    """

    def __init__(self, path: Path, saved: Callable[[Decisions], None] | None = None) -> None:
        self.path, self._saved = path, saved
        self.cut = 0  # bytes of a line that a crash cut short
        self._lock = threading.RLock()
        self._forget()
        if not path.exists():
            return
        if not os.access(path.parent, os.W_OK):  # to be looked at only
            self._catch_up()
            return
        with self._alone():
            self.cut = self._size() - self._end
            if self._head and saved is not None:  # a crash may have come between the two files
                saved(self)

    def _forget(self) -> None:
        self._values: dict[str, Value] = {}
        self._revisions: dict[str, int] = {}
        self._done: list[Step] = []
        self._undone: list[Step] = []
        self._head, self._end = 0, 0  # the last line, and the byte after it

    # ---- what holds --------------------------------------------------------------------------------------------------

    @property
    def values(self) -> dict[str, Value]:
        """Key -> what is decided on it."""
        with self._lock:
            self._catch_up()
            return dict(self._values)

    @property
    def head(self) -> int:
        """Number of the last line; 0 where there is none."""
        with self._lock:
            self._catch_up()
            return self._head

    def get(self, key: str) -> tuple[Value, int]:
        """What is decided on a key, None for nothing; and its revision, 0 where nobody ever decided."""
        return self.all_of([key])[key]

    def all_of(self, keys: Iterable[str]) -> dict[str, tuple[Value, int]]:
        """The same of many keys, at one time."""
        with self._lock:
            self._catch_up()
            return {key: (self._values.get(key), self._revisions.get(key, 0)) for key in keys}

    def next_undo(self) -> Step | None:
        """The step that would be undone."""
        with self._lock:
            self._catch_up()
            return self._done[-1] if self._done else None

    def next_redo(self) -> Step | None:
        """The step that would be done again."""
        with self._lock:
            self._catch_up()
            return self._undone[-1] if self._undone else None

    # ---- changes -----------------------------------------------------------------------------------------------------

    def decide(
        self,
        changes: Mapping[str, Value],
        what: str,
        seen: Mapping[str, int] | None = None,
        check: Callable[[], None] | None = None,
    ) -> int:
        """Decide on one key or on many, as one step.

        Args:
            changes: key -> what is decided; None takes a decision back.
            what: the step in words, for who may want to undo it.
            seen: key -> the revision that was looked at; keys that it leaves out are set whatever they are.
            check: raises where the step does not fit what holds now; nobody else decides meanwhile.

        Returns:
            Number of the last line: the new one, or the one that was there where nothing changes.

        Raises:
            ConflictError: a key has another revision than was seen.
            StorageError: the line cannot be written; then nothing is decided.
        """
        with self._alone():
            others = [key for key, revision in (seen or {}).items() if self._revisions.get(key, 0) != revision]
            if others:
                named = f"{', '.join(others[:3])}{' and more' if len(others) > 3 else ''}"
                raise ConflictError(f"another page has decided on {named} meanwhile: look at that, then decide again")
            if check is not None:
                check()
            new = {key: value for key, value in changes.items() if self._values.get(key) != value}
            return self._add({"what": what, "set": new}) if new else self._head

    def undo(self, head: int | None = None) -> Step:
        """Take back the last step that is not undone yet.

        Args:
            head: number of the last line that was seen; None undoes whatever is last.

        Raises:
            ConflictError: there is nothing to undo, or another line came meanwhile.
        """
        return self._turn("undo", self._done, head)

    def redo(self, head: int | None = None) -> Step:
        """Do again what was undone last; the arguments are those of :meth:`undo`."""
        return self._turn("redo", self._undone, head)

    def _turn(self, word: str, steps: list[Step], head: int | None) -> Step:
        with self._alone():
            if head is not None and head != self._head:
                raise ConflictError(f"another page has decided meanwhile: look at that before you {word} anything")
            if not steps:
                raise ConflictError(f"there is nothing to {word}")
            step = steps[-1]
            self._add({word: step.number})
            return step

    # ---- the file ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one who decides, with all that others have decided."""
        with self._lock, storage_of(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(f".{self.path.name}.lock")):
                self._catch_up()
                yield

    def _add(self, entry: dict[str, Any]) -> int:
        line = {"n": self._head + 1, "at": round(time.time(), 3), **entry}
        data = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        with storage_of(self.path), self.path.open("ab", buffering=0) as file:
            file.truncate(self._end)  # what a crash left of a line
            try:
                if file.write(data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    file.truncate(self._end)
                raise
        self._take(line)
        self._end += len(data)
        if self._saved is not None:
            self._saved(self)
        return self._head

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _catch_up(self) -> None:
        """Read the lines that came since; all of them anew where the file is another."""
        if self._size() < self._end:
            self._forget()
        if self._size() == self._end:
            return
        with reading(self.path, "put it back from a copy, or delete it, which forgets all decisions"):
            with self.path.open("rb") as file:
                file.seek(self._end)
                lines = file.read().splitlines(keepends=True)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._take(json.loads(line))
                self._end += len(line)

    def _take(self, line: Mapping[str, Any]) -> None:
        """Let a line hold."""
        number = int(line["n"])
        if number != self._head + 1:
            raise ValueError(f"line {self._head + 1} is followed by line {number}")
        if "undo" in line:
            self._undone.append(step := self._done.pop())
            self._set(step.before, number)
        elif "redo" in line:
            self._done.append(step := self._undone.pop())
            self._set(step.after, number)
        else:
            before = {key: self._values.get(key) for key in line["set"]}
            self._done.append(Step(number, str(line["what"]), line["set"], before))
            self._undone.clear()
            self._set(line["set"], number)
        self._head = number

    def _set(self, changes: Mapping[str, Value], number: int) -> None:
        for key, value in changes.items():
            self._revisions[key] = number
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
