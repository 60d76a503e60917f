"""The configuration of a run: one YAML file is the full record of an experiment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, field_validator

from accord.config import Config
from accord.data.fields import declared, encoded_fields
from accord.data.recipe import DataConfig
from accord.data.targets import fields_of
from accord.encoders.freezing import Freeze, parse_freeze
from accord.encoders.registry import find, modalities, starts_at_random
from accord.errors import ConfigError, no_such
from accord.evaluation.tasks import parse_options
from accord.methods import Method, get_method, get_objective
from accord.shipped import BUNDLES, is_bundle
from accord.training.config import TrainingConfig

RANDOM = "random"  # weights that are not loaded


class EncoderConfig(Config):
    """Which encoder, from where, and how much of it is trained."""

    name: str | None = Field(
        None, description="encoder name, path or hf:NAME, see the docs page on encoders; none takes the usual one"
    )
    freeze: Freeze = Field(
        "auto",
        description="'all', 'none', how many of the last blocks are trained, patterns of names of parameters that are "
        "frozen (after ! trained), or 'auto': pretrained ones frozen",
    )
    weights: str | None = Field(None, description="path of weights to load instead of the published ones, or 'random'")
    options: dict[str, Any] = Field(default_factory=dict, description="that encoder's own settings, such as size")

    @field_validator("freeze", mode="before")
    @classmethod
    def _freeze_is_known(cls, value: Any) -> Any:
        return parse_freeze(value)


class RunConfig(Config):
    """Everything that decides a run."""

    data: DataConfig = Field(description="what to train on")
    method: dict[str, Any] = Field(default_factory=lambda: {"name": "clip"}, description="method name and settings")
    objective_add: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="objectives added to the method's loss: name -> settings"
    )
    bundle: str | None = Field(
        None, description="pretrained encoders with their joint space to start from, such as clip:FOLDER"
    )
    space: str | None = Field(
        None,
        description="a trained model whose space the method takes as it is (close): a run, house or clip:FOLDER",
    )
    pairs: str | None = Field(
        None, description="rows of several modalities by which the method measures how that space parts them (close)"
    )
    encoders: dict[str, EncoderConfig] = Field(default_factory=dict, description="modality -> encoder")
    training: TrainingConfig = Field(default_factory=TrainingConfig, description="optimisation")
    evaluate: list[str] | dict[str, dict[str, Any]] = Field(
        default_factory=list, description="tasks run after training, or task -> its options; empty picks what fits"
    )

    @classmethod
    def parse(cls, values: dict[str, Any] | Self | None = None, at: str = "", elsewhere: Iterable[str] = ()) -> Self:
        """Validate ``values``, the method's own settings included, so that nothing is read or trained in vain.

        Raises:
            ConfigError: a field, the method, one of its settings or a task is unknown or out of range.
        """
        chosen = values.get("method") if isinstance(values, Mapping) else None
        kind = get_method(chosen) if isinstance(chosen, str) else None
        kind = get_method(chosen.get("name", "clip")) if isinstance(chosen, Mapping) else kind
        run = super().parse(values, at, [*elsewhere, *(kind.Config.dotted("method") if kind else ())])
        settings = run.kind.Config.parse(run.method_settings, "method", cls.dotted())
        own = {**run.kind.default_training(settings), **run.training.model_dump(exclude_unset=True)}
        run = run.model_copy(update={"training": TrainingConfig.parse(own, at="training")})
        for name, own in run.objective_add.items():
            get_objective(name).Config.parse(own, f"objective_add.{name}", cls.dotted())
        for task in (*run.evaluate, *run.training.probe):
            parse_options(task, run.task_options.get(task), f"evaluate.{task}")
        return run

    @property
    def task_options(self) -> dict[str, dict[str, Any]]:
        """Task -> its options, of those under ``evaluate`` that have some; the probe measures by them too."""
        return self.evaluate if isinstance(self.evaluate, dict) else {}

    @property
    def kind(self) -> type[Method]:
        """The method's class."""
        return get_method(self.method.get("name", "clip"))

    @property
    def method_settings(self) -> dict[str, Any]:
        """The method's settings, without its name."""
        return {key: value for key, value in self.method.items() if key != "name"}

    @field_validator("evaluate", mode="before")
    @classmethod
    def _tasks_and_their_options(cls, value: Any) -> Any:
        if isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(name, str) for name in value):
            return list(value)
        if isinstance(value, Mapping) and all(isinstance(own, Mapping | None) for own in value.values()):
            return {name: dict(own or {}) for name, own in value.items()}
        raise ValueError("expected a list of tasks, or tasks with their options, such as {knn: {k: 5}}")

    @field_validator("method", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("bundle")
    @classmethod
    def _bundle_is_named(cls, value: str | None) -> str | None:
        if value is None or is_bundle(value):
            return value
        raise ValueError(f"expected {', '.join(f'{kind}:FOLDER' for kind in BUNDLES)}, or hf:NAME for FOLDER")

    @field_validator("encoders", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        known = sorted({*modalities(), *encoded_fields()})
        unknown = [modality for modality in value if modality not in known]
        if unknown:
            raise ValueError(no_such("modality", str(unknown[0]), known))
        return {modality: {"name": item} if isinstance(item, str) else item for modality, item in value.items()}


def wanted_fields(kind: type[Method], settings: Any, unread: Collection[str] = ()) -> tuple[str, ...]:
    """The fields that are guessed only where somebody wants them, of a method that does.

    Args:
        kind: the method.
        settings: its own, parsed.
        unread: targets that are not read this time.
    """
    targets = fields_of(name for name in kind.targets if name not in unread)
    return (*targets, *(field for field in kind.reads(settings) if not declared(field).main))


def added_targets(run: RunConfig) -> tuple[str, ...]:
    """The targets that added objectives read."""
    return tuple(dict.fromkeys(name for added in run.objective_add for name in get_objective(added).targets))


def with_encoders(
    run: RunConfig,
    freeze: str | int | Sequence[str] | Mapping[str, str | int | Sequence[str]] | None = None,
    weights: str | Mapping[str, str] | None = None,
) -> RunConfig:
    """``run`` with a wish for its encoders: one for all of them, or modality -> wish, ``"*"`` for the others.

    What is wished of all passes over encoders that have no pretrained weights: they have to be trained.

    Args:
        run: the run.
        freeze: as in :class:`EncoderConfig`.
        weights: likewise; a path is of one modality.

    Raises:
        ConfigError: a modality or a wish is unknown, or the method has no encoder of a modality.
    """
    wanted = run.kind.wants(run.kind.Config.parse(run.method_settings, "method"))
    encoders = {modality: run.encoders.get(modality, EncoderConfig()) for modality in {**run.encoders, **wanted}}
    for option, wish in (("freeze", freeze), ("weights", weights)):
        for modality, value in _by_modality(run, option, wish, list(wanted)).items():
            changed = {**encoders[modality].model_dump(), option: value}
            encoders[modality] = EncoderConfig.parse(changed, at=f"encoders.{modality}")
    named = {modality: encoder for modality, encoder in encoders.items() if encoder != EncoderConfig()}
    return run.model_copy(update={"encoders": named})


def _by_modality(run: RunConfig, option: str, wish: Any, wanted: Sequence[str]) -> dict[str, Any]:
    """A wish as modality -> value, of the modalities that the method wants."""
    wishes = dict(wish) if isinstance(wish, Mapping) else {} if wish is None else {"*": wish}
    unknown = next((modality for modality in wishes if modality not in (*wanted, "*")), None)
    if unknown is not None:
        raise ConfigError(f"--{option} {unknown}={wishes[unknown]}: {no_such('encoder', unknown, wanted)}")
    everywhere = wishes.pop("*", None)
    if option == "weights" and everywhere not in (None, RANDOM):
        raise ConfigError(f"--weights {everywhere}: say whose, such as --weights {wanted[0]}={everywhere}")
    rest = [] if everywhere is None else [name for name in wanted if not _starts_at_random(run, name)]
    return {**dict.fromkeys(rest, everywhere), **wishes}


def _starts_at_random(run: RunConfig, modality: str) -> bool:
    asked, settings = run.encoders.get(modality, EncoderConfig()), run.kind.Config.parse(run.method_settings, "method")
    usual = {**run.kind.default_encoders(settings), **brought_encoders(run, settings)}
    name = asked.name or usual.get(modality, {}).get("name")
    return name is not None and starts_at_random({**asked.options, "name": name})


def brought_encoders(run: RunConfig, settings: Config) -> dict[str, Mapping[str, Any]]:
    """Modality -> the encoder that the run's bundle brings, or that the method makes of one of them.

    Args:
        run: the run; without a bundle nothing is brought.
        settings: the method's, parsed.
    """
    if run.bundle is None:
        return {}
    towers = {modality: {"name": run.bundle} for modality in modalities() if find(modality, run.bundle) is not None}
    return {**towers, **run.kind.encoders_from(settings, run.bundle)}


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
