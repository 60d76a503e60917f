"""Training curves from the log that training writes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NOT_TERMS = {"stage", "epoch", "step"}


def read_curves(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Curves of ``train.jsonl``: ``"stage/term"`` -> ``[(step, value), …]`` in order of steps.

    A step that a resumed run logged twice counts once, as logged last; a last line cut off by a killed process
    and values that are not finite are left out.

    Example:
        >>> from tempfile import NamedTemporaryFile
        >>> with NamedTemporaryFile("w", suffix=".jsonl") as log:
        ...     _ = log.write('{"stage": "train", "epoch": 0, "step": 5, "total": 2.5}\\n{"stage": "tr')
        ...     log.flush()
        ...     read_curves(Path(log.name))
        {'train/total': [(5, 2.5)]}
    """
    curves: dict[str, dict[int, float]] = {}
    for line in _lines(path):
        for term, value in line.items():
            if term not in _NOT_TERMS and isinstance(value, int | float) and math.isfinite(value):
                curves.setdefault(f"{line['stage']}/{term}", {})[int(line["step"])] = float(value)
    return {name: sorted(points.items()) for name, points in curves.items()}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as log:
        for text in log:
            try:
                yield json.loads(text)
            except json.JSONDecodeError:
                continue
