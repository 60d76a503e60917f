"""What a resumed run must have in common with the run it continues, and what its checkpoint need not hold."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from accord.data.corpus import Corpus
from accord.encoders.base import Encoder
from accord.errors import ConfigError
from accord.methods.base import Method, Objective, Paired
from accord.training.config import TrainingConfig


def weights_digest(module: nn.Module) -> str:
    """Hash of all parameters and buffers, with their names.

    >>> weights_digest(nn.Identity()) == weights_digest(nn.ReLU())
    True
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def fixed_encoders(method: Method) -> dict[str, Encoder]:
    """The encoders that no stage trains: what is frozen when training begins stays frozen."""
    return {
        modality: encoder
        for modality, encoder in method.encoders.items()
        if isinstance(encoder, Encoder) and encoder.frozen
    }


def identity_of(method: Method, corpus: Corpus, config: TrainingConfig) -> dict[str, Any]:
    """Method, data, decisive settings, and the weights of frozen encoders, which are not in the checkpoint."""
    return {
        "method": method.name,
        "corpus": corpus.fingerprint,
        **({} if corpus.near is None else {"data.near": corpus.near}),
        **{f"method.{name}": value for name, value in method.config.model_dump(mode="json").items()},
        **{
            f"objective_add.{added}.{name}": value
            for added, objective in _objectives(method).items()
            for name, value in objective.config.model_dump(mode="json").items()
        },
        **{f"training.{name}": value for name, value in config.decisive().items()},
        **{
            f"frozen {modality} encoder": weights_digest(encoder)
            for modality, encoder in fixed_encoders(method).items()
        },
    }


def _objectives(method: Method) -> dict[str, Objective]:
    """The objectives that were added to the method's own."""
    added = method.added.items() if isinstance(method, Paired) else ()
    return {name: objective for name, objective in added if isinstance(objective, Objective)}


def check_identity(before: dict[str, Any], now: dict[str, Any], run: str) -> None:
    """Compare two identities.

    Raises:
        ConfigError: they differ; names the first difference.

    Example:
        >>> check_identity({"seed": 0}, {"seed": 1}, "runs/a")
        Traceback (most recent call last):
        accord.errors.ConfigError: cannot resume runs/a: it was trained with seed = 0, now it is 1; ...
    """
    for name in now | before:
        if before.get(name) != now.get(name):
            raise ConfigError(
                f"cannot resume {run}: it was trained with {name} = {before.get(name)!r}, now it is "
                f"{now.get(name)!r}; give the same settings and data, or train into a new folder"
            )


def without(state: dict[str, Any], modalities: Collection[str], prefix: str = "") -> dict[str, Any]:
    """A state dict without the encoders of these modalities.

    >>> sorted(without({"encoders.text.w": 1, "encoders.image.w": 2, "head.w": 3}, ["text"]))
    ['encoders.image.w', 'head.w']
    """
    dropped = tuple(f"{prefix}encoders.{modality}." for modality in modalities)
    return {name: value for name, value in state.items() if not name.startswith(dropped)}
