"""Where something was measured: the machine's class and the versions of what matters to a figure."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """The machine class: cores, processor, memory in GB and system, but no name that says whose it is.

    >>> machine()["cores"] >= 1
    True
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    found = {
        "cores": os.cpu_count(),
        "processor": processor(),
        "memory_gb": round(memory),
        "system": platform.system(),
    }
    return found | ({"accelerator": name} if (name := accelerator()) else {})


def processor() -> str:
    """The processor's model name, or its architecture where the system does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def accelerator() -> str:
    """The name of the CUDA card in use; empty where there is none, or nothing has asked for PyTorch."""
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else ""


def versions(*packages: str) -> dict[str, str]:
    """Python's version and those of the named distributions, where installed.

    >>> list(versions("accord", "no-such-package"))
    ['python', 'accord']
    """
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
