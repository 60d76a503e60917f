"""Checkpoints that a kill at any moment cannot spoil, and that run no code when they are read.

A checkpoint is written beside its place, flushed to the disk and renamed, so that the file under the final name is
always whole. It is read with ``weights_only=True``: tensors and plain values, no arbitrary objects.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from accord.errors import DataError
from accord.files import replacing, storage_of

ANEW = "delete it, and --resume trains anew in this folder"  # what to do about a damaged one


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """Write ``content`` (tensors and plain values) so that ``path`` is at no time half written."""
    with replacing(path) as partial, partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())


def load_plain(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU without running anything that is in it.

    Raises:
        DataError: the file is damaged, or holds objects other than tensors and plain values.
        StorageError: the system does not give it.
    """
    try:
        with storage_of(path, "read"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it ends too early"
        raise DataError(f"checkpoint {path} cannot be read ({reason}): {ANEW}") from None


class AtomicCheckpointIO(CheckpointIO):
    """The way the Trainer writes and reads: :func:`save_atomically` and :func:`load_plain`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path`` atomically."""
        save_atomically(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Read ``path`` onto the CPU; anything but tensors and plain values is refused."""
        return load_plain(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Delete ``path`` if it is there."""
        Path(path).unlink(missing_ok=True)
