"""Loss and gradients of every method in one process, and in two that share the rows out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from contract_case import TRAINING, Case, state_of

from accord.functional.distributed import full_tensor
from accord.methods import Method, Step, available, get_method
from accord.methods.programme import Batch
from accord.training.batch_norm import share_batch_norm
from accord.training.config import TrainingConfig
from accord.training.module import HookLoader, Run, training_loader
from accord.training.seeding import seed_everything
from accord.training.sharding import Shards
from accord.training.stages import trained_in


def half(rank: int, name: str, places: list[str], cache: str, sharded: bool = False) -> dict[str, Tensor]:
    """What :func:`alone` gives of a method, of this process's share of the rows, and of the weights."""
    import platformdirs

    platformdirs.user_cache_path = lambda *_, **__: Path(cache)  # type: ignore[assignment, misc]
    rows, graph = (Path(place) for place in places)
    return alone(Case(name, (rows, graph), Path(cache)), rank, 2, sharded=sharded)


def trained(rank: int, name: str, places: list[str], cache: str, training: dict[str, Any]) -> dict[str, Tensor]:
    """All parameters and buffers after a training without dropout, in this process as one of ``training.devices``."""
    import platformdirs

    platformdirs.user_cache_path = lambda *_, **__: Path(cache)  # type: ignore[assignment, misc]
    rows, graph = (Path(place) for place in places)
    case = Case(name, (rows, graph), Path(cache))
    method = case.built()
    with undropped(method):
        case.fit(method, f"devices {training.get('devices', 1)}", **training)
    return state_of(method)


def command(rank: int, arguments: list[str], cache: str) -> str:
    """What ``accord`` prints in this process."""
    import platformdirs

    from accord.cli import app

    platformdirs.user_cache_path = lambda *_, **__: Path(cache)  # type: ignore[assignment, misc]
    with redirect_stdout(StringIO()) as printed, redirect_stderr(printed):
        app(arguments, standalone_mode=False)
    return printed.getvalue()


def shared_out() -> list[str]:
    """The methods whose rows can be shared out: all that are trained but those that read a graph as a whole."""
    kinds = {name: get_method(name) for name in available()}
    whole = {name for name, kind in kinds.items() if "graph" in kind.reads(kind.Config.parse({}))}
    return [name for name, kind in kinds.items() if kind.loss is not Method.loss and name not in whole]


def alone(case: Case, rank: int = 0, world: int = 1, *, sharded: bool = False) -> dict[str, Tensor]:
    """The total loss and all gradients at the first step of every stage, by name; whole, where weights are sharded."""
    method, config = case.built(), TrainingConfig.parse(TRAINING)
    share_batch_norm(method)  # as in training
    run = Run(case.corpus, config, Path(), None, {}, None, {}, frozenset())  # type: ignore[arg-type]
    rows = HookLoader(method, run, lambda: 0)
    found: dict[str, Tensor] = {}
    for stage in method.stages:
        step = Step(stage.name, epochs=stage.epochs or config.epochs, total=9)
        with trained_in(method, stage) as trained:
            shards = Shards(method, trained) if sharded else None
            trained = shards.trained if shards else trained
            for hook, place in ((method.before_stage, stage), (method.before_epoch, step)):
                seed_everything(0)
                method.eval()
                with shards.seen_whole() if shards else nullcontext():
                    hook(place, rows)  # type: ignore[operator]
            batch = next(iter(training_loader(method.train(), run, rank, world)))
            for optimiser in stage.optimisers:
                total = _total(method, batch, replace(step, optimiser=optimiser.name))
                if shards:
                    shards.average_gradients()
                gradients = {
                    name: full_tensor(parameter.grad) for name, parameter in trained if parameter.grad is not None
                }
                parts = {"total": total, **gradients}
                found |= {f"{stage.name}, {optimiser.name}: {name}": value for name, value in parts.items()}
                method.zero_grad()
            if shards:
                shards.end()
    return found


def _total(method: Method, batch: Batch, step: Step) -> Tensor:
    """The loss without dropout and not mixed, which each process draws for its own rows."""
    seed_everything(0)
    with undropped(method):
        total = method.loss(batch, step)["total"]
    total.backward()
    return total.detach()


@contextmanager
def undropped(method: Method) -> Iterator[None]:
    """Nothing is dropped while this lasts, in attention either, which drops by itself."""
    with patch("torch.nn.functional.dropout", lambda x, *_, **__: x), ExitStack() as stack:
        for part in method.modules():
            if isinstance(part, nn.MultiheadAttention):
                stack.enter_context(patch.object(part, "dropout", 0.0))
        yield
