"""What a claim is: the paper's sentence, the arms that are trained for it, and the questions put to their values.

A file ``claims/SLUG.py`` defines ``CLAIM = Claim(slug="SLUG", ...)``. It only declares; training, pairing by seed,
intervals, verdicts, the record and the figure are the harness's business (:mod:`accord.claims.run`). All arms of a seed
see the same rows in the same order and start from the same random weights, wherever names and shapes agree.

A whole file::

    from shared.digits import digit_scenes          # claims/ is on the path while the file runs

    from accord.claims import Arm, Claim, Question

    def measure(model, train, test):
        ...
        return {"R@1": 100 * hits.mean()}

    CLAIM = Claim(
        slug="clip",
        paper="A learnable temperature removes a setting that had to be tuned.",
        data=digit_scenes,
        run={
            "method": {"name": "clip", "dim": 64},
            "encoders": {
                "image": {"name": "tiny_vit", "options": {"size": 16, "patch": 4, "width": 64, "depth": 2, "heads": 4}},
                "text": {"name": "tiny_text", "options": {"width": 64, "depth": 2, "heads": 4}},
            },
            "training": {"epochs": 16, "batch_size": 256, "lr": 2e-3},
        },
        arms={"learnt": Arm(), "fixed": Arm({"method.temperature": 1.0, "method.learn_temperature": False})},
        measure=measure,
        questions=[
            Question(
                "temperature",
                "A learnable temperature ends at a higher recall than a fixed temperature of 1.",
                method="learnt",
                baseline="fixed",
                metric="R@1",
                refuted="mean R@1 is not higher",
            )
        ],
        tuning="Learning rate from {1e-3, 2e-3, 4e-3} on seed 100, the same for both arms.",
    )
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from accord.errors import ConfigError

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.encoders.base import Encoder
    from accord.training.model import Model

Metrics = Mapping[str, float]
Data = Mapping[str, Any] | Callable[[int], "tuple[Corpus, Corpus]"]
Encoders = Callable[["Corpus", int], "Mapping[str, Encoder]"]
Measure = Callable[["Model", "Corpus", "Corpus"], Metrics]

EQUAL = ("steps", "epochs", "nothing")


@dataclass(frozen=True)
class Arm:
    """One contestant: the common run with changes, or a function of its own.

    Args:
        changes: dotted settings over ``Claim.run``, such as ``{"method.name": "protoclip", "training.lr": 1e-3}``. A
            name without a dot replaces the whole part: ``{"method": {"name": "clip"}}``. ``data.…`` is allowed where
            the data are a section, ``data.definitions`` always.
        function: for what is not one training run: ``(seed) -> {metric: value}``, instead of ``changes``. One with a
            parameter ``quick`` gets ``quick=True`` in a smoke run and should then do the least that shows it works.
        data: replaces ``Claim.data`` for this arm. The test rows should be the same ones.
        encoders: replaces ``Claim.encoders`` for this arm.
        trials: how many settings were tried when its hyper-parameters were chosen. The arms of a question must agree
            on it: the arm that was tuned more wins for that reason alone.
        note: one line on what it is.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    function: Callable[..., Metrics] | None = None
    data: Data | None = None
    encoders: Encoders | None = None
    trials: int = 1
    note: str = ""

    def __post_init__(self) -> None:
        if self.function is not None and (self.changes or self.data is not None or self.encoders is not None):
            raise ConfigError("an arm is either a function or changes to the common run (changes, data, encoders)")
        if self.trials < 1:
            raise ConfigError(f"trials = {self.trials}: expected at least 1, for the settings that the arm has")


