"""Training: a method and a corpus become a trained method, in stages, resumable at any step.

One Lightning Trainer runs each stage. What a stage does at a step is in :mod:`accord.training.module`; what is
decided here is which stage comes next, and where a resumed run starts.
"""

from __future__ import annotations

import logging
import re
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from rich.console import Console
from torch import Tensor

from accord.data.corpus import Corpus
from accord.errors import ConfigError, ProcessError
from accord.files import reading, storage_of
from accord.functional.distributed import world_size
from accord.methods.base import Method, Stage
from accord.processes import is_first_process
from accord.training.allocator import keep_freed_memory, return_freed_memory
from accord.training.batch_norm import share_batch_norm
from accord.training.caching import feature_caches
from accord.training.checkpoint import ANEW, AtomicCheckpointIO, load_plain
from accord.training.config import TrainingConfig
from accord.training.device import resolve_device
from accord.training.identity import check_identity, fixed_encoders, identity_of, without
from accord.training.journal import Journal
from accord.training.module import CONTENT, Probe, Run, StageModule
from accord.training.seeding import seed_everything
from accord.training.stages import Position, trained_in
from accord.training.standing import STANDING
from accord.training.start import check_machine, check_start, rows_per_step

# What gloo and NCCL say when a peer is gone, and what Lightning and PyTorch say of parameters without gradient
_GONE = re.compile("closed by peer|reset by peer|Broken pipe|remote process exited|heartbeat|Timed out|aborted", re.I)
_OUTSIDE = re.compile("got mixed torch.Tensor and DTensor")
_LEFT_OUT = re.compile("not used in producing the loss|Expected to have finished reduction")


@dataclass(frozen=True)
class FitResult:
    """What a call of :func:`fit` did.

    Args:
        steps: optimiser steps made by this call (a resumed run counts from where it resumed).
        seconds: wall time of the stages, hooks and checkpoints included, caching of features not.
        steps_per_second: the quotient, 0 when no step was left to make.
    """

    steps: int
    seconds: float
    steps_per_second: float


def fit(
    method: Method,
    corpus: Corpus,
    config: TrainingConfig,
    run_dir: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    probe: Probe | None = None,
) -> FitResult:
    """Train ``method`` on ``corpus``, in place; one without stages only goes to the device.

    ``run_dir/train.jsonl`` receives one line per ``config.log_every`` steps (see :class:`Journal`), and
    ``run_dir/checkpoints/last.ckpt`` the state every ``config.checkpoint_every`` steps and after each stage.
    ``run_dir/progress.json`` says where training stands (see :class:`~accord.training.standing.Standing`).
    A run that was killed continues with ``resume=True`` as if it had not been: on a CPU, bit for bit.

    Under ``torchrun`` or SLURM every process calls this function; with ``config.devices > 1`` alone, the further
    processes are started here.

    Args:
        method: the method, freshly built with the same configuration when resuming.
        corpus: the training rows.
        config: the settings.
        run_dir: folder of the run, made if need be.
        resume: continue from the checkpoint if there is one; False starts over and replaces what is there.
        progress: show progress on standard error.
        probe: measures the method every ``config.probe_every`` epochs; what it gives joins the curves.

    Returns:
        Steps and time.

    Raises:
        ConfigError: settings do not fit the method, the data or the checkpoint.
        DataError: the checkpoint is damaged, too many rows are, or there are too few.
        StorageError: something cannot be written, such as on a full disk; the last checkpoint stays.
        DivergenceError: a loss term is not finite.
    """
    check_machine(config)
    check_start(method, corpus, config)
    if not method.stages:
        method.eval().to(resolve_device(config.accelerator))
        return FitResult(steps=0, seconds=0.0, steps_per_second=0.0)
    writes = is_first_process()
    console = Console(stderr=True) if progress and writes else None
    checkpoint, log = run_dir / "checkpoints" / "last.ckpt", run_dir / "train.jsonl"
    rows = _rows(method, corpus, config, console)
    fewer = {} if rows == config.batch_size or "graph" in method.needs else {"rows of a step": rows}
    identity = identity_of(method, corpus, config) | fewer
    saved = _read(checkpoint, identity) if resume else None
    if resume and saved is None and console is not None:
        console.print(f"no checkpoint yet in {run_dir}: trained from the start", highlight=False, soft_wrap=True)
    if saved is None and writes:
        with storage_of(run_dir):
            run_dir.mkdir(parents=True, exist_ok=True)
            for old in (checkpoint, log, run_dir / STANDING):
                old.unlink(missing_ok=True)

    seed_everything(config.seed)
    keep_freed_memory()
    if config.share_batch_norm:
        share_batch_norm(method)
    caches = feature_caches(method, corpus, config, console) if config.cache_features else {}
    journal = Journal(
        log,
        window=config.log_every,
        batch_size=rows,
        average=_mean_over_processes,
        writes=writes,
        loggers=config.loggers,
    )
    position = _restore(method, journal, saved) if saved else Position()
    fixed = frozenset(fixed_encoders(method))
    run = Run(corpus, config, checkpoint, journal, caches, console, identity, fixed, probe)
    start, clock = position.number, time.perf_counter()
    with journal, _lightning_manners(), _compiled(method, config.compile):
        for stage in method.stages[position.stage :]:
            with trained_in(method, stage) as trained:
                module = StageModule(method, stage, trained, position, run, saved if position.index else None)
                with _explained(method, stage):
                    build_trainer(config, run_dir, module.epochs - position.epoch, stage).fit(module)
            position = module.position
    method.eval().to(resolve_device(config.accelerator))  # the Trainer leaves it on the processor
    seconds, steps = time.perf_counter() - clock, position.number - start
    return_freed_memory()
    return FitResult(steps, seconds, steps / seconds if steps else 0.0)


