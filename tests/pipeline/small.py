"""A run small enough for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def small_run(shapes: Path, **changes: Any) -> dict[str, Any]:
    run: dict[str, Any] = {
        "data": {"source": str(shapes), "split": {"test": 0.25}},
        "method": {"name": "clip", "dim": 16},
        "encoders": {
            "image": {"name": "tiny_convnet", "options": {"size": 32}},
            "text": {"name": "tiny_text", "options": {"width": 32, "depth": 1, "heads": 2}},
        },
        "training": {"epochs": 40, "batch_size": 12, "lr": 3e-3, "accelerator": "cpu"},
    }
    return {**run, **changes}
