"""Embedding a corpus on Ray: the workers of this machine, or of a cluster, share its rows.

Ray Data deals out ranges of rows. A worker loads the model and opens the corpus at the first range that it gets, reads
the pictures itself and sends vectors back. The ranges are the batches in which a model embeds alone, so that the
vectors are the same. When a worker dies, Ray starts another and deals its ranges out again, as often as it takes: that
is how Ray Data runs its actors (``max_restarts`` and ``max_task_retries`` are -1).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from accord.data.corpus import Corpus
from accord.data.handover import Handover, hand_over, take_over
from accord.data.loading.loader import EpochLoader
from accord.errors import ConfigError, require
from accord.searching.rows import rows_at_once
from accord.shipped import absolute_name, is_export
from accord.training.model import Model
from accord.training.named import named_model
from accord.training.onnx import OnnxModel

_BATCH = 64  # rows embedded at once
_TASK = 16  # ranges dealt out at once, where there are many: what is done again when a worker dies
_SHARES = 4  # tasks of each worker, at least
_PATIENCE = 10  # seconds for a cluster to answer
_DEVICES = ("auto", "cpu", "cuda")


def embed_on_ray(
    run: str | Path,
    corpus: Corpus,
    source: str | Path,
    modalities: Sequence[str],
    workers: int = 2,
    device: str = "auto",
) -> dict[str, Tensor]:
    """Embeddings ``(N, D)`` of every row of ``corpus``, in order, by modality, float32 on the CPU.

    A Ray cluster that runs already is used: the one that this process is connected to, that of ``RAY_ADDRESS``, or one
    on this machine; else Ray is started here and shut down afterwards. Each worker takes one processor core, or its
    share of a GPU where there are any.

    Args:
        run: run, ONNX export or bundle; every machine that has workers must have it.
        corpus: the rows.
        source: what ``corpus`` was opened from; likewise.
        modalities: those to embed.
        workers: how many processes embed.
        device: ``auto`` uses GPUs where there are any, ``cuda`` asks for them, ``cpu`` leaves them alone.

    Raises:
        ConfigError: ``workers`` is less than 1, nothing answers at ``RAY_ADDRESS``, or there is no such device.
        DataError: a worker cannot read the source.
        RowError: a row has gone bad since the corpus was opened.
        MissingExtraError: Ray is not installed.
    """
    if workers < 1:
        raise ConfigError(f"workers = {workers}: expected 1 or more")
    if device not in _DEVICES:
        raise ConfigError(f"--device {device}: with Ray expected one of {', '.join(_DEVICES)}")
    starts = {modality: range(0, len(corpus), rows_at_once(corpus, [modality], _BATCH)) for modality in modalities}
    ranges = [
        {"modality": modality, "start": start, "stop": min(start + starts[modality].step, len(corpus))}
        for modality in modalities
        for start in starts[modality]
    ]
    vectors: dict[tuple[str, int], Tensor] = {}
    with ray_cluster(workers) as ray:
        gpus = _gpus(ray, run, device)
        for row in _results(ray, ranges, absolute_name(run), hand_over(corpus, source), workers, gpus):
            values = torch.frombuffer(bytearray(row["vectors"]), dtype=torch.float32)
            vectors[row["modality"], row["start"]] = values.reshape(row["stop"] - row["start"], -1)  # (B, D)
    return {name: torch.cat([vectors[name, start] for start in starts[name]]) for name in modalities}


def _gpus(ray: ModuleType, run: str | Path, device: str) -> float:
    """How many GPUs the workers share."""
    found: float = 0 if device == "cpu" or is_export(run) else ray.cluster_resources().get("GPU", 0)
    if device == "cuda" and not found:
        raise ConfigError("--device cuda: the Ray cluster has no GPU; leave it out, or take cpu")
    return found


def _results(
    ray: ModuleType, ranges: list[dict[str, Any]], run: str, sent: Handover, workers: int, gpus: float
) -> Iterator[dict[str, Any]]:
    """What the workers make of the ranges, in any order."""
    share = {"num_gpus": 1 / ceil(workers / gpus)} if gpus else {"num_cpus": 1}
    held = ray.put(sent)  # once for all workers of a machine
    count = max(len(ranges) // _TASK, min(len(ranges), _SHARES * workers))
    tasks = ray.data.from_items(ranges, override_num_blocks=count)
    tasks.context.enable_progress_bars = False
    tasks.context.raise_original_map_exception = True
    embedded = tasks.map_batches(
        Worker,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(workers, count)),
        fn_constructor_args=(run, [held], "cuda" if gpus else "cpu"),
        **share,
    )
    console = Console(stderr=True)
    try:
        yield from track(
            embedded.iter_rows(),
            f"embedding with {workers} workers",
            total=len(ranges),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error


class Worker:
    """What Ray runs in each of its processes.

    Nothing is loaded before the first range: Ray gives up on a worker that dies while it is made.

    Args:
        run: run, ONNX export or bundle.
        held: Ray's reference to the corpus, in a list so that it is looked up when it is needed.
        device: where the model runs.
    """

    def __init__(self, run: str, held: list[Any], device: str) -> None:
        self.run, self.held, self.device = run, held, device
        self._loaders: dict[str, EpochLoader] = {}

    @cached_property
    def model(self) -> Model | OnnxModel:
        """The model, with one thread for the one core that the worker takes."""
        torch.set_num_threads(1)
        return OnnxModel(Path(self.run), threads=1) if is_export(self.run) else named_model(self.run, self.device)

    @cached_property
    def corpus(self) -> Corpus:
        """The rows."""
        return take_over(require("ray", "ray").get(self.held[0]))

    def loader(self, modality: str) -> EpochLoader:
        """Makes the batches of a modality."""
        if modality not in self._loaders:
            self._loaders[modality] = self.model.loader(self.corpus, (modality,))
        return self._loaders[modality]

    def __call__(self, table: pa.Table) -> pa.Table:
        """Embed the range in a table of one row, which gets ``vectors`` (float32) besides."""
        (wanted,) = table.to_pylist()
        fetched = self.loader(wanted["modality"]).dataset[0, np.arange(wanted["start"], wanted["stop"])]
        if fetched.error:
            raise fetched.error
        vectors = self.model.embed_batch(fetched.batch, wanted["modality"]).numpy()
        return table.append_column("vectors", pa.array([vectors.tobytes()], pa.large_binary()))


@contextmanager
def ray_cluster(workers: int) -> Iterator[ModuleType]:
    """Ray, connected: as it is, or to a cluster that runs, or to one of ``workers`` cores that is started and stopped.

    Raises:
        ConfigError: nothing answers at ``RAY_ADDRESS``.
        MissingExtraError: Ray is not installed.
    """
    ray = require("ray", "ray")
    logger = logging.getLogger(require("ray.data", "ray").__name__)
    consoles = [handler for handler in logger.handlers if isinstance(handler, logging.StreamHandler)]
    connected = ray.is_initialized()
    if not connected:
        _connect(ray, workers)
    for console in consoles:
        console.addFilter(_worth_saying)
    try:
        yield ray
    finally:
        for console in consoles:
            console.removeFilter(_worth_saying)
        if not connected:
            ray.shutdown()


def _worth_saying(record: logging.LogRecord) -> bool:
    """Warnings, such as of a cluster that is full; errors are raised as well, and plans and bars are noise."""
    return record.levelno == logging.WARNING and ".progress" not in record.name


def _connect(ray: ModuleType, workers: int) -> None:
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), _PATIENCE).close()  # Ray itself would try for minutes
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"RAY_ADDRESS = {address}: {reason}; start that Ray cluster, or unset it") from None
    options = {"logging_level": "ERROR", "log_to_driver": False}
    with _muted():
        try:
            ray.init(address="auto", **options)
        except ConnectionError:  # none is running
            if address:
                raise
            ray.init(address="local", num_cpus=workers, include_dashboard=False, **options)


@contextmanager
def _muted() -> Iterator[None]:
    """Without the log of Ray's native side, which goes to stderr whatever Python's loggers say."""
    name, kept = "RAY_BACKEND_LOG_LEVEL", os.dup(2)
    chosen = os.environ.get(name)
    os.environ.setdefault(name, "fatal")
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        if chosen is None:
            del os.environ[name]
