"""Equal starts: the method of every arm with the same random weights, and what its training will cost.

Built with one seed, two arms agree where they draw the same numbers in the same order, which ends at the first part
that only one of them has. So the tensors that are random, and only those, are handed from arm to arm by name and
shape. Constants, such as a temperature that is what two arms differ in, stay as configured.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.claims.declare import Encoders
from accord.data.corpus import Corpus
from accord.data.loading.loader import train_loader
from accord.methods import Method
from accord.pipeline.build import build_method
from accord.pipeline.config import RunConfig
from accord.training.config import TrainingConfig
from accord.training.module import encoder_inputs

Pool = dict[tuple[str, torch.Size], Tensor]  # random tensors of the arms built so far


@dataclass(frozen=True)
class Budget:
    """What training will do.

    Args:
        steps: optimiser steps of all stages.
        epochs: passes over the training rows of all stages.
    """

    steps: int
    epochs: int


def fresh(config: RunConfig, corpus: Corpus, encoders: Encoders | None, other: bool = False) -> Method:
    """The method of an arm before training, with the weights that ``config.training.seed`` gives.

    Args:
        config: the arm's run.
        corpus: its training rows, with texts as the method wants them.
        encoders: the claim's own encoders, if any.
        other: draw other random weights instead.
    """
    seed = config.training.seed
    drawn = seed + 1_000_003 if other else seed
    torch.manual_seed(drawn)
    given = encoders(corpus, seed) if encoders else None
    training = config.training.model_copy(update={"seed": drawn})
    return build_method(config.model_copy(update={"training": training}), corpus, given)


def random_tensors(first: Method, second: Method) -> frozenset[str]:
    """Names of the tensors in which two methods, built alike but for the seed, differ."""
    theirs = second.state_dict()
    return frozenset(
        name for name, tensor in first.state_dict().items() if not torch.equal(tensor.cpu(), theirs[name].cpu())
    )


def share(method: Method, random: Collection[str], pool: Pool) -> None:
    """Give a method the random tensors that are in the pool under its names and shapes, and add the others to it.

    Tensors that were equal before, such as a momentum encoder and what it copies, are equal afterwards.

    Args:
        method: the method of an arm, changed in place.
        random: names of its random tensors.
        pool: those of the arms before it.
    """
    state = method.state_dict()
    with torch.no_grad():
        for names in _alike({name: tensor for name, tensor in state.items() if name in random}):
            keys = [(name, state[name].shape) for name in names]
            source = next((pool[key] for key in keys if key in pool), state[names[0]])
            source = source.detach().clone()
            for key in keys:
                state[key[0]].copy_(source)
                pool.setdefault(key, source)


def _alike(state: dict[str, Tensor]) -> list[list[str]]:
    """Names grouped by equal tensors, in order."""
    groups: dict[tuple[torch.Size, bytes], list[str]] = {}
    for name, tensor in state.items():
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        groups.setdefault((tensor.shape, content), []).append(name)
    return list(groups.values())


def budget(method: Method, corpus: Corpus, training: TrainingConfig) -> Budget:
    """Steps and epochs that training ``method`` will take."""
    batches = train_loader(
        corpus,
        encoder_inputs(method),
        method.views,
        batch_size=training.batch_size // training.accumulate,
        seed=training.seed,
        sampling=lambda: method.sampling,
    )
    epochs = sum(stage.epochs or training.epochs for stage in method.stages)
    return Budget(epochs * (len(batches) // training.accumulate), epochs)
