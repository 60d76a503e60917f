"""The folder of a run: what may become one, who writes into it, and that a failed start leaves nothing behind.

One process owns the folder while it writes: it holds the lock of the hidden file ``.lock``, which the system lets go
when the process ends, however it ends. The file stays and is empty; ``.owner`` says who has it.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from accord.data.reading.sources import cache_folder
from accord.data.splits import Splits
from accord.errors import ConfigError
from accord.files import reading, storage_of, write_atomically
from accord.training.artifact import CONFIG

SPLITS, QUARANTINE, COMPARISON = "splits.json", "quarantine.jsonl", "comparison.json"
MEASURED = "measured"  # folder of what a comparison measured so far
_LOCK, _OWNER = ".lock", ".owner"
_TRACES = frozenset({_LOCK, _OWNER, SPLITS, QUARANTINE})  # what stands in a folder before its ``config.yaml``
_NAMED = 3  # names of what is in the way


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, finished or not: a configuration of one, and the rows that it set apart.

    A ``config.yaml`` alone makes no run: it may be the user's own.
    """
    return (folder / CONFIG).is_file() and (folder / SPLITS).is_file()


def require_rows(data: str | Path | None, verb: str) -> None:
    """Refuse the folder of a run where rows are wanted.

    Raises:
        ConfigError: it is one; says where its rows are.
    """
    if data is not None and is_run(Path(data)):
        source = run_config(Path(data)).get("data", {}).get("source") or "DATA"
        raise ConfigError(f"{data} is a run, no data: name its rows too, by accord {verb} {source} --run {data}")


def run_config(folder: Path) -> dict[str, Any]:
    """The configuration that a run began with.

    Raises:
        ConfigError: there is no run.
        StorageError: the file is damaged.
    """
    if not is_run(folder):
        raise ConfigError(f"there is no run in {folder} to go on with: leave --resume out to start one there")
    path = folder / CONFIG
    with reading(path, "put it back from a copy, or train anew into another folder"):
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return {key: values[key] for key in values if key != "data_info"}


def require_comparison(folder: Path) -> None:
    """Refuse to go on with a comparison that was not begun.

    Raises:
        ConfigError: there is none.
    """
    if not _is_comparison(folder):
        raise ConfigError(f"there is no comparison in {folder} to go on with: leave --resume out to start one there")


def _is_comparison(folder: Path) -> bool:
    return (folder / COMPARISON).is_file() or (folder / MEASURED).is_dir()


@contextmanager
def owned(
    folder: Path,
    *,
    data: Sequence[str] = (),
    resume: bool = False,
    begun: Callable[[Path], object] = run_config,
) -> Iterator[None]:
    """Be the only one who writes a run into ``folder``, which is made if need be.

    If the block fails before it has written anything of its own, everything is as it was.

    Args:
        folder: an empty or new one; with ``resume`` that of a run.
        data: the sources that are read, which the folder must not be part of.
        resume: go on with what is there.
        begun: raises where there is nothing to go on with.

    Raises:
        ConfigError: there is something else in the folder or, with ``resume``, no run; it lies in the data; or another
            process is writing into it.
        StorageError: the folder cannot be made.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "runs" / "first"
        >>> with owned(folder), owned(folder):
        ...     pass
        Traceback (most recent call last):
        accord.errors.ConfigError: ... is being written by process ...: wait until that has ended, or ...
        >>> folder.parent.exists()
        False
    """
    for source in () if resume else data:
        require_outside(folder, source)
    if resume or not (folder / _LOCK).exists():  # else its owner may be at work, and that is what has to be told
        _require_fitting(folder, resume, begun)
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    with storage_of(folder, "made"):
        folder.mkdir(parents=True, exist_ok=True)
    lock = _acquire(folder)
    try:
        _require_fitting(folder, resume, begun)
        yield
    except BaseException:
        _withdraw(folder, made)
        raise
    finally:
        (folder / _OWNER).unlink(missing_ok=True)
        lock.release()


def list_for(folder: Path) -> Path:
    """Where a start lists bad rows, in the cache: messages name it, and the folder goes if the start fails."""
    unique = hashlib.blake2b(str(folder.resolve()).encode(), digest_size=4).hexdigest()
    return cache_folder("quarantine", f"{folder.name}-{unique}.jsonl")


