"""Run a function in two processes, of one gloo group or as torchrun starts them, and collect what each returns.

They are forked from a server that has imported what most of them need, once for all tests of a worker.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import socket
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import torch
from torch import distributed as dist
from torch import multiprocessing

WORLD = 2
IMPORTED = ["accord.training.fit", "accord.methods.registry"]


def run_two_processes(fn: Callable[..., Any], *args: Any, timeout: float = 90.0, torchrun: bool = False) -> list[Any]:
    """Call ``fn(rank, *args)`` in two processes of one gloo group.

    Args:
        fn: a function at the top level of a file; it returns tensors, numbers, strings, or containers of these.
        args: pickled into both processes.
        timeout: seconds until both are ended and the test fails.
        torchrun: leave it to them to meet, by the environment that torchrun gives its processes.

    Returns:
        The two results, by rank.

    Raises:
        AssertionError: a process failed (with its traceback) or did not end in time.
    """
    source = inspect.getsourcefile(fn)
    assert source is not None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with TemporaryDirectory() as folder:
        environment = torchrun_environment() if torchrun else {}
        work = (Path(source), fn.__name__, args, Path(folder), timeout, environment)
        processes = [context.Process(target=_child, args=(rank, *work)) for rank in range(WORLD)]
        for process in processes:
            process.start()
        until = monotonic() + timeout
        for process in processes:
            process.join(max(0.0, until - monotonic()))
        late = [process for process in processes if process.is_alive()]
        for process in late:
            process.kill()
            process.join()
        errors = [path.read_text() for path in sorted(Path(folder).glob("error*"))]
        assert not errors, "\n".join(errors)
        assert not late, f"{len(late)} of {WORLD} processes did not end within {timeout} s"
        return [torch.load(Path(folder) / f"result{rank}", weights_only=True) for rank in range(WORLD)]


def torchrun_environment() -> dict[str, str]:
    """What torchrun tells all of its processes, of two on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": str(WORLD), "LOCAL_WORLD_SIZE": str(WORLD), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    return {**world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def _child(
    rank: int,
    source: Path,
    name: str,
    args: tuple[Any, ...],
    folder: Path,
    timeout: float,
    environment: dict[str, str],
) -> None:
    torch.set_num_threads(1)
    try:
        if environment:
            os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
        else:
            store = dist.FileStore(str(folder / "store"), WORLD)
            limit = timedelta(seconds=timeout)
            dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD, timeout=limit)
        result = getattr(_load(source), name)(rank, *args)
        torch.save(result, folder / f"result{rank}")
        if dist.is_initialized():
            dist.destroy_process_group()
    except BaseException:
        (folder / f"error{rank}").write_text(f"rank {rank}: {traceback.format_exc()}")
        raise


def _load(source: Path) -> Any:
    """Import a test file by its path: pytest gave it a name that another process cannot find."""
    spec = importlib.util.spec_from_file_location(source.stem, source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
