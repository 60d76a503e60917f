"""Gradient caching: the batch of a contrastive loss without the activations of the batch (Gao et al. 2021).

The loss of a two-tower method sees its batch only through the towers' outputs. So the towers run over the batch
twice: once without gradient to collect the outputs, on which the loss and its gradient are computed; and once more
per micro-batch with gradient, into which the cached gradient is fed. The parameters receive the gradient of the whole
batch while the activations of one micro-batch are held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from accord.data.loading.features import Features
from accord.errors import ShapeError
from accord.methods.base import Batch, Step, TwoTower
from accord.training.seeding import seed_torch

Backward = Callable[[Tensor, bool], None]


def cached_backward(
    method: TwoTower,
    batch: Batch,
    step: Step,
    micro_batch: int,
    backward: Backward,
    weigh: Callable[[Tensor], Tensor] = lambda total: total,
) -> dict[str, Tensor]:
    """Back-propagate ``method.loss(batch, step)["total"]`` with the activations of ``micro_batch`` rows at a time.

    Dropout masks repeat between the two passes, and batch-norm statistics are collected in the second only. The
    gradient equals that of the whole batch, but for batch norm, which normalises within a micro-batch.

    Args:
        method: a two-tower method; its ``towers`` must not change state.
        batch: see :class:`accord.methods.base.Method`; every entry has the batch first.
        step: passed on to the objective.
        micro_batch: rows forwarded at once.
        backward: ``backward(scalar, synchronise)`` accumulates the gradient of ``scalar``; ``synchronise`` is True
            on the last call only, when processes exchange their gradients.
        weigh: what is back-propagated of the total: its share where the batch is one of several of a step, scaled.

    Returns:
        The terms of the loss, detached.

    Raises:
        ShapeError: the batch holds something that cannot be cut into rows.
    """
    pieces = list(micro_batches(batch, micro_batch))
    seeds = torch.randint(2**62, (len(pieces),)).tolist()  # of the dropout masks of each piece
    leaves, trained = _collect(method, pieces, seeds)
    terms = method.score(leaves, batch, step)
    backward(weigh(terms["total"]), not trained)
    start = 0
    for number, (piece, seed) in enumerate(zip(pieces, seeds, strict=True) if trained else ()):
        seed_torch(seed)
        towers = method.towers(piece)
        rows = slice(start, start := start + batch_rows(piece))
        backward(_surrogate(towers, leaves, trained, rows), number == len(pieces) - 1)
    return {name: term.detach() for name, term in terms.items()}


def _collect(method: TwoTower, pieces: list[Batch], seeds: list[int]) -> tuple[dict[str, Tensor], list[str]]:
    """Outputs of the towers over all pieces, as leaves that receive the gradient of the loss.

    Also the names of the outputs that lead to trained parameters, for which the first piece alone is traced.
    """
    outputs: list[dict[str, Tensor]] = []
    trained: list[str] = []
    with _still_statistics(method):
        for number, (piece, seed) in enumerate(zip(pieces, seeds, strict=True)):
            seed_torch(seed)
            with torch.set_grad_enabled(number == 0):
                towers = method.towers(piece)
            trained += [name for name, output in towers.items() if output.requires_grad]
            outputs.append({name: output.detach() for name, output in towers.items()})
    torch.clear_autocast_cache()  # weights cast without gradient must not serve the pass that needs it
    leaves = {name: torch.cat([output[name] for output in outputs]) for name in outputs[0]}
    return {name: leaf.requires_grad_(name in trained) for name, leaf in leaves.items()}, trained


def _surrogate(towers: dict[str, Tensor], leaves: dict[str, Tensor], trained: list[str], rows: slice) -> Tensor:
    """A scalar whose gradient at each trained output is the cached gradient of its rows, zero where unused."""
    parts = []
    for name in trained:
        gradient = leaves[name].grad
        cached = torch.zeros_like(towers[name]) if gradient is None else gradient[rows]
        parts.append((towers[name] * cached).float().sum())
    return torch.stack(parts).sum()


def batch_rows(batch: Batch) -> int:
    """Number of rows B of a batch, read from its first tensor.

    >>> batch_rows({"image_views": [torch.zeros(3, 2)]})
    3
    """
    return next(tensor.shape[0] for tensor in _tensors(batch))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name))


def micro_batches(batch: Batch, rows: int) -> Iterator[Batch]:
    """Cut a batch into batches of at most ``rows`` rows: tensors, lists of them or of pairs, dataclasses of them, None.

    An entry ``KEY_views`` is a list of views, each of which is cut; another list holds one thing a row.

    Raises:
        ShapeError: an entry is something else, or has another number of rows.

    Example:
        >>> [piece["label"].tolist() for piece in micro_batches({"label": torch.arange(5)}, 2)]
        [[0, 1], [2, 3], [4]]
    """
    total = batch_rows(batch)
    for start in range(0, total, rows):
        part = slice(start, min(start + rows, total))
        yield {key: _cut(value, part, total, key) for key, value in batch.items()}


def _cut(value: Any, part: slice, total: int, name: str) -> Any:
    if isinstance(value, Tensor) and value.ndim and value.shape[0] == total:
        return value[part]
    if isinstance(value, dict):
        return {key: _cut(item, part, total, f"{name}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list) and name.endswith("_views"):
        return [_cut(item, part, total, f"{name}[{view}]") for view, item in enumerate(value)]
    if isinstance(value, list | tuple) and all(_holds_rows(item) for item in value):
        return type(value)(_cut(item, part, total, name) for item in value)
    if isinstance(value, list | tuple) and len(value) == total:
        return value[part]
    if isinstance(value, Features) and len(value.pooled) == total:
        return value.select(part)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{f.name: _cut(getattr(value, f.name), part, total, name) for f in fields(value)})
    if value is None:
        return None
    came = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    raise ShapeError(f"batch[{name!r}]: {came} cannot be cut into micro-batches of a batch of {total} rows")


def _holds_rows(value: Any) -> bool:
    """Whether a list of such is a list of views: tensors, features, or pairs of ids and mask."""
    if isinstance(value, tuple):
        return bool(value) and all(isinstance(item, Tensor) for item in value)
    return isinstance(value, Tensor) or is_dataclass(value)


@contextmanager
def _still_statistics(module: nn.Module) -> Iterator[None]:
    """Keep batch norms normalising by their batch without recording it."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    training = [part for part in norms if part.training]
    for part in training:
        part.track_running_stats = False
    try:
        yield
    finally:
        for part in training:
            part.track_running_stats = True
