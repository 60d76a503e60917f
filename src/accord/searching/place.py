"""Where what is made from a run may be written."""

from __future__ import annotations

from pathlib import Path

from accord.data.sources import cache_folder
from accord.shipped import SHIPPED, run_folder


def writable_folder(run: str | Path) -> Path:
    """The run's own folder, or one in the user's cache for a model that ships with Accord.

    Raises:
        ConfigError: there is no such run.
    """
    folder = run_folder(run)
    return cache_folder("shipped", folder.name) if folder.parent == SHIPPED else folder
