"""Work that takes longer than a page may: done one after the other beside the pages, which ask how far it is."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from accord.errors import AccordError, ConfigError

log = logging.getLogger("accord.serve")
_KEPT = 50  # finished jobs whose results are still there


@dataclass(frozen=True)
class Job:
    """Work that was begun.

    Args:
        key: what it is, such as ``probe runs/first``; the same key is the same work.
        title: for people.
    """

    key: str
    title: str
    _future: Future[Any] = field(repr=False, compare=False)

    @property
    def state(self) -> str:
        """``waiting``, ``running``, ``done`` or ``failed``."""
        if self._future.running():
            return "running"
        if not self._future.done():
            return "waiting"
        return "failed" if self._future.cancelled() or self._future.exception() else "done"

    @property
    def error(self) -> str:
        """Why it failed, in a sentence; empty where it did not."""
        if self.state != "failed":
            return ""
        error = None if self._future.cancelled() else self._future.exception()
        return str(error) if isinstance(error, AccordError) else "it could not be finished; the log has the reason"

    def result(self) -> Any:
        """What it found; only of work that is done."""
        return self._future.result(timeout=0)


class Jobs:
    """A queue with one worker.

    Example:
        >>> jobs = Jobs()
        >>> job = jobs.start("sum", "A sum", lambda: 1 + 1)
        >>> jobs.wait("sum").result()
        2
        >>> jobs.close()
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="accord-job")
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, key: str, title: str, work: Callable[[], Any]) -> Job:
        """Begin, or find what was begun under this key; failed work is begun anew."""
        with self._lock:
            known = self._jobs.get(key)
            if known is not None and known.state != "failed":
                return known
            job = Job(key, title, self._pool.submit(_logged, key, work))
            self._jobs[key] = job
            done = [name for name, each in self._jobs.items() if each.state in ("done", "failed")]
            for name in done[: max(len(self._jobs) - _KEPT, 0)]:
                del self._jobs[name]
            return job

    def get(self, key: str) -> Job:
        """The job of this key.

        Raises:
            ConfigError: there is none, or it was finished long ago.
        """
        with self._lock:
            if key not in self._jobs:
                raise ConfigError(f"there is no job {key!r} any more: start it again")
            return self._jobs[key]

    def forget(self, key: str) -> None:
        """Let a finished job be begun anew."""
        with self._lock:
            if key in self._jobs and self._jobs[key].state in ("done", "failed"):
                del self._jobs[key]

    def wait(self, key: str, seconds: float | None = None) -> Job:
        """The job, when it has ended."""
        job = self.get(key)
        with suppress(TimeoutError):
            job._future.exception(timeout=seconds)
        return job

    def close(self) -> None:
        """Drop what waits; what runs goes on until it ends or the process does."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _logged(key: str, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except AccordError:
        raise
    except Exception:
        log.exception("job %s failed", key)
        raise
