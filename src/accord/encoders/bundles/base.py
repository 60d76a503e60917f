"""What a bundle is, and how its name leads to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from torch import Tensor

from accord.encoders.base import Encoder
from accord.encoders.weights import HUB, Found, Source, hub_folder, locate
from accord.errors import ConfigError, WeightsError, no_such
from accord.files import storage_of
from accord.shipped import BUNDLES

if TYPE_CHECKING:
    from accord.encoders.bundles.towers import TowerConfig


@dataclass(frozen=True)
class Bundle:
    """Encoders whose vectors can be compared.

    The embedding of an item is its encoder's pooled vector, multiplied by the projection of its modality where there
    is one, and divided by its norm.

    Args:
        name: what the user calls it.
        encoders: modality -> encoder with its weights.
        projections: modality -> ``(D, W)`` from W numbers of the encoder to the D of the space; a modality that has
            none gives vectors of the space itself.
        dim: D.
        logit_scale: factor on cosines that makes them logits.
        logit_bias: what is added then, where the model was trained with a sigmoid (SigLIP).
        templates: how it wants class names written, each with ``{}``.
        origin: where the weights came from, in words.
    """

    name: str
    encoders: Mapping[str, Encoder]
    projections: Mapping[str, Tensor]
    dim: int
    logit_scale: float
    logit_bias: float | None = None
    templates: tuple[str, ...] = ("{}",)
    origin: str = ""


def load_bundle(name: str) -> Bundle:
    """The bundle of this name, its encoders frozen.

    Args:
        name: kind, colon, folder or ``hf:NAME``, such as ``"clip:models/vit-b-32"``.

    Raises:
        ConfigError: there is no such kind or folder, or the folder holds something else.
        WeightsError: weights or tokenizer are not found, damaged, or those of another model.
        MissingExtraError: OpenCLIP is needed and not installed.
    """
    family, found = _family(name), named_folder(name)
    bundle: Bundle = family.read(name, found)
    for encoder in bundle.encoders.values():
        encoder.weights_from = found.origin
        encoder.freeze("all")
    return bundle


def build_tower(settings: TowerConfig, *, weights: bool | Path = True, texts: Sequence[str] | None = None) -> Encoder:
    """One encoder of a bundle, for :func:`accord.encoders.build_encoder`.

    Args:
        settings: the bundle's name, or all that :meth:`Encoder.spec` returned.
        weights: True for those of the bundle, a path for those of another folder of its kind, False for random ones.
        texts: not asked, since its tokenizer comes with it.

    Raises:
        ConfigError, WeightsError, MissingExtraError: as :func:`load_bundle`.
    """
    name, modality = settings.name, settings.modality
    family = _family(name)
    if weights is not False:
        _only_name(settings)
        found = named_folder(name, None if weights is True else weights)
        encoder: Encoder = family.read(name, found).encoders[modality]
        encoder.weights_from = found.origin
        return encoder
    if not settings.config:
        settings = type(settings).parse(family.specs(name, named_folder(name))[modality])
    tower: Encoder = family.tower(settings)
    return tower


def bundle_key(name: str) -> str:
    """Hash of what the bundle's folder holds: the same wherever it lies."""
    folder = named_folder(name).path
    with storage_of(folder, "read"):
        files = sorted(
            (path, path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()
        )
        return _hash(tuple(file for file in files if file[0].suffix in (".json", ".safetensors", ".txt", ".model")))


@cache
def _hash(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Of names and contents; sizes and times only tell whether it is still right."""
    digest = hashlib.blake2b(digest_size=8)
    for path, _, _ in files:
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def _family(name: str) -> ModuleType:
    """The module that reads bundles of this kind, which is called like it."""
    kind, _, place = name.partition(":")
    if kind not in BUNDLES:
        raise ConfigError(no_such("kind of bundle", kind, BUNDLES))
    if not place:
        raise ConfigError(f"{name}: name the folder too, {kind}:FOLDER, or {kind}:{HUB}NAME for one of the hub")
    return import_module(f"accord.encoders.bundles.{kind}")


def named_folder(name: str, given: Path | None = None) -> Found:
    """Where what is called ``KIND:FOLDER`` or ``KIND:hf:NAME`` lies; ``given`` is another folder to take weights from.

    Raises:
        ConfigError: there is no such folder.
        WeightsError: it is not found, or holds no weights as safetensors.
    """
    place = name.partition(":")[2]
    if given is None and not place.startswith(HUB):
        given = Path(place).expanduser()
        if not given.is_dir():
            raise ConfigError(
                f"{name}: there is no folder {place}; a model of the hub is written {name.partition(':')[0]}:{HUB}NAME"
            )
    found = locate(Source(name=name, hub=place.removeprefix(HUB)), given, hub_folder)
    if not any(found.path.glob("*.safetensors")):
        raise WeightsError(f"{found.path} holds no weights as safetensors, the only form that is read")
    return found


def _only_name(settings: TowerConfig) -> None:
    """Refuse options beside the name: what a pretrained tower looks like stands in its folder."""
    others = sorted(settings.model_fields_set - {"name"})
    if others:
        raise ConfigError(f"{settings.name}: takes no option {others[0]}, since its folder says what it is")
