"""When the cache cannot be written: going on without it where that is possible, else saying how to have another."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from accord.errors import StorageError
from accord.files import storage_of

_log = logging.getLogger("accord.data")
_warned: list[str] = []


@contextmanager
def dispensable(what: str) -> Iterator[None]:
    """Do without what the block writes if it cannot be written, with one warning for the first of all such things.

    Args:
        what: what is then not kept.
    """
    try:
        yield
    except StorageError as error:
        if not _warned:
            _log.warning("%s: not kept, since %s; this goes on without it", what, error)
        _warned.append(what)


@contextmanager
def indispensable() -> Iterator[None]:
    """For a block that reads through tables in the cache, without which there are no rows.

    Raises:
        StorageError: they cannot be written; names the cache and how to take another folder for it.
    """
    try:
        with storage_of(platformdirs.user_cache_path("accord")):
            yield
    except StorageError as error:
        raise StorageError(f"{error}, by XDG_CACHE_HOME=FOLDER before the command") from error


def cache_folder(*parts: str) -> Path:
    """A folder below Accord's place in the platform's cache directory."""
    return platformdirs.user_cache_path("accord").joinpath(*parts)
