"""Vectors of summaries by the packaged text encoder, kept in the user's cache so that each text is encoded once."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TypeAlias

import numpy as np

from accord.data.cache import cache_folder, dispensable
from accord.files import storage_of

Embed: TypeAlias = Callable[[Sequence[str]], np.ndarray]
_BATCH = 64
_ENCODING = Lock()  # tokenizers are no good for several threads at once


@cache
def encoder() -> Embed | None:
    """The packaged text encoder: N texts -> ``(N, 384)`` unit vectors; None where its package is not installed.

    Nothing is downloaded. May be called by several threads.
    """
    from accord.encoders import build_encoder
    from accord.encoders.text import MINILM, pooled_texts
    from accord.encoders.weights import packaged

    folder = packaged(MINILM)
    if folder is None:
        return None
    network = build_encoder("text", MINILM.name, weights=folder).eval()

    def embed(texts: Sequence[str]) -> np.ndarray:
        with _ENCODING:
            vectors: np.ndarray = pooled_texts(network, texts, batch_size=_BATCH).numpy()
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return embed


def kept_vectors(texts: Sequence[str], embed: Embed) -> np.ndarray:
    """Vectors of the texts, ``(N, D)``; those that are new are computed, and kept where the cache can be written."""
    keys = [hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in texts]
    known = _read(keys)
    new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if new:
        computed = dict(zip(new, embed(list(new.values())).astype(np.float32), strict=True))
        known |= computed
        with dispensable("vectors of summaries"), storage_of(_place()), suppress(sqlite3.Error):
            _write(computed)
    return np.stack([known[key] for key in keys]) if keys else np.empty((0, 0), np.float32)


def _place() -> Path:
    return cache_folder("papers", "vectors-minilm.sqlite")


def _read(keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
    """What is kept of them; a cache that cannot be read is as good as none."""
    wanted = set(keys)
    if not _place().is_file():
        return {}
    try:
        with closing(sqlite3.connect(_place(), timeout=30)) as db:
            found = db.execute("SELECT key, vector FROM vectors").fetchall()
    except sqlite3.Error:
        return {}
    return {key: np.frombuffer(vector, np.float32) for key, vector in found if key in wanted}


def _write(vectors: dict[bytes, np.ndarray]) -> None:
    _place().parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(_place(), timeout=30)) as db, db:
        db.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID")
        lines = [(key, vector.tobytes()) for key, vector in vectors.items()]
        db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", lines)
