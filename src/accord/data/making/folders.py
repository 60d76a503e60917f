"""Folders of made data: they appear in one move, hold ``metadata.jsonl``, and are the same for the same seed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from accord.errors import ConfigError
from accord.files import storage_of


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` to write to, which becomes ``out`` when the block ends well and is removed otherwise.

    Raises:
        ConfigError: the folder exists.
        StorageError: it cannot be written, such as on a full disk.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already: name another folder")
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    with storage_of(out):
        partial.mkdir(parents=True)
        try:
            yield partial
            os.replace(partial, out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def write_rows(folder: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write ``metadata.jsonl``, a line a row."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text(lines, encoding="utf-8")


def write_frames(folder: Path, pictures: Iterable[Image.Image]) -> None:
    """Write a clip as a folder of numbered pictures."""
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        picture.save(folder / f"{number:04}.png")


def own_seed(seed: int, number: int) -> int:
    """The seed of one of many things, so that it does not depend on how many there are.

    >>> own_seed(0, 1) == own_seed(0, 1) != own_seed(1, 0)
    True
    """
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
