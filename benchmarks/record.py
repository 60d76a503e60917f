"""Where a measurement was made, and the file that keeps it: ``benchmarks/results/NAME.json``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from accord.claims.machine import machine, versions

RESULTS = Path(__file__).parent / "results"


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
