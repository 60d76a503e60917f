"""The arms of a claim, each on each seed: its run, its rows, its start, and the name that its result is kept under."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from accord.claims.code import Code, code_of, modules_named
from accord.claims.declare import Arm, Claim, Data
from accord.claims.measuring import THREADS, Found, Rows, call, evaluations, held_out, train_and_measure
from accord.claims.source import Source, source_of
from accord.claims.start import Budget, Pool, budget, fresh, random_tensors, share
from accord.claims.store import key_of
from accord.data.corpus import Corpus
from accord.data.recipe import prepare
from accord.data.targets import get_target
from accord.errors import ConfigError, DivergenceError
from accord.evaluation.tasks import task_names
from accord.methods import Method, get_method
from accord.pipeline.build import with_prepared_texts
from accord.pipeline.config import RunConfig, merged
from accord.training.device import resolve_device
from accord.training.identity import weights_digest

QUICK = {"training.epochs": 1, "training.cached_augmentations": 1}
QUICK_TRAIN, QUICK_TEST, QUICK_BATCH = 64, 64, 32  # rows of a smoke run, and of its batches where they were larger

Settings = Mapping[str, Any]  # dotted setting -> value, as chosen by a search


@dataclass
class Seed:
    """What the arms of one seed share.

    Args:
        number: the seed.
        pool: their random tensors.
        started: the arms whose tensors are in the pool.
        corpora: their rows, by what they were made from.
    """

    number: int
    pool: Pool = field(default_factory=dict)
    started: set[str] = field(default_factory=set)
    corpora: dict[Any, tuple[Corpus, Corpus]] = field(default_factory=dict)


@dataclass(frozen=True)
class Ready:
    """An arm that is about to be run on a seed.

    Args:
        facts: gives everything that decides its result.
        run: gives the result.
        code: the code that it depends on.
    """

    facts: Callable[[], dict[str, Any]]
    run: Callable[[], Found]
    code: Code

    @cached_property
    def key(self) -> str:
        """Hash of everything that decides its result; not to be asked for once it was run."""
        return key_of(self.facts())


@dataclass(frozen=True)
class _Built:
    """An arm's method before training, and what it is trained with."""

    method: Method
    config: RunConfig
    rows: Rows


