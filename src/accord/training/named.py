"""The model that a name means: of a run, one that ships, or a bundle that was trained elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch

from accord.data.reading.sources import cache_folder
from accord.encoders.bundles import bundle_key, load_bundle
from accord.methods import DataInfo, get_method
from accord.shipped import is_bundle, require_model, run_folder
from accord.training.artifact import load_model
from accord.training.model import Model


def named_model(name: str | Path, device: str | torch.device = "cpu", only: Collection[str] | None = None) -> Model:
    """The model called ``name``, on a device.

    Args:
        name: folder of a run, name of a model that ships, or that of a bundle, such as ``"clip:FOLDER"``.
        device: where it runs.
        only: see :func:`accord.training.artifact.load_model`; of a bundle all is loaded.

    Raises:
        ConfigError: there is no such run or bundle.
        AccordError: the run is not finished, or a file is damaged.
        WeightsError: the bundle's weights are not found, damaged, or those of another model.
    """
    require_model(name)
    return _of_bundle(str(name), device) if is_bundle(name) else load_model(run_folder(name), device, only)


def _of_bundle(name: str, device: str | torch.device) -> Model:
    """A bundle as a model; what is made from it is kept in the cache, by its content."""
    bundle = load_bundle(name)
    kind = get_method("bundle")
    settings = kind.settings_from(bundle)
    method = kind(settings, bundle.encoders, DataInfo())
    method.start_from(bundle)
    record = {"bundle": name, "method": {"name": kind.name, **method.config.model_dump(mode="json")}}
    return Model(method.to(device), config=record, path=cache_folder("bundles", bundle_key(name)))
