"""Where a measurement was made, and the file that keeps it: ``benchmarks/results/NAME.json``."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """The machine class: cores, processor, memory in GB and system, but no name that says whose it is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "cores": os.cpu_count(),
        "processor": processor(),
        "memory_gb": round(memory),
        "system": platform.system(),
    }


def processor() -> str:
    """The processor's model name, or its architecture where the system does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions(*packages: str) -> dict[str, str]:
    """Python's version and those of the named distributions, where installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write(name: str, rows: list[dict[str, Any]], packages: tuple[str, ...]) -> Path:
    """Write ``results/NAME.json`` in one move, so that a stopped run leaves the old file.

    Args:
        name: the benchmark's name.
        rows: one flat dict per measured thing, all with the same keys.
        packages: distributions whose versions matter to the figures.

    Returns:
        The file written.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    record = {"benchmark": name, "machine": machine(), "versions": versions(*packages), "rows": rows}
    beside = path.with_suffix(".json.part")
    beside.write_text(json.dumps(record, indent=2) + "\n")
    os.replace(beside, path)
    return path
