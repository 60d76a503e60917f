"""Where what is made from a run may be written."""

from __future__ import annotations

from pathlib import Path

from accord.data.reading.sources import cache_folder
from accord.encoders.bundles import bundle_key
from accord.shipped import SHIPPED, is_bundle, run_folder


def writable_folder(run: str | Path) -> Path:
    """The run's own folder, or one in the user's cache for a bundle, and for a model that ships with Accord.

    Raises:
        ConfigError: there is no such run or bundle.
    """
    if is_bundle(run):
        return cache_folder("bundles", bundle_key(str(run)))
    if Path(run).parent == cache_folder("bundles"):
        return Path(run)
    folder = run_folder(run)
    return cache_folder("shipped", folder.name) if folder.parent == SHIPPED else folder