def begin(folder: Path, config: Mapping[str, Any], splits: Splits) -> None:
    """Make an owned folder a run, so that an interrupted one says what it was: its rows, and last its configuration.

    Raises:
        StorageError: a file cannot be written.
    """
    listed = list_for(folder)
    write_atomically(folder / QUARANTINE, listed.read_text(encoding="utf-8") if listed.is_file() else "")
    splits.save(folder / SPLITS)
    write_atomically(folder / CONFIG, yaml.safe_dump(dict(config), sort_keys=False))


def require_outside(folder: Path, source: str) -> None:
    """Refuse a folder that is the data's or lies in it: what is written there would become data.

    Raises:
        ConfigError: it is or does.
    """
    data, out = Path(source).expanduser().resolve(), folder.resolve()
    if data.is_dir() and (out == data or data in out.parents):
        place = "is the data folder" if out == data else f"lies in the data folder {source}"
        better = os.path.relpath(data.parent / "runs" / data.name)
        raise ConfigError(f"{folder} {place}: name a folder outside of it, such as --out {better}")


def _require_fitting(folder: Path, resume: bool, begun: Callable[[Path], object]) -> None:
    """Refuse to start where something is, and to go on where nothing is."""
    if resume:
        begun(folder)
    elif is_run(folder):
        raise ConfigError(f"{folder} already holds a run: pass --resume to go on, or another --out")
    elif _is_comparison(folder):
        raise ConfigError(
            f"{folder} already holds a comparison: pass another --out, or to accord compare --resume to go on with it"
        )
    elif others := things_in(folder):
        raise ConfigError(
            f"{folder} is not empty and no run of Accord (it holds {others}): name a new or an empty folder with --out"
        )


def things_in(folder: Path, ours: Sequence[str] = ()) -> str:
    """What a folder holds, in words, besides files that are ``ours`` and traces of a start; empty where it is free."""
    if not folder.is_dir():
        return ""
    known = {*ours, *(_TRACES if (folder / _LOCK).exists() else ())}
    with storage_of(folder, "read"):
        names = sorted(entry.name for entry in folder.iterdir() if entry.name not in known)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _acquire(folder: Path) -> FileLock:
    """The lock of the folder, with a note of who has it.

    Raises:
        ConfigError: another process has it.
    """
    lock = FileLock(folder / _LOCK, timeout=0)
    with storage_of(folder / _LOCK):
        try:
            lock.acquire()
        except Timeout:
            raise ConfigError(
                f"{folder} is being written by {_owner(folder)}: wait until that has ended, or name another folder "
                "with --out"
            ) from None
        now = datetime.now().astimezone().strftime("%H:%M on %-d %B")
        note = {"process": os.getpid(), "machine": socket.gethostname(), "since": now}
        try:
            write_atomically(folder / _OWNER, json.dumps(note))
        except BaseException:
            lock.release()
            raise
    return lock


def is_owned(folder: Path) -> bool:
    """Whether a process writes into the folder just now; the note of one that was killed does not count.

    Of a process on another machine that is not known: its note is believed.
    """
    note = _note(folder)
    if note is None or note["machine"] != socket.gethostname():
        return note is not None
    try:
        os.kill(note["process"], 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # there is one, of another user
        return True
    return True


def _owner(folder: Path) -> str:
    """Who writes into the folder, in words."""
    note = _note(folder)
    if note is None:  # it has this very moment come or gone
        return "another process"
    return f"process {note['process']} on {note['machine']} (since {note['since']})"


def _note(folder: Path) -> dict[str, Any] | None:
    """What the owner wrote of itself: process, machine, since when; None where there is none that can be read."""
    try:
        note = json.loads((folder / _OWNER).read_text(encoding="utf-8"))
        return {"process": int(note["process"]), "machine": note["machine"], "since": note["since"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _withdraw(folder: Path, made: Sequence[Path]) -> None:
    """Take back what a start wrote, and the folders that were made for it, unless there is more by now."""
    if things_in(folder):
        return
    with suppress(OSError):
        for name in _TRACES:
            (folder / name).unlink(missing_ok=True)
        for place in made:  # the innermost first
            place.rmdir()