class Arms:
    """Prepares the arms of a claim.

    Args:
        claim: the declaration.
        folder: where its file is, for the sources that decide a result.
        quick: the smoke run.
        device: kind of device that arms are trained on; None for what the claim says.
        settings: arm -> the settings that a search chose for it.
    """

    def __init__(
        self,
        claim: Claim,
        folder: Path,
        *,
        quick: bool = False,
        device: str | None = None,
        settings: Mapping[str, Settings] | None = None,
    ) -> None:
        self.claim, self.folder, self.quick, self.device = claim, folder, quick, device
        self.settings = settings or {}
        self._random: dict[str, frozenset[str]] = {}
        self._sources: dict[str, Source] = {}
        self._codes: dict[Any, Code] = {}

    def smoke(self) -> Arms:
        """The same arms in a smoke run."""
        return Arms(self.claim, self.folder, quick=True, device=self.device, settings=self.settings)

    @property
    def names(self) -> list[str]:
        """The arms that are run: all that are not computed from others."""
        return [name for name, arm in self.claim.arms.items() if isinstance(arm, Arm)]

    def ready(self, name: str, seed: Seed) -> Ready:
        """Everything up to the start of an arm's training, from the random weights of the arms before it.

        Raises:
            ConfigError: a setting of the arm is wrong.
            DataError: its data cannot be read.
        """
        if self._arm(name).function is not None:
            return self._function(name, seed.number, self.settings.get(name, {}))
        if self.quick:  # which compares nothing
            return self._training(name, self._built(name, seed), seed.number)
        for earlier in self.names[: self.names.index(name)]:
            if earlier not in seed.started and self._arm(earlier).function is None:
                self._started(earlier, seed)
        return self._training(name, self._started(name, seed), seed.number)

    def trial(self, name: str, seed: int, settings: Settings, held: float) -> Ready:
        """The same with other settings, by itself, on training rows of which a share is held out and measured on.

        Raises:
            ConfigError: a setting of the arm is wrong.
            DataError: its data cannot be read.
        """
        if self._arm(name).function is not None:
            return self._function(name, seed, settings, held)
        return self._training(name, self._built(name, Seed(seed), settings, held), seed)

    def budget(self, name: str, seed: Seed) -> Budget | None:
        """What an arm's training will do; None for a function, which tells afterwards.

        Raises:
            ConfigError: a setting of the arm is wrong.
            DataError: its data cannot be read.
        """
        return None if self._arm(name).function is not None else self._cost(name, self._built(name, seed))

    def config(self, name: str, seed: int, settings: Settings | None = None) -> RunConfig:
        """The whole configuration of an arm on a seed.

        Raises:
            ConfigError: a setting is unknown or out of range, or names data that a function makes.
        """
        arm = self._arm(name)
        data = arm.data if arm.data is not None else self.claim.data
        chosen = self.settings.get(name, {}) if settings is None else settings
        changes = {**arm.changes, **chosen, "training.seed": seed}
        if self.device is not None:
            changes["training.accelerator"] = self.device
        common = dict(self.claim.run)
        if isinstance(data, Mapping):
            common["data"] = {**common.get("data", {}), **data}
            changes["data.split.seed"] = seed
        else:
            common["data"] = {"source": f"claims/{self.claim.slug}.py", **common.get("data", {})}
            _check_data(self.claim.slug, name, common["data"], arm.changes)
        run = merged(common, changes)
        return RunConfig.parse(merged(run, self._quick_changes(run)) if self.quick else run)

    def _arm(self, name: str) -> Arm:
        arm = self.claim.arms[name]
        assert isinstance(arm, Arm)  # combined ones are not run
        return arm

    def _started(self, name: str, seed: Seed) -> _Built:
        """An arm with the random weights that it shares with those before it."""
        built = self._built(name, seed)
        if name not in self._random:
            encoders = self._arm(name).encoders or self.claim.encoders
            other = fresh(built.config, built.rows.fed, encoders, other=True)
            self._random[name] = random_tensors(built.method, other)
        share(built.method, self._random[name], seed.pool)
        seed.started.add(name)
        return built

    def _built(self, name: str, seed: Seed, settings: Settings | None = None, held: float = 0.0) -> _Built:
        arm, config = self._arm(name), self.config(name, seed.number, settings)
        train, test = self._corpora(arm, config, seed)
        if held:
            train, test = held_out(train, held, seed.number)
        fed = with_prepared_texts(train, config.kind)
        method = fresh(config, fed, arm.encoders or self.claim.encoders)
        return _Built(method, config, Rows(train, test, fed))

    def _cost(self, name: str, built: _Built) -> Budget:
        untrained = self._arm(name).untrained
        return Budget(0, 0) if untrained else budget(built.method, built.rows.fed, built.config.training)

    def _training(self, name: str, built: _Built, seed: int) -> Ready:
        arm, config = self._arm(name), built.config
        measure = self.claim.measure or evaluations(config)
        source = self._source(name, arm.encoders or self.claim.encoders, self.claim.measure)
        named = _modules_of(built, tasks=self.claim.measure is None)
        code = self._code(source, frozenset(named))
        cost = self._cost(name, built)

        def facts() -> dict[str, Any]:
            return {
                **self._facts(code, seed, config.training.accelerator),
                "run": _told(config),
                "training": config.training.decisive(),
                "untrained": arm.untrained,
                "rows": [built.rows.fed.fingerprint, built.rows.test.fingerprint],
                "weights": weights_digest(built.method),
            }

        def run() -> Found:
            found = train_and_measure(
                built.method,
                built.rows,
                config,
                measure,
                epochs=cost.epochs,
                untrained=arm.untrained,
                quick=self.quick,
            )
            return self._checked(name, seed, found)

        return Ready(facts, run, code)

    def _function(self, name: str, seed: int, settings: Settings, held: float = 0.0) -> Ready:
        arm = self._arm(name)
        assert arm.function is not None
        function, parameters = arm.function, inspect.signature(arm.function).parameters
        if (arm.search or arm.settings_of) and not {"settings", "share"} <= parameters.keys():
            raise ConfigError(
                f"claim {self.claim.slug!r}, arm {name!r}: a function with a search is called with the settings that "
                "are tried and the share of rows to hold out: give it the parameters settings and share"
            )
        source = self._source(name, function)
        code = self._code(source, frozenset(modules_named(source.words)))
        options = {"settings": settings, "share": held}
        given = options if arm.search or arm.settings_of else {}  # another's may be bound, under the same names
        return Ready(
            lambda: {**self._facts(code, seed, "auto"), **options},
            lambda: self._checked(name, seed, call(function, seed, quick=self.quick, **given)),
            code,
        )

    def _checked(self, name: str, seed: int, found: Found) -> Found:
        for metric, value in found.metrics.items():
            if not math.isfinite(value):
                where = f"claim {self.claim.slug!r}, arm {name!r}, seed {seed}"
                raise DivergenceError(f"{where}: metric {metric!r} is {value}; expected a finite number")
        return found

    def _facts(self, code: Code, seed: int, accelerator: str) -> dict[str, Any]:
        """What decides a result beside settings, rows and weights."""
        return {
            "seed": seed,
            "code": code.told(),
            "threads": THREADS,
            "device": resolve_device(self.device or accelerator).type,
        }

    def _source(self, name: str, *functions: Any) -> Source:
        """The claim's own code behind an arm, read once."""
        if name not in self._sources:
            self._sources[name] = source_of(self.folder, *functions)
        return self._sources[name]

    def _code(self, source: Source, roots: frozenset[str]) -> Code:
        """The code behind an arm, found once."""
        if (source, roots) not in self._codes:
            self._codes[source, roots] = code_of(source, roots)
        return self._codes[source, roots]

    def _quick_changes(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """The smoke run's changes, without settings that the arm's method does not have."""
        method = run.get("method", "clip")
        known = get_method(method if isinstance(method, str) else method.get("name", "clip")).Config.model_fields
        batch = min(QUICK_BATCH, RunConfig.parse(dict(run)).training.batch_size)
        changes = {**QUICK, "training.batch_size": batch, **self.claim.quick}
        own = {key: key.removeprefix("method.") for key in changes if key.startswith("method.")}
        return {key: value for key, value in changes.items() if key not in own or own[key] in known}

    def _corpora(self, arm: Arm, config: RunConfig, seed: Seed) -> tuple[Corpus, Corpus]:
        """Training and test rows; made once for all arms that share them."""
        data: Data | None = arm.data if arm.data is not None else self.claim.data
        key = data if callable(data) else json.dumps(config.data.model_dump(mode="json"), sort_keys=True)
        if key not in seed.corpora:
            if callable(data):
                train, test = data(seed.number)
            else:
                prepared = prepare(config.data, quiet=True)
                train, test = prepared.train, prepared.test
            seed.corpora[key] = train, test
        train, test = seed.corpora[key]
        if self.quick:
            rows = max(QUICK_TRAIN, 2 * config.training.batch_size)
            return _few(train, rows, seed.number), _few(test, QUICK_TEST, seed.number)
        return train, test


def _modules_of(built: _Built, *, tasks: bool) -> Iterator[str]:
    """The modules behind a run that no import leads to, since they are found by name."""
    for part in built.method.modules():
        for kind in type(part).__mro__:
            yield kind.__module__
    for target in {*built.config.kind.targets, *built.rows.train.targets, *built.rows.test.targets}:
        yield get_target(target).__module__
    yield from modules_named(built.method.encoders)
    if tasks:
        yield from (f"accord.evaluation.tasks.{task}" for task in built.config.evaluate or task_names())
    if built.config.bundle is not None:
        yield f"accord.encoders.bundles.{built.config.bundle.partition(':')[0]}"


def _told(config: RunConfig) -> dict[str, Any]:
    """The settings of a run but those of its training, and but where its data lie.

    What "auto" freezes follows from the weights, a fact as well.
    """
    told = config.model_dump(mode="json", exclude={"training": True, "data": {"location"}})
    for encoder in told["encoders"].values():
        encoder["freeze"] = "none" if encoder["freeze"] == "auto" else encoder["freeze"]
    return told


def _check_data(slug: str, arm: str, data: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Refuse settings of data that a function makes, which would change nothing."""
    idle = [f"data.{key}" for key in data if key not in ("source", "definitions")]
    idle += [key for key in changes if key.split(".")[0] == "data" and not key.startswith("data.definitions")]
    if idle:
        raise ConfigError(
            f"claim {slug!r}, arm {arm!r}: {idle[0]} changes nothing where a function makes the rows; give the arm "
            "a function of its own: Arm(..., data=...)"
        )


def _few(corpus: Corpus, rows: int, seed: int) -> Corpus:
    """Some rows of a corpus, drawn once and kept in order."""
    generator = torch.Generator().manual_seed(seed)
    return corpus.select(torch.randperm(len(corpus), generator=generator)[:rows].sort().values.numpy())
