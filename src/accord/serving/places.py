"""What there is to look at below the configured folders: runs, comparisons, cleanings, discoveries, embeddings.

A visitor names a place by its key. Keys are looked up among the places that were found, and are never made into a path,
so that no request reaches a file elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from accord.cleaning.table import CLEAN
from accord.errors import ConfigError, StorageError, no_such
from accord.pipeline.discovery.files import ABOUT
from accord.pipeline.embedded import TABLES, is_embeddings_file
from accord.pipeline.folder import COMPARISON, is_run

DEPTH = 3  # folders below a root
RUN, COMPARED, CLEANED, DISCOVERED = "run", "comparison", "cleaning", "discovery"
EMBEDDED = "embeddings"  # a file, not a folder
_KINDS: Mapping[str, Callable[[Path], bool]] = {
    RUN: is_run,
    COMPARED: lambda folder: (folder / COMPARISON).is_file(),
    CLEANED: lambda folder: (folder / CLEAN).is_file(),
    DISCOVERED: lambda folder: (folder / ABOUT).is_file(),
}


@dataclass(frozen=True)
class Place:
    """A folder that a page can show, or a file of embeddings.

    Args:
        key: what a visitor calls it: the root's name and the path below.
        kind: run, comparison, cleaning, discovery or embeddings.
        path: where it is.
        changed: when it last changed, seconds since 1970.
    """

    key: str
    kind: str
    path: Path
    changed: float

    @property
    def folder(self) -> Path:
        """The folder, of a file that in which it lies."""
        return self.path.parent if self.kind == EMBEDDED else self.path

    def file(self, name: str) -> Path:
        """A file of the folder, by the name that a page offers.

        Raises:
            ConfigError: there is no such file, or it lies elsewhere.
        """
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()) or not path.is_file():
            raise ConfigError(f"{self.key} has no file {name!r}")
        return path


class Places:
    """The places below some folders, looked for anew each time: runs come and go while the application is open.

    Args:
        roots: folders; one that does not exist yet is empty.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "runs"
        >>> (folder / "first").mkdir(parents=True)
        >>> for name in ("config.yaml", "splits.json"):
        ...     (folder / "first" / name).touch()
        >>> [place.key for place in Places([folder]).all()]
        ['runs/first']
        >>> Places([folder]).get("runs/../../etc")
        Traceback (most recent call last):
        accord.errors.ConfigError: no place 'runs/../../etc'; there are: runs/first
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = _named(roots)

    def all(self, kind: str | None = None) -> list[Place]:
        """Places of a kind, or of any; the newest first."""
        found = [place for name, root in self._roots.items() for place in _below(root, name, DEPTH)]
        return sorted(
            (place for place in found if kind in (None, place.kind)), key=lambda place: (-place.changed, place.key)
        )

    def get(self, key: str, kind: str | None = None) -> Place:
        """The place of this key.

        Raises:
            ConfigError: there is none.
        """
        places = self.all(kind)
        found = next((place for place in places if place.key == key), None)
        if found is None:
            raise ConfigError(no_such(kind or "place", key, [place.key for place in places]))
        return found


def _named(roots: Sequence[Path]) -> dict[str, Path]:
    """Names of the roots: their last part, numbered where two are alike."""
    named: dict[str, Path] = {}
    for root in roots:
        path = root.expanduser().resolve()
        name, number = path.name or "root", 2
        while name in named:
            name, number = f"{path.name}-{number}", number + 1
        named[name] = path
    return named


def _below(folder: Path, key: str, depth: int) -> Iterator[Place]:
    """The places in a folder and below; a link that leads out of the root is not followed."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # not there, or not ours to read
        return
    for kind, holds in _KINDS.items():
        if holds(folder):
            yield Place(key, kind, folder, max((_changed(entry) for entry in entries), default=0.0))
            break
    for entry in entries:
        if entry.is_file(follow_symlinks=False) and _holds_vectors(entry):
            yield Place(f"{key}/{entry.name}", EMBEDDED, Path(entry.path), _changed(entry))
    if depth:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from _below(Path(entry.path), f"{key}/{entry.name}", depth - 1)


def _holds_vectors(entry: os.DirEntry[str]) -> bool:
    """Whether this is a file of embeddings; one that is damaged or gone is none."""
    if not entry.name.endswith(TABLES) or entry.name.startswith("."):
        return False
    try:
        status = entry.stat()
        return _known_vectors(Path(entry.path), status.st_mtime_ns, status.st_size)
    except (OSError, StorageError):
        return False


@lru_cache(maxsize=1024)
def _known_vectors(path: Path, changed: int, size: int) -> bool:
    """Whether a file holds vectors, read once for each version of it."""
    return is_embeddings_file(path)


def _changed(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:  # it has this very moment gone
        return 0.0
