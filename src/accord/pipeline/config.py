"""The configuration of a run: one YAML file is the full record of an experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, field_validator

from accord.config import Config
from accord.data.recipe import DataConfig
from accord.errors import ConfigError
from accord.methods import get_method, get_objective
from accord.training.config import TrainingConfig


class EncoderConfig(Config):
    """Which encoder, from where, and how much of it is trained."""

    name: str = Field(description="encoder name, path or hub name; see the docs page on encoders")
    freeze: str | int = Field("none", description="'all', 'none', or how many of the last blocks are trained")
    weights: str | None = Field(None, description="path of weights to load instead of the published ones")
    options: dict[str, Any] = Field(default_factory=dict, description="that encoder's own settings, such as size")


class RunConfig(Config):
    """Everything that decides a run."""

    data: DataConfig = Field(description="what to train on")
    method: dict[str, Any] = Field(default_factory=lambda: {"name": "clip"}, description="method name and settings")
    objective_add: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="objectives added to the method's loss: name -> settings"
    )
    encoders: dict[str, EncoderConfig] = Field(default_factory=dict, description="modality -> encoder")
    training: TrainingConfig = Field(default_factory=TrainingConfig, description="optimisation")
    evaluate: list[str] = Field(default_factory=list, description="tasks run after training; empty picks what fits")

    @classmethod
    def parse(cls, values: dict[str, Any] | Self | None = None) -> Self:
        """Validate ``values``, the method's own settings included, so that nothing is read or trained in vain.

        Raises:
            ConfigError: a field, the method or one of its settings is unknown or out of range.
        """
        run = super().parse(values)
        settings = dict(run.method)
        get_method(settings.pop("name", "clip")).Config.parse(settings)
        for name, own in run.objective_add.items():
            get_objective(name).Config.parse(own)
        return run

    @field_validator("method", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("encoders", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {modality: {"name": item} if isinstance(item, str) else item for modality, item in value.items()}


def read_config(source: str | Path | Mapping[str, Any] | None) -> dict[str, Any]:
    """A configuration as a plain dict, from a mapping, a YAML file, or the name of one that ships with Accord.

    A key ``include: {key: file}`` takes a value from a YAML file beside the configuration.

    Raises:
        ConfigError: there is no such file or shipped configuration, or it is not a YAML mapping.
    """
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return dict(source)
    path = Path(source)
    if not path.is_file():
        path = Path(str(files("accord") / "configs" / f"{source}.yaml"))
    if not path.is_file():
        raise ConfigError(f"no configuration {str(source)!r}: give a YAML file or one of: {', '.join(shipped())}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, got {type(values).__name__}")
    for dotted, name in values.pop("include", {}).items():
        set_dotted(values, dotted, yaml.safe_load((path.parent / name).read_text(encoding="utf-8")))
    return values


def shipped() -> list[str]:
    """Names of the configurations that ship with Accord."""
    return sorted(item.name.removesuffix(".yaml") for item in _config_files() if not item.name.endswith("queries.yaml"))


def _config_files() -> Iterator[Any]:
    return (item for item in (files("accord") / "configs").iterdir() if item.name.endswith(".yaml"))


def set_dotted(values: dict[str, Any], dotted: str, value: Any) -> None:
    """Set ``values["a"]["b"] = value`` for ``dotted = "a.b"``, making dicts on the way.

    >>> values = {"training": {"lr": 1e-3}, "method": "clip"}
    >>> set_dotted(values, "training.epochs", 3)
    >>> set_dotted(values, "method.dim", 64)
    >>> values
    {'training': {'lr': 0.001, 'epochs': 3}, 'method': {'name': 'clip', 'dim': 64}}
    """
    *parents, last = dotted.split(".")
    for key in parents:
        inner = values.get(key)
        values[key] = dict(inner) if isinstance(inner, Mapping) else {} if inner is None else {"name": inner}
        values = values[key]
    values[last] = value


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with dotted ``changes`` applied; ``base`` is left alone.

    >>> merged({"a": {"b": 1}}, {"a.b": 2, "c": 3})
    {'a': {'b': 2}, 'c': 3}
    """
    result = dict(base)
    for dotted, value in changes.items():
        set_dotted(result, dotted, value)
    return result
