"""Things that are made of files and stay for the next request; made anew where their file has changed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """The latest few things, by the keys of their places.

    Args:
        find: the file of a key; raises where there is none.
        make: the thing of a folder.
        most: how many stay.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "note.txt"
        >>> _ = file.write_text("one")
        >>> kept = Kept(lambda key: file, lambda folder: (folder / "note.txt").read_text())
        >>> kept.get("a")
        'one'
        >>> _ = file.write_text("another")
        >>> kept.get("a")
        'another'
    """

    def __init__(self, find: Callable[[str], Path], make: Callable[[Path], T], most: int = 16) -> None:
        self._find, self._make, self._most = find, make, most
        self._things: OrderedDict[str, tuple[Path, tuple[int, int], T]] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, key: str) -> T:
        """The thing of this key; places are looked through only where it is not there."""
        with self._lock:
            known = self._things.get(key)
            if known is None or _stamp(known[0]) != known[1]:
                file = self._find(key)
                known = (file, _stamp(file), self._make(file.parent))
                self._things[key] = known
            self._things.move_to_end(key)
            while len(self._things) > self._most:
                self._things.popitem(last=False)
            return known[2]


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:  # gone, which whoever looks for it says
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)
