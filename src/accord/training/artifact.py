"""The model artifact: a directory that gives a trained method back, self-contained and never unpickled.

``config.yaml`` (the run's full configuration), ``encoders.json`` (architectures and tokenizers),
``model.safetensors`` (weights). Metrics, model card and report stand beside them. What the directory gives is a
:class:`~accord.training.model.Model`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from safetensors.torch import load_file, save_file

from accord.data.fields import read_by
from accord.encoders import build_encoder
from accord.encoders.base import Encoder
from accord.encoders.unbuilt import Unbuilt, sizes_of
from accord.encoders.weights import DESCRIBED
from accord.errors import AccordError
from accord.files import reading, replacing, write_atomically
from accord.methods import DataInfo, Method, get_method
from accord.training.identity import without
from accord.training.model import Model

__all__ = ["CONFIG", "ENCODERS", "WEIGHTS", "Model", "load_model", "save_model"]

WEIGHTS, ENCODERS, CONFIG = "model.safetensors", DESCRIBED, "config.yaml"
_WRITTEN_ANEW = "the command that trained it writes it anew with --resume, from the last checkpoint"


def save_model(folder: Path, method: Method, config: Mapping[str, Any]) -> None:
    """Write weights, encoder architectures and configuration of ``method`` into ``folder``, each atomically.

    Args:
        folder: the run's directory, made if missing.
        method: the trained method.
        config: the run's configuration as plain YAML-able values.
    """
    built = {
        modality: {
            "spec": encoder.spec(),
            "weights_from": encoder.weights_from,
            "frozen": encoder.frozen,
            "sizes": sizes_of(encoder),
        }
        for modality, encoder in method.encoders.items()
        if isinstance(encoder, Encoder)
    }
    write_atomically(folder / ENCODERS, json.dumps(built))
    record = {**config, "method": {"name": method.name, **method.config.model_dump(mode="json")}}
    record["data_info"] = json.loads(json.dumps(asdict(method.data)))
    write_atomically(folder / CONFIG, yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in method.state_dict().items()
        if not name.startswith(_unshipped(method))
    }
    with replacing(folder / WEIGHTS) as partial:
        save_file(tensors, partial, metadata={"format": "pt"})


def load_model(folder: str | Path, device: str | torch.device = "cpu", only: Collection[str] | None = None) -> Model:
    """The model saved in ``folder``.

    Args:
        folder: of a finished run.
        device: where it runs.
        only: the modalities that it is to embed; encoders of others are left out (:class:`Unbuilt`) where the method
            can do without them. None for all.

    Raises:
        AccordError: the folder is not a complete artifact; names the missing or damaged file.
    """
    folder = Path(folder)
    for name in (CONFIG, ENCODERS, WEIGHTS):
        if not (folder / name).is_file():
            raise AccordError(f"{folder} is not a finished run: {name} is missing (train it, or finish with --resume)")
    with reading(folder / CONFIG, "put it back from a copy, or train anew into another folder"):
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8")) or {}
        settings, facts = dict(config["method"]), DataInfo.parse(config["data_info"])
        name = settings.pop("name")
    kind = get_method(name)
    unasked = () if only is None else set(kind.sizes_suffice).difference(only)
    method = kind(settings, _load_encoders(folder / ENCODERS, unasked), facts)
    _load_weights(method, folder / WEIGHTS)
    return Model(method.to(device), config=config, path=folder)


def _load_encoders(path: Path, unasked: Collection[str]) -> dict[str, Encoder]:
    """The encoders that :func:`save_model` described, still without their weights; those ``unasked`` for unbuilt."""
    with reading(path, _WRITTEN_ANEW):
        built = json.loads(path.read_text(encoding="utf-8"))
        facts = {name: (made["spec"], made["weights_from"], made.get("frozen")) for name, made in built.items()}
        sizes = {name: made["sizes"] for name, made in built.items() if "sizes" in made}
    encoders = {}
    for modality, (spec, weights_from, frozen) in facts.items():
        if modality in unasked and modality in sizes:
            encoders[modality] = cast(Encoder, Unbuilt(modality, sizes[modality]))
            continue
        encoders[modality] = encoder = build_encoder(read_by(modality), spec, weights=False)
        encoder.weights_from = weights_from
        if frozen:
            encoder.freeze("all")
    return encoders


def _unshipped(method: Method) -> tuple[str, ...]:
    """Name prefixes of what a finished model does not need: what its method says, and added objectives."""
    return (*method.training_only, "added.")


def _load_weights(method: Method, path: Path) -> None:
    """Load what :func:`save_model` wrote; what only training needs stays as it was initialised.

    Raises:
        AccordError: the file is damaged, or a tensor is missing, unknown or of another shape.
    """
    with reading(path, _WRITTEN_ANEW):
        state = without(load_file(path), [name for name, part in method.encoders.items() if isinstance(part, Unbuilt)])
        method.reshape(state)
        missing, unknown = method.load_state_dict(state, strict=False)
    wrong = [name for name in missing if not name.startswith(_unshipped(method))] + unknown
    if wrong:
        raise AccordError(f"{path} does not fit its configuration: {wrong[0]} is missing or unknown")
