"""Files that appear whole or not at all, and errors that name the place when a disk does not take them."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path

from accord.errors import AccordError, StorageError

_REASONS = {
    errno.ENOSPC: "the disk is full: free some space, or choose a place on another disk",
    errno.EDQUOT: "your disk quota is used up: free some space, or choose a place on another disk",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.EACCES: "permission is denied: give yourself permission, or choose another place",
    errno.EPERM: "permission is denied: give yourself permission, or choose another place",
    errno.ENOTDIR: "a part of the path is a file, not a folder: choose another place",
    errno.EEXIST: "a part of the path is a file, not a folder: choose another place",
    errno.EISDIR: "there is a folder of that name: choose another name",
    errno.ENOENT: "the folder that it should stand in does not exist: make it, or choose another place",
}
FIGURE = b"atplotlib"  # what a drawn PNG, SVG or PDF says of its making
_SAID = 120  # characters of what a library says of a damaged file
_OS_ERROR = re.compile(r"\(os error (\d+)\)|\[?[Ee]rrno:? (\d+)")  # how libraries written in other languages quote it


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside ``path`` to write to; what was written takes the place of ``path`` when the block ends well.

    A reader, or a crash, never meets half a file. Missing folders are made. The file gets the usual mode, also
    from libraries that write for the owner alone.

    Args:
        path: the file to write.

    Raises:
        StorageError: it cannot be written, such as on a full disk; names ``path`` and the reason.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "new" / "note.txt"
        >>> with replacing(path) as partial:
        ...     _ = partial.write_text("whole")
        >>> path.read_text(), len(list(path.parent.iterdir()))
        ('whole', 1)
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with storage_of(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        mode = partial.stat().st_mode
        try:
            yield partial
            partial.chmod(mode)
            os.replace(partial, path)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, as :func:`replacing` does."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


@contextmanager
def storage_of(path: Path, doing: str = "written") -> Iterator[None]:
    """Turn what the system says of a disk, quota or permission into a sentence about ``path``; the rest passes.

    Args:
        path: what the user knows of: the file or folder.
        doing: what cannot be done to it.

    Raises:
        StorageError: the block failed for such a reason.

    Example:
        >>> with storage_of(Path("runs/a/model.safetensors")):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
        accord.errors.StorageError: runs/a/model.safetensors cannot be written: the disk is full: free some space, ...
    """
    try:
        yield
    except AccordError:
        raise
    except Exception as error:  # each library has its own kind; what they quote of the system decides
        reason = _reason(error)
        if reason is None:
            raise
        raise StorageError(f"{path} cannot be {doing}: {reason}") from error


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Turn what goes wrong while a file of ours is read into a sentence about ``path``.

    The block should do nothing but read the file and take apart what is in it.

    Args:
        path: the file, or the folder of several.
        remedy: what to do when it is missing or damaged.

    Raises:
        StorageError: it is missing, damaged, or cannot be read.

    Example:
        >>> import json
        >>> with reading(Path("runs/a/metrics.json"), "evaluate the run again"):
        ...     json.loads("{")
        Traceback (most recent call last):
        accord.errors.StorageError: runs/a/metrics.json is damaged (...): evaluate the run again
    """
    try:
        with storage_of(path, "read"):
            yield
    except AccordError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise StorageError(f"{path} is missing: {remedy}") from error
        raise
    except Exception as error:  # each format has its own
        said = " ".join(str(error).split()) or type(error).__name__
        said = f"it lacks {said}" if isinstance(error, KeyError) else said
        raise StorageError(f"{path} is damaged ({said[:_SAID]}): {remedy}") from error


def check_replaceable(path: Path, mark: bytes, kind: str) -> None:
    """Refuse to write over a file of another kind, which would be lost.

    Args:
        path: the file to be written.
        mark: what all files of its kind hold.
        kind: that kind, in words.

    Raises:
        StorageError: there is another file, or a folder.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "cat.png"
        >>> check_replaceable(path, b"Matplotlib", "figure of Accord")
        >>> _ = path.write_text("a photograph")
        >>> check_replaceable(path, b"Matplotlib", "figure of Accord")
        Traceback (most recent call last):
        accord.errors.StorageError: .../cat.png is there already and no figure of Accord: name another file, or ...
    """
    if not path.exists():
        return
    with storage_of(path, "replaced"), path.open("rb") as file:
        empty = not file.seek(0, os.SEEK_END)
        if empty or mmap(file.fileno(), 0, access=ACCESS_READ).find(mark) >= 0:
            return
    raise StorageError(f"{path} is there already and no {kind}: name another file, or delete it")


def _reason(error: BaseException) -> str | None:
    """What the system said, in words; None when the error is about something else."""
    number = error.errno if isinstance(error, OSError) else None
    quoted = _OS_ERROR.search(str(error))
    if number is None and quoted:
        number = int(quoted[1] or quoted[2])
    if number is None and "No space left" in str(error):
        number = errno.ENOSPC
    if number is None and error.__context__ is not None and error.__context__ is not error:
        return _reason(error.__context__)
    return _REASONS.get(number) if number is not None else None