def _rows(method: Method, corpus: Corpus, config: TrainingConfig, console: Console | None) -> int:
    """Rows of a step; says so where they are fewer than was asked for."""
    rows = rows_per_step(method, corpus, config)
    if console is not None and rows < config.batch_size and "graph" not in method.needs:
        drawn = f", drawn as {method.name} wants them" if method.sampling is not None else ""
        console.print(
            f"{corpus.name} has {len(corpus):,} training rows{drawn}: every step takes {rows} of them instead of "
            f"{config.batch_size} (--batch-size)",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    return rows


def build_trainer(config: TrainingConfig, run_dir: Path, epochs: int, stage: Stage) -> Trainer:
    """A Trainer that does nothing but loop: no validation, loggers or summaries of its own."""
    distributed = config.devices > 1 or config.strategy == "ddp"
    return Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        strategy=_exchanged(config, stage) if distributed else "auto",
        max_epochs=epochs,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=run_dir,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )


def _exchanged(config: TrainingConfig, stage: Stage) -> DDPStrategy:
    """How gradients are exchanged, and weights where these are sharded; buffers agree, see StageModule.

    With gradient caching the pass that is exchanged leaves out what the loss has besides the towers.
    """
    if config.strategy == "fsdp":
        from accord.training.sharding import ShardedStrategy

        return ShardedStrategy()
    left_out = stage.may_leave_out or config.micro_batch is not None
    return DDPStrategy(find_unused_parameters=left_out, broadcast_buffers=False)


def _read(checkpoint: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint to continue from, None when the run was stopped before its first.

    Raises:
        ConfigError: it belongs to a run with other settings or data.
        StorageError: it is no checkpoint of ours.
    """
    if not checkpoint.exists():
        return None
    saved = load_plain(checkpoint)
    with reading(checkpoint, ANEW):
        before = saved[CONTENT]["identity"]
    check_identity(before, identity, str(checkpoint.parent.parent))
    return saved


def _restore(method: Method, journal: Journal, saved: dict[str, Any]) -> Position:
    """Put the state of a checkpoint into method and journal."""
    state = {name.removeprefix("method."): value for name, value in saved["state_dict"].items()}
    own = method.state_dict()
    fixed = {name: own[name] for name in own.keys() - without(own, fixed_encoders(method)).keys()}
    method.reshape(state)
    method.load_state_dict({**state, **fixed})
    position = Position(**saved[CONTENT]["position"])
    journal.restore(saved[CONTENT]["window"], position.number)
    return position


@contextmanager
def _explained(method: Method, stage: Stage) -> Iterator[None]:
    """Say what is wrong and what to do, instead of what PyTorch says of batch norm and of other processes."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ConfigError(
            f"method {method.name}: batch norm has a single row to normalise: let a step have two rows at least on "
            "each device (training.batch_size, training.accumulate, training.micro_batch, or more training rows)"
        ) from error
    except RuntimeError as error:
        if _LEFT_OUT.search(str(error)):
            raise ConfigError(
                f"method {method.name}: a step of stage {stage.name!r} gave no gradient to some of the parameters that "
                "it trains, which several processes have to know: declare Stage(partial=True)"
            ) from error
        if _OUTSIDE.search(str(error)):
            raise ConfigError(
                f"training.strategy = fsdp: method {method.name} uses weights of an encoder's block outside of the "
                "block, where there is only a share of them; take ddp"
            ) from error
        if world_size() > 1 and _GONE.search(str(error)):
            raise ProcessError(
                "another process of this run has ended, and this one cannot go on without it; look at its message, "
                "then the same command with --resume goes on from the last checkpoint"
            ) from error
        raise


def _mean_over_processes(tensor: Tensor) -> Tensor:
    """Mean of a tensor over all processes of the run."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor / world_size()


@contextmanager
def _compiled(method: Method, backend: str | None) -> Iterator[None]:
    """Compile the encoders for as long as they are trained: evaluation has batches of other sizes."""
    encoders = [] if backend is None else list(method.encoders.values())
    for encoder in encoders:
        encoder.compile(backend=backend)
    try:
        yield
    finally:
        for encoder in encoders:
            encoder._compiled_call_impl = None  # as PyTorch itself leaves it behind in a copy


@contextmanager
def _lightning_manners() -> Iterator[None]:
    """Keep the Trainer from chatting about hardware and eval modes, and let Ctrl-C remain a Ctrl-C."""
    chatter = logging.getLogger("lightning.pytorch")
    level = chatter.level
    interrupt = signal.getsignal(signal.SIGINT)
    chatter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    except SystemExit:  # what the Trainer makes of a KeyboardInterrupt
        raise KeyboardInterrupt from None
    finally:
        chatter.setLevel(level)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, interrupt)
