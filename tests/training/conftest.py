"""The toy method, and runs of it in processes of their own."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from toy_run import train


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or leaves features in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: folder)
    return folder


@pytest.fixture(scope="session")
def fork_server() -> Any:
    """Processes that are forked from one that has done the imports and nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["toy_run"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        forkserver.ensure_running()
    return context


@pytest.fixture
def run_toy(fork_server: Any) -> Callable[..., int]:
    """Train the toy in one or more processes; returns the first one's exit code."""

    def run(run_dir: Path, processes: int = 1, **task: Any) -> int:
        run_dir.mkdir(parents=True, exist_ok=True)
        worlds = [_world(rank, processes) for rank in range(processes)] if processes > 1 else [None]
        children = [fork_server.Process(target=train, args=(run_dir, task, world)) for world in worlds]
        for child in children:
            child.start()
        for child in children:
            child.join(timeout=60)
        return children[0].exitcode

    port = str(_free_port())

    def _world(rank: int, processes: int) -> dict[str, str]:
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": str(processes)}
        return {**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}

    return run


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@pytest.fixture
def run_here() -> Callable[..., None]:
    """Train the toy in this process, single-threaded like the others."""

    def run(run_dir: Path, **task: Any) -> None:
        threads = torch.get_num_threads()
        run_dir.mkdir(parents=True, exist_ok=True)
        try:
            train(run_dir, task)
        finally:
            torch.set_num_threads(threads)

    return run


@pytest.fixture
def final() -> Callable[[Path], dict[str, torch.Tensor]]:
    """The weights and buffers a run ended with."""
    return lambda run_dir: torch.load(run_dir / "final.pt", weights_only=True)


@pytest.fixture
def losses() -> Callable[[Path], list[dict[str, Any]]]:
    """The lines of train.jsonl without the throughput."""

    def read(run_dir: Path) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (run_dir / "train.jsonl").read_text().splitlines()]
        return [{name: value for name, value in line.items() if name != "rows_per_second"} for line in lines]

    return read
