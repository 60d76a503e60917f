"""Large arrays on Linux: their memory stays with the process between two uses.

glibc asks the system for the pages of every array above 32 MB when it is made, and gives them back when it is freed.
Activations of a few dozen pictures are as large; a third to a half of a step on CPUs then is the system clearing pages.
"""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names in malloc.h
FROM_THE_HEAP = 1 << 30  # bytes; larger arrays are mapped by themselves as before
OWN_SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed arrays of up to 1 GiB for the next ones, until it ends.

    The most memory that a process takes at once grows, as pieces of different size do not always fit each other's
    place; :func:`return_freed_memory` gives back what is free. Settings of the allocator in the environment stay.

    Returns:
        Whether it does now: False without glibc, or where the environment has settings.

    Example:
        >>> keep_freed_memory() in (True, False)
        True
    """
    if any(name in os.environ for name in OWN_SETTINGS):
        return False
    library = _glibc()
    return library is not None and all(
        library.mallopt(name, size) for name, size in ((M_MMAP_THRESHOLD, FROM_THE_HEAP), (M_TRIM_THRESHOLD, 2**31 - 1))
    )


def return_freed_memory() -> None:
    """Give free memory back to the system, where glibc holds it.

    Example:
        >>> return_freed_memory()
    """
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> Any:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
