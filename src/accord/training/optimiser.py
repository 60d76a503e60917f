"""Optimisers and learning-rate schedules by name; weight decay on matrices alone, and a warm-up before all (CLIP)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import assert_never

import torch
from timm.optim import Lamb, Lars
from torch import nn

from accord.functional.distributed import is_sharded
from accord.functional.schedule import warmup_cosine_at
from accord.methods.base import Group
from accord.training.config import TrainingConfig

_NO_DECAY_WORDS = frozenset({"bn", "ln", "bias"})
_NO_DECAY_NAMES = re.compile(r"logit_scale|pos(ition(al)?)?_emb|class_(emb|token)|cls_token|\b(positions|query)$")


def decays(name: str, parameter: torch.Tensor) -> bool:
    """Whether weight decay applies: matrices only, and none of norms, biases, scales, positions, class tokens, queries.

    Example:
        >>> decays("head.weight", torch.zeros(2, 2)), decays("head.bias", torch.zeros(2))
        (True, False)
        >>> decays("vit.pos_embed", torch.zeros(1, 9, 4)), decays("subnet.weight", torch.zeros(2, 2))
        (False, True)
        >>> decays("encoders.text.positions", torch.zeros(9, 4)), decays("attention.query.weight", torch.zeros(4, 4))
        (False, True)
    """
    words = re.split(r"[._]|(?<=\D)(?=\d)", name)
    return parameter.ndim >= 2 and not _NO_DECAY_WORDS.intersection(words) and not _NO_DECAY_NAMES.search(name)


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], weight_decay: float, group: Callable[[str], Group]
) -> list[dict[str, object]]:
    """Split parameters by the method's groups, each in one part with decay and one without; empty ones are left out.

    What is sharded is in parts of its own, before all others: no operation takes both.

    Args:
        named: names and parameters.
        weight_decay: of the parameters that decay.
        group: the group of a name.
    """
    groups: dict[tuple[bool, str, float, bool, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        own = group(name)
        spared = not (own.decay and decays(name, parameter))
        decay = 0.0 if spared else own.decay_scale
        groups.setdefault((not is_sharded(parameter), own.name, own.lr_scale, spared, decay), []).append(parameter)
    return [
        {
            "params": params,
            "weight_decay": decay * weight_decay,
            "name": name,
            "lr_scale": scale,
            "decays": not spared,
        }
        for (_, name, scale, spared, decay), params in sorted(groups.items(), key=lambda item: item[0])
    ]


def build_optimizer(
    named: list[tuple[str, nn.Parameter]], config: TrainingConfig, group: Callable[[str], Group] = lambda name: Group()
) -> torch.optim.Optimizer:
    """The configured optimiser over ``named`` parameters, with few kernel launches."""
    groups = parameter_groups(named, config.weight_decay, group)
    fused = all(parameter.device.type in ("cpu", "cuda") for _, parameter in named)
    match config.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused)
        case "adam":
            return torch.optim.Adam(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused)
        case "sgd":  # fused SGD fails on parameters whose first gradient comes later than others'
            return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, foreach=True)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=config.lr, eps=config.eps, foreach=True)
        case "lars":  # its step on vectors, which do not decay, is that of SGD
            return Lars(_adapted(groups), lr=config.lr, momentum=config.momentum)
        case "lamb":  # likewise that of AdamW; it clips by itself unless told not to
            return Lamb(_adapted(groups), lr=config.lr, betas=config.betas, eps=config.eps, max_grad_norm=None)
        case _:
            assert_never(config.optimizer)


def _adapted(groups: list[dict[str, object]]) -> list[dict[str, object]]:
    """The groups of an optimiser whose steps on matrices, and on nothing else, are relative to their norms."""
    return [{**each, "always_adapt": each["decays"]} for each in groups]


def schedule(step: int, total: int, config: TrainingConfig) -> float:
    """Factor on the peak learning rate: linear warm-up over ``W = round(warmup * total)`` steps, then as is named.

    With t = ``step``, T = ``total`` and s = (t - W) / (T - W): ``(t + 1) / W`` while t < W, then ``constant`` 1,
    ``cosine`` (1 + cos(pi s)) / 2, ``poly`` (1 - s)^power, and ``step`` gamma^k after the k-th of the milestones, which
    are shares of T. Cosine and poly are stretched to end at ``lr_floor``.

    Args:
        step: optimiser step from 0.
        total: number of steps.
        config: the settings named above.

    Example:
        >>> cosine = TrainingConfig(warmup=0.2)
        >>> [round(schedule(step, 10, cosine), 3) for step in (0, 1, 2, 6, 9)]
        [0.5, 1.0, 1.0, 0.5, 0.038]
        >>> drops = TrainingConfig(warmup=0, schedule="step", milestones=(0.5, 0.9))
        >>> [round(schedule(step, 10, drops), 3) for step in (0, 4, 5, 8, 9)]
        [1.0, 1.0, 0.1, 0.1, 0.01]
    """
    warmup = round(config.warmup * total)
    if step < warmup:
        return (step + 1) / warmup
    match config.schedule:
        case "constant":
            return 1.0
        case "step":
            return config.gamma ** sum(step >= round(share * total) for share in config.milestones)
        case "cosine":
            falling = warmup_cosine_at(step, warmup, total, base=1.0)
        case "poly":
            falling = (1 - (step - warmup) / (total - warmup)) ** config.power
        case _:
            assert_never(config.schedule)
    return config.lr_floor + (1 - config.lr_floor) * falling
