"""Fully sharded training: of each block of a trained encoder, every process holds its share (Zhao et al. 2023, FSDP).

A block (a layer of a transformer, a stage of a residual network) is put together from all processes while it runs and
taken apart behind it; its gradient and the optimiser's averages stay shared out. What else is trained (first and last
layers of the encoders, heads, prototypes, scales) and what is not trained (momentum encoders, queues, frozen blocks)
each process holds whole. PyTorch's ``fully_shard`` does the work; what is decided here is which blocks are sharded,
when they are seen whole, and that a checkpoint is the one that a single process writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from itertools import chain, count
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed import fsdp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.experimental import implicit_replication
from torch.optim import Optimizer

from accord.encoders.base import Encoder
from accord.encoders.stages import repeated
from accord.errors import ConfigError
from accord.functional.distributed import full_tensor, is_sharded, rank, shard_like, world_size
from accord.methods.base import Method, Stage
from accord.training.config import TrainingConfig
from accord.training.stages import NamedParameters, trained_in


def check_sharding(method: Method, stages: tuple[Stage, ...], config: TrainingConfig) -> None:
    """Refuse what sharded training cannot do.

    Raises:
        ConfigError: PyTorch is too old, encoders are to be compiled, a stage may leave parameters without gradient, or
            none trains a block of an encoder.
    """
    if not hasattr(fsdp, "share_comm_ctx"):
        raise ConfigError(f"training.strategy = fsdp: not with PyTorch {torch.__version__}; take a later one, or ddp")
    if config.compile is not None:
        raise ConfigError(f"training.strategy = fsdp: not with compile = {config.compile}; leave one of them out")
    for stage in stages:
        if stage.partial:
            raise ConfigError(
                f"training.strategy = fsdp: not with method {method.name}, of which a step of stage {stage.name!r} may "
                "leave out what it trains, while the other processes wait for their share of it; take ddp"
            )
    if not any(_in_stage(method, stage) for stage in stages):
        raise ConfigError(
            f"training.strategy = fsdp: method {method.name} trains no block of an encoder here, so that there is "
            "nothing to shard; take ddp, or unfreeze an encoder"
        )


def _in_stage(method: Method, stage: Stage) -> list[str]:
    with trained_in(method, stage) as trained:
        return sharded_blocks(method, trained)


def sharded_blocks(method: Method, trained: NamedParameters) -> list[str]:
    """Names of the modules that are sharded: the repeated layers of encoders of which something is trained.

    Those that have a weight in common with another part of the method stay whole, and so do those that change their
    shape in training.
    """
    encoders = [encoder for encoder in method.encoders.values() if isinstance(encoder, Encoder)]
    layers = {layer for encoder in encoders for layer in repeated(encoder.blocks())}
    uses = Counter(id(parameter) for _, parameter in method.named_parameters(remove_duplicate=False))
    found = []
    for name, layer in method.named_modules():
        inside = f"{name}."
        if layer in layers and any(each.startswith(inside) for each, _ in trained):
            own = Counter(id(parameter) for _, parameter in layer.named_parameters(remove_duplicate=False))
            apart = all(uses[each] == count for each, count in own.items())
            fixed = not any(inside.startswith(prefix) or prefix.startswith(inside) for prefix in method.resizable)
            runs = type(layer).forward is not nn.Module.forward
            if apart and fixed and runs:
                found.append(name)
    return found


class Shards:
    """The sharded blocks of a method while a stage is trained. All processes have to call each of these together.

    ``fully_shard`` cannot be undone, and what a stage trains differs from what the next does; so a block is not sharded
    itself but replaced by a sharded copy, and filled with its weights again in the end.

    Args:
        method: what is trained; changed in place.
        trained: the parameters of the stage by name.
    """

    def __init__(self, method: Method, trained: NamedParameters) -> None:
        mesh = init_device_mesh(method.device.type, (world_size(),))
        for tensor in (*method.parameters(), *method.buffers()):
            dist.broadcast(tensor.detach(), src=0)  # as DistributedDataParallel makes sure
        self._places = [(name, method.get_submodule(name)) for name in sharded_blocks(method, trained)]
        self._method = method
        self._sharded: list[Any] = []  # modules that are FSDPModule as well, which no type says
        for name, block in self._places:
            copied = deepcopy(block)
            for parameter in copied.parameters():
                parameter.data = parameter.contiguous()
            scalars = {parameter for parameter in copied.parameters() if not parameter.ndim}
            sharded = fsdp.fully_shard(copied, mesh=mesh, reshard_after_forward=True, ignored_params=scalars)
            self._sharded.append(sharded)
            _put(method, name, copied)
            for parameter in block.parameters():
                parameter.data = parameter.new_empty(0)
        fsdp.share_comm_ctx(self._sharded)
        self._fetch_backwards()
        now = dict(method.named_parameters())
        self.trained: NamedParameters = [(name, now[name]) for name, _ in trained]

    def _fetch_backwards(self) -> None:
        """Let each block fetch the one before it in the backward pass.

        PyTorch goes by what ran before, which differs among processes where one alone has measured something.
        """
        for number, ((name, _), block) in enumerate(zip(self._places, self._sharded, strict=True)):
            before = max(number - 1, 0)
            same = _encoder_of(self._places[before][0]) == _encoder_of(name)
            block.set_modules_to_backward_prefetch([self._sharded[before] if same else block])

    @contextmanager
    def seen_whole(self) -> Iterator[None]:
        """Put all blocks together until this ends, so that a process can run them by itself.

        Raises:
            ConfigError: a weight was changed meanwhile, which is lost.
        """
        for block in self._sharded:
            block.set_reshard_after_forward(False)
            block.unshard()
        before = self._versions()
        try:
            yield
            if self._versions() != before:
                raise ConfigError(
                    f"training.strategy = fsdp: a hook of method {self._method.name} changes weights of an encoder's "
                    "block, of which each process has only a share; take ddp"
                )
        finally:
            for block in self._sharded:
                block.set_reshard_after_forward(True)
                block.reshard()

    def _versions(self) -> list[int]:
        return [parameter._version for block in self._sharded for parameter in block.parameters()]

    def average_gradients(self) -> None:
        """Take the mean over the processes of the gradients of what is not sharded; PyTorch has taken that of the rest.

        Raises:
            RuntimeError: a parameter that requires gradient has none.
        """
        moving = [(name, parameter) for name, parameter in self.trained if parameter.requires_grad]
        for name, parameter in moving:
            if parameter.grad is None:
                raise RuntimeError(f"{name} was not used in producing the loss")
        gradients = [each.grad for _, each in moving if each.grad is not None and not is_sharded(each)]
        for kind in {gradient.dtype for gradient in gradients}:
            alike = [gradient for gradient in gradients if gradient.dtype == kind]
            flat = torch.cat([gradient.flatten() for gradient in alike])
            dist.all_reduce(flat)
            flat /= world_size()
            for gradient, mean in zip(alike, flat.split([each.numel() for each in alike]), strict=True):
                gradient.copy_(mean.view_as(gradient))

    def clip_grad_norm_(self, parameters: list[nn.Parameter], limit: float) -> Tensor:
        """As :func:`torch.nn.utils.clip_grad_norm_`, for parameters of which some are sharded; returns the norm."""
        parts = [[each for each in parameters if is_sharded(each) is kind] for kind in (True, False)]
        norms = [
            full_tensor(nn.utils.get_total_norm([each.grad for each in part if each.grad is not None]))
            for part in parts
            if part
        ]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        for part in parts:
            nn.utils.clip_grads_with_norm_(part, limit, norm)
        return norm

    def beside_others(self) -> AbstractContextManager[None]:
        """Let an operation take sharded tensors together with others, alike everywhere, while this lasts."""
        return implicit_replication()

    def state_of(self, optimizer: Optimizer) -> dict[str, Any]:
        """The state of an optimiser as that of one process: whole, and its parameters in that order."""
        state, order = optimizer.state_dict(), self._order(optimizer)
        place = {number: place for place, number in enumerate(chain(*order))}
        groups = {number: group for group in state["param_groups"] for number in group["params"]}
        return {
            "state": self.gathered({place[number]: entries for number, entries in state["state"].items()}),
            "param_groups": [{**groups[part[0]], "params": [place[number] for number in part]} for part in order],
        }

    def share_of_state(self, state: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
        """What this process loads of a state as :meth:`state_of` gives it."""
        order = self._order(optimizer)
        numbers = list(chain(*order))
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        groups = {number: group for part, group in zip(order, state["param_groups"], strict=True) for number in part}
        own = optimizer.state_dict()["param_groups"]
        return {
            "state": {numbers[place]: _shares(weights[numbers[place]], each) for place, each in state["state"].items()},
            "param_groups": [{**groups[group["params"][0]], "params": group["params"]} for group in own],
        }

    def _order(self, optimizer: Optimizer) -> list[list[int]]:
        """The groups of one process, of the numbers that parameters have here, where sharded ones have their own."""
        position = {parameter: place for place, (_, parameter) in enumerate(self.trained)}
        together: dict[Any, list[tuple[int, int]]] = {}
        numbers = count()
        for group in optimizer.param_groups:
            kind = (group["name"], group["lr_scale"], not group["decays"], group["weight_decay"])
            part = together.setdefault(kind, [])
            part += [(position[parameter], next(numbers)) for parameter in group["params"]]
        return [[number for _, number in sorted(part)] for _, part in sorted(together.items())]

    def gathered(self, state: Any) -> Any:
        """A state of dicts, lists and tensors with all that is sharded put together, in the first process alone.

        The others get None in its place, so that no more than one tensor is whole there at any time.
        """
        if isinstance(state, dict):
            return {name: self.gathered(value) for name, value in state.items()}
        if isinstance(state, list):
            return [self.gathered(value) for value in state]
        if not isinstance(state, Tensor) or not is_sharded(state):
            return state
        full = full_tensor(state)
        return full.cpu() if rank() == 0 else None

    def end(self) -> None:
        """Put the blocks themselves back, with the weights and buffers that their copies have now."""
        for (name, block), copied in zip(self._places, self._sharded, strict=True):
            for parameter, now in zip(block.parameters(), copied.parameters(), strict=True):
                parameter.data = full_tensor(now.detach())
            for part, now in zip(block.modules(), copied.modules(), strict=True):
                part._buffers.update(now._buffers)
                part.training = now.training
            _put(self._method, name, block)
        self._places, self._sharded = [], []


def _encoder_of(name: str) -> str:
    """The encoder that a block belongs to, of names such as ``encoders.image.model.blocks.0``."""
    return name.split(".")[1]


def _put(method: Method, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(method.get_submodule(parent), own, module)


def _shares(weight: Tensor, entries: dict[str, Any]) -> dict[str, Any]:
    """What an optimiser remembers of a weight, each tensor of the weight's shape sharded as it is."""
    shaped = {name for name, value in entries.items() if isinstance(value, Tensor) and value.shape == weight.shape}
    return {name: shard_like(value, weight) if name in shaped else value for name, value in entries.items()}


class ShardedStrategy(DDPStrategy):
    """How the Trainer runs a :class:`~accord.training.module.StageModule` in processes that share the weights out."""

    shards: Shards

    def configure_ddp(self) -> None:
        """Shard the blocks, in place of wrapping the module."""
        module: Any = self.lightning_module
        self.shards = Shards(module.method, module.trained)
        module.shards, module.trained = self.shards, self.shards.trained

    def post_backward(self, closure_loss: Tensor) -> None:
        """Average what PyTorch has not averaged."""
        self.shards.average_gradients()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The weights, whole."""
        state: dict[str, Any] = self.shards.gathered(super().lightning_module_state_dict())
        return state

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The state of an optimiser, whole."""
        return self.shards.state_of(optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer)

    def teardown(self) -> None:
        """Forget the optimisers, whose averages are of no more use, before all goes to the processor."""
        self.optimizers = []
        super().teardown()
