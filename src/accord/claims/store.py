"""Kept results: what one arm gave on one seed, under a name made of everything that decided it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accord.data.reading.sources import cache_folder
from accord.files import write_atomically


@dataclass(frozen=True)
class Result:
    """One arm on one seed.

    Args:
        metrics: metric -> value.
        seconds: wall time of building, training and measuring.
        training_seconds: wall time of the training alone; None for a function.
        steps: optimiser steps made; None for a function that does not say.
        epochs: passes over the training rows; likewise.
        place: machine, versions and commit of the training.
    """

    metrics: Mapping[str, float]
    seconds: float
    training_seconds: float | None = None
    steps: int | None = None
    epochs: int | None = None
    place: Mapping[str, Any] = field(default_factory=dict)


def key_of(facts: Mapping[str, Any]) -> str:
    """Hash of everything that decides a result.

    >>> key_of({"seed": 0}) == key_of({"seed": 0}), key_of({"seed": 0}) == key_of({"seed": 1})
    (True, False)
    """
    text = json.dumps(facts, sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def recall(key: str) -> Result | None:
    """The result kept under a key, None where there is none that can be read."""
    try:
        return Result(**json.loads(_path(key).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def keep(key: str, result: Result) -> None:
    """Keep a result in the cache folder, in one move."""
    path = _path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(result)))


def _path(key: str) -> Path:
    return cache_folder("claims", f"{key}.json")