@dataclass(frozen=True)
class Combined:
    """An arm that is not trained: each seed's values are computed from those of other arms.

    For thresholds between arms and for differences of differences, such as a gain without augmentation against the
    gain with it.

    Args:
        of: the arms it is computed from, each an :class:`Arm`.
        value: ``(metrics of the first, metrics of the second, ...) -> {metric: value}``, for one seed.
        note: one line on what it is.

    Example:
        >>> half = Combined(("noisy", "clean"), lambda noisy, clean: {"top-1": (noisy["top-1"] + clean["top-1"]) / 2})
        >>> half.value({"top-1": 40.0}, {"top-1": 60.0})
        {'top-1': 50.0}
    """

    of: Sequence[str]
    value: Callable[..., Metrics]
    note: str = ""


@dataclass(frozen=True)
class Question:
    """One statement that can turn out wrong.

    Its effect is the mean over seeds of method minus baseline, with the sign turned where lower is better: positive
    always speaks for the method. It **holds** when the whole 95 % interval lies above ``margin``, **does not hold**
    when all of it lies below, and is **undecided** otherwise.

    Args:
        name: short, unique in the claim.
        statement: the sentence, with its margin where it has one.
        method: the arm that the statement is about.
        baseline: the arm it is compared with, or a fixed level of the metric.
        metric: what is compared, a key of what ``measure`` returns.
        baseline_metric: the baseline's metric where it is another one; ``baseline`` may then be the method itself
            ("half of the tokens lose less than 3 points").
        unit: of the metric and so of the effect, such as ``"points"`` or ``"nats"``.
        higher: whether higher values are better.
        margin: what the effect must exceed: 0 for "is better", 15 for "at least 15 points better", −1 for "loses
            less than a point".
        refuted: what refutes the statement.
        equal: what both arms must have in common: ``"steps"`` (optimiser steps), ``"epochs"`` (passes over the
            training rows), or ``"nothing"``, where the statement is about unequal budgets and says so. Steps and
            seconds of every arm are recorded in any case.
        every: the statement is a promise and not a tendency: it holds when each seed's difference exceeds the margin,
            and does not hold when one does not.
        unequal_trials: the arms' numbers of ``trials`` differ and the question is asked all the same, for this
            reason; the table shows it. Without it such a question is refused.
    """

    name: str
    statement: str
    method: str
    baseline: str | float
    metric: str
    baseline_metric: str = ""
    unit: str = "points"
    higher: bool = True
    margin: float = 0.0
    refuted: str = ""
    equal: Literal["steps", "epochs", "nothing"] = "steps"
    every: bool = False
    unequal_trials: str = ""

    def __post_init__(self) -> None:
        if self.equal not in EQUAL:
            raise ConfigError(f"question {self.name!r}: equal = {self.equal!r}; expected one of {', '.join(EQUAL)}")

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the arms it needs."""
        return (self.method,) if isinstance(self.baseline, int | float) else (self.method, self.baseline)


@dataclass(frozen=True)
class Claim:
    """A paper's statement and how it is measured.

    Args:
        slug: name of the file, and of the method where there is one.
        paper: what the paper says, in a sentence or two of our own.
        arms: name -> arm. Each trained arm starts from the random weights of the first one where names and shapes
            agree.
        questions: the statements.
        data: ``(seed) -> (training corpus, test corpus)``, or a data section of a run, such as
            ``{"source": "pack:emoji", "split": {"test": 0.3}}``, whose split is then another one for each seed.
        run: the run configuration that all arms share, without its data: ``method``, ``encoders``, ``training``,
            ``evaluate``; ``{"data": {"definitions": ...}}`` where classes have texts. Seeds are set by the harness.
        encoders: ``(training corpus, seed) -> {modality: encoder}`` for encoders that have no name in the registry;
            they stand for ``run["encoders"]`` of the same modality. Seeded before the call.
        measure: ``(model, training corpus, test corpus) -> {metric: value}``. Without it, the evaluation tasks of
            ``run["evaluate"]`` by the names of their metrics.
        seeds: how many, counted from 0, or which.
        quick: dotted changes of the smoke run beyond one epoch on a few hundred rows, such as
            ``{"method.vanilla_epochs": 1}``; of those that name a method's setting, an arm takes what it knows.
        tuning: how the settings were chosen, on which seeds and with how many trials; printed with the results.

    Raises:
        ConfigError: a question names an arm that does not exist, two share a name, a trained arm has no data, or the
            arms of a question were tuned with different numbers of trials.
    """

    slug: str
    paper: str
    arms: Mapping[str, Arm | Combined]
    questions: Sequence[Question]
    data: Data | None = None
    run: Mapping[str, Any] = field(default_factory=dict)
    encoders: Encoders | None = None
    measure: Measure | None = None
    seeds: int | Sequence[int] = 5
    quick: Mapping[str, Any] = field(default_factory=dict)
    tuning: str = ""

    def __post_init__(self) -> None:
        if not self.arms or not self.questions:
            raise ConfigError(f"claim {self.slug!r}: expected at least one arm and one question")
        if not self.chosen_seeds():
            raise ConfigError(f"claim {self.slug!r}: seeds = {self.seeds!r}; expected at least one")
        for name, arm in self.arms.items():
            self._check_arm(name, arm)
        names = [question.name for question in self.questions]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigError(f"claim {self.slug!r}: two questions are called {twice[0]!r}")
        for question in self.questions:
            self._check_question(question)

    def chosen_seeds(self, number: int | None = None) -> tuple[int, ...]:
        """The seeds, or the first ``number`` of them; beyond the last it counts on.

        >>> claim = Claim("demo", "", {"a": Arm(function=lambda seed: {"x": 1.0})}, [Question("q", "", "a", 0.0, "x")])
        >>> claim.chosen_seeds(), claim.chosen_seeds(2)
        ((0, 1, 2, 3, 4), (0, 1))
        """
        own = tuple(range(self.seeds)) if isinstance(self.seeds, int) else tuple(self.seeds)
        if number is None or not own:
            return own
        return (*own, *range(own[-1] + 1, own[-1] + 1 + number - len(own)))[:number]

    def trained(self, *names: str) -> tuple[str, ...]:
        """The arms that stand behind these names: themselves, or those that a combined one is computed from."""
        found: dict[str, None] = {}
        for name in names:
            arm = self.arms[name]
            found.update(dict.fromkeys(arm.of if isinstance(arm, Combined) else (name,)))
        return tuple(found)

    def _check_arm(self, name: str, arm: Arm | Combined) -> None:
        if isinstance(arm, Combined):
            for part in arm.of:
                if not isinstance(self.arms.get(part), Arm):
                    raise ConfigError(f"claim {self.slug!r}: arm {name!r} is computed from {part!r}, {self._no(part)}")
        elif arm.function is None and arm.data is None and self.data is None:
            raise ConfigError(f"claim {self.slug!r}: arm {name!r} has nothing to train on: set data, or a function")

    def _check_question(self, question: Question) -> None:
        for name in question.arms:
            if name not in self.arms:
                raise ConfigError(f"claim {self.slug!r}: question {question.name!r} names {name!r}, {self._no(name)}")
        trials = self.trials(question)
        if len(set(trials.values())) > 1 and not question.unequal_trials:
            tried = ", ".join(f"{name} {number}" for name, number in trials.items())
            raise ConfigError(
                f"claim {self.slug!r}: question {question.name!r} compares arms that were tuned unequally (trials: "
                f"{tried}): tune them with the same number of settings, and declare it in each Arm"
            )

    def trials(self, question: Question) -> dict[str, int]:
        """How many settings were tried for each arm behind a question."""
        arms = {name: self.arms[name] for name in self.trained(*question.arms)}
        return {name: arm.trials for name, arm in arms.items() if isinstance(arm, Arm)}

    def _no(self, name: str) -> str:
        trained = ", ".join(name for name, arm in self.arms.items() if isinstance(arm, Arm))
        return (
            f"which is no arm that can be trained; there are: {trained}"
            if name in self.arms
            else (f"which is no arm; there are: {', '.join(self.arms)}")
        )
