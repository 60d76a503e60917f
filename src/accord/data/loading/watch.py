"""Who reads what: a worker that is killed can no longer say which row did it, so each notes it down before."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch.utils.data import get_worker_info

_LENGTH = 512  # bytes of a note


class Watch:
    """Notes of the workers in shared memory.

    Args:
        workers: number of worker processes; without any there is nothing to note.
    """

    def __init__(self, workers: int) -> None:
        self._notes = torch.zeros(workers, _LENGTH, dtype=torch.uint8).share_memory_()
        self._processes = torch.full((workers,), -1, dtype=torch.int64).share_memory_()

    @contextmanager
    def reading(self, note: str) -> Iterator[None]:
        """While this worker reads what ``note`` names."""
        worker = get_worker_info()
        if worker is None:
            yield
            return
        content = note.encode(errors="replace")[:_LENGTH]
        self._notes[worker.id, : len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        self._notes[worker.id, len(content) :] = 0
        self._processes[worker.id] = os.getpid()
        try:
            yield
        finally:  # not reached by a process that dies
            self._processes[worker.id] = -1

    def notes(self, processes: Collection[int]) -> list[str]:
        """What these processes were reading when they were last heard of."""
        found = zip(self._processes.tolist(), self._notes, strict=True)
        return [_text(note) for process, note in found if process in processes]


def _text(note: torch.Tensor) -> str:
    return bytes(note.tolist()).rstrip(b"\0").decode(errors="replace")
