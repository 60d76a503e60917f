"""One arm on one seed: its run, its rows, its start, its result."""

from __future__ import annotations

import inspect
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from accord import __version__
from accord.claims.declare import Arm, Claim, Data, Measure, Metrics
from accord.claims.source import method_source, source_of
from accord.claims.start import Budget, Pool, budget, fresh, random_tensors, share
from accord.claims.store import Result, key_of
from accord.data.corpus import Corpus
from accord.data.recipe import Prepared, prepare
from accord.data.splits import Splits
from accord.errors import ConfigError
from accord.methods import Method, get_method
from accord.pipeline.build import with_prepared_texts
from accord.pipeline.config import RunConfig, merged
from accord.pipeline.score import score
from accord.training.fit import fit
from accord.training.identity import weights_digest
from accord.training.model import Model
from accord.training.seeding import seed_everything

QUICK = {"training.epochs": 1, "training.cached_augmentations": 1}
QUICK_TRAIN, QUICK_TEST = 256, 128  # rows of a smoke run; two batches where those are larger


@dataclass
class Seed:
    """What the arms of one seed share.

    Args:
        number: the seed.
        pool: their random tensors.
        corpora: their rows, by what they were made from.
    """

    number: int
    pool: Pool = field(default_factory=dict)
    corpora: dict[Any, tuple[Corpus, Corpus]] = field(default_factory=dict)


@dataclass(frozen=True)
class Ready:
    """An arm that is about to be run on a seed.

    Args:
        key: hash of everything that decides its result.
        run: gives the result.
        budget: what training will do; None for a function.
    """

    key: str
    run: Callable[[], Result]
    budget: Budget | None = None


class Arms:
    """Runs the arms of a claim.

    Args:
        claim: the declaration.
        folder: where its file is, for the sources that decide a result.
        quick: the smoke run.
        device: kind of device that arms are trained on; None for what the claim says.
    """

    def __init__(self, claim: Claim, folder: Path, quick: bool = False, device: str | None = None) -> None:
        self.claim, self.folder, self.quick, self.device = claim, folder, quick, device
        self._random: dict[str, frozenset[str]] = {}

    def smoke(self) -> Arms:
        """The same arms in a smoke run."""
        other = Arms(self.claim, self.folder, quick=True, device=self.device)
        other._random = self._random
        return other

    def ready(self, name: str, seed: Seed) -> Ready:
        """Everything up to the start of an arm's training.

        Raises:
            ConfigError: a setting of the arm is wrong.
            DataError: its data cannot be read.
        """
        arm = self.claim.arms[name]
        assert isinstance(arm, Arm)  # combined ones are not run
        facts = {"seed": seed.number, "accord": __version__, "torch": torch.__version__}
        if arm.function is not None:
            function = arm.function
            key = key_of({**facts, "function": source_of(function, self.folder)})
            return Ready(key, lambda: self._call(name, function, seed.number))
        config = self.config(name, seed.number)
        train, test = self._corpora(arm, config, seed)
        kind = config.kind
        corpus = with_prepared_texts(train, kind)
        encoders = arm.encoders or self.claim.encoders
        method = fresh(config, corpus, encoders)
        if name not in self._random:
            self._random[name] = random_tensors(method, fresh(config, corpus, encoders, other=True))
        share(method, self._random[name], seed.pool)
        functions = (encoders, self.claim.measure)
        facts |= {
            "run": _told(config),
            "training": config.training.decisive(),
            "rows": [corpus.fingerprint, test.fingerprint],
            "weights": weights_digest(method),
            "sources": [method_source(kind), *(source_of(one, self.folder) for one in functions)],
        }
        cost = budget(method, corpus, config.training)
        return Ready(key_of(facts), lambda: self._train(name, method, config, (train, test, corpus), cost), cost)

    def config(self, name: str, seed: int) -> RunConfig:
        """The whole configuration of an arm on a seed.

        Raises:
            ConfigError: a setting is unknown or out of range, or names data that a function makes.
        """
        arm = self.claim.arms[name]
        assert isinstance(arm, Arm)
        data = arm.data if arm.data is not None else self.claim.data
        changes = {**arm.changes, "training.seed": seed}
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

    def _quick_changes(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """The smoke run's changes, without settings that the arm's method does not have."""
        method = run.get("method", "clip")
        known = get_method(method if isinstance(method, str) else method.get("name", "clip")).Config.model_fields
        changes = {**QUICK, **self.claim.quick}
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
            if self.quick:
                train = _few(train, max(QUICK_TRAIN, 2 * config.training.batch_size), seed.number)
                test = _few(test, QUICK_TEST, seed.number)
            seed.corpora[key] = train, test
        return seed.corpora[key]

    def _train(
        self, name: str, method: Method, config: RunConfig, rows: tuple[Corpus, Corpus, Corpus], cost: Budget
    ) -> Result:
        started = time.perf_counter()
        train, test, corpus = rows
        with TemporaryDirectory() as folder:
            fitted = fit(method, corpus, config.training, Path(folder), progress=False)
        model = Model(method, config=config.model_dump(mode="json"))
        measure = self.claim.measure or _evaluations(config)
        seed_everything(config.training.seed)  # what is random in measuring is the same for all arms
        metrics = self._checked(name, config.training.seed, measure(model, train, test))
        return Result(metrics, time.perf_counter() - started, fitted.seconds, fitted.steps, cost.epochs)

    def _call(self, name: str, function: Callable[..., Metrics], seed: int) -> Result:
        started = time.perf_counter()
        options = {"quick": self.quick} if "quick" in inspect.signature(function).parameters else {}
        seed_everything(seed)
        metrics = self._checked(name, seed, function(seed, **options))
        return Result(metrics, time.perf_counter() - started)

    def _checked(self, name: str, seed: int, metrics: Metrics) -> dict[str, float]:
        found = {metric: float(value) for metric, value in metrics.items()}
        for metric, value in found.items():
            if not math.isfinite(value):
                where = f"claim {self.claim.slug!r}, arm {name!r}, seed {seed}"
                raise ConfigError(f"{where}: metric {metric!r} is {value}; expected a finite number")
        return found


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


def _evaluations(config: RunConfig) -> Measure:
    """The evaluation tasks of a run as a measure."""

    def measure(model: Model, train: Corpus, test: Corpus) -> Metrics:
        prepared = Prepared(train, test, test.select([]), Splits({}))
        return {metric.name: metric.value for metric in score(model, prepared, config.evaluate)}

    return measure
