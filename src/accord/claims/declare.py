"""What a claim is: the paper's sentence, the arms that are trained for it, and the questions put to their values.

A file ``claims/SLUG.py`` defines ``CLAIM = Claim(slug="SLUG", ...)``. It only declares; training, pairing by seed,
intervals, verdicts, the record and the figure are the harness's business (:mod:`accord.claims.run`). All arms of a seed
see the same rows in the same order and start from the same random weights, wherever names and shapes agree.

A whole file::

    from shared.digits import digit_scenes          # claims/ is on the path while the file runs

    from accord.claims import Arm, Claim, Question, Scale, Tuning

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
            "training": {"epochs": 16, "batch_size": 256},
        },
        arms={
            "learnt": Arm(search={"training.lr": (5e-4, 8e-3, "log")}),
            "fixed": Arm(
                {"method.temperature": 0.07, "method.learn_temperature": False},
                search={"training.lr": (5e-4, 8e-3, "log")},
            ),
            "untrained": Arm(untrained=True),
            "whole captions": Arm(data=complete_scenes, note="what there is to gain: no caption leaves a digit out"),
        },
        measure=measure,
        scales={"R@1": Scale(floor=("untrained", 0.2), ceiling="whole captions")},
        questions=[
            Question(
                "temperature",
                "A learnable temperature ends at a higher recall than the one that the paper starts from.",
                method="learnt",
                baseline="fixed",
                metric="R@1",
                smallest=2.0,
                because="two points of R@1 are what half as many rows again bring",
            )
        ],
        tune=Tuning(trials=8, seeds=(100, 101), metric="R@1"),
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

Metrics = Mapping[str, float]
Data = Mapping[str, Any] | Callable[[int], "tuple[Corpus, Corpus]"]
Encoders = Callable[["Corpus", int], "Mapping[str, Encoder]"]
Measure = Callable[..., Metrics]  # of a model, the training rows and the test rows
Level = str | float  # the name of an arm, or a level of the metric such as chance
Choices = Sequence[Any]  # values to choose from, or (low, high, "log")

EQUAL = ("steps", "epochs", "nothing")
KINDS_OF_DATA = ("real", "composed", "synthetic")
EXPECTED = ("better", "equivalent")
HEADLINE_SEEDS = 10


@dataclass(frozen=True)
class Measured:
    """What a function arm gives: its values, and what they were trained for.

    Args:
        metrics: metric -> value.
        steps: optimiser steps made, which are compared with those of the other arms of a question.
        epochs: passes over the training rows.
    """

    metrics: Metrics
    steps: int | None = None
    epochs: int | None = None


@dataclass(frozen=True)
class Arm:
    """One contestant: the common run with changes, or a function of its own.

    Args:
        changes: dotted settings over ``Claim.run``, such as ``{"method.name": "protoclip", "training.lr": 1e-3}``. A
            name without a dot replaces the whole part: ``{"method": {"name": "clip"}}``. ``data.…`` is allowed where
            the data are a section, ``data.definitions`` always.
        function: for what is not one training run: ``(seed) -> Measured``, instead of ``changes``; mere
            ``{metric: value}`` where all its questions say ``equal="nothing"``. A parameter ``quick`` gets True in a
            smoke run, which should then do the least that shows it works. One with a ``search`` has the parameters
            ``settings``, ``{name: value}`` of what was searched for, and ``share``, the share of the training rows
            that it is to hold out and measure on instead of the test rows; 0 unless settings are being chosen.
        data: replaces ``Claim.data`` for this arm. The test rows should be the same ones.
        encoders: replaces ``Claim.encoders`` for this arm.
        untrained: built as any arm is, trained for no step, and measured: a floor.
        search: dotted setting -> values to choose from, or ``(low, high, "log")``; ``accord claims tune`` draws as
            many combinations for every arm that has a search, and the best one is what the arm is run with.
        settings_of: the arm whose chosen settings this one takes over, instead of a search of its own.
        note: one line on what it is.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    function: Callable[..., Metrics | Measured] | None = None
    data: Data | None = None
    encoders: Encoders | None = None
    untrained: bool = False
    search: Mapping[str, Choices] = field(default_factory=dict)
    settings_of: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        own = self.changes or self.data is not None or self.encoders is not None or self.untrained
        if self.function is not None and own:
            raise ConfigError(
                "an arm is either a function or changes to the common run (changes, data, encoders, untrained)"
            )
        if self.search and (self.settings_of or self.untrained):
            raise ConfigError("an arm has a search, or takes another's settings (settings_of), or is untrained")
        for setting, choices in self.search.items():
            if isinstance(choices, str) or len(choices) < 2 or (is_range(choices) and not 0 < choices[0] < choices[1]):
                raise ConfigError(
                    f'search of {setting!r}: {choices!r}; expected at least two values, or (low, high, "log") with '
                    "0 < low < high"
                )


def is_range(choices: Choices) -> bool:
    """Whether a search is over a range on a logarithmic scale, and not over a list of values.

    >>> is_range((1e-4, 1e-2, "log")), is_range([0.1, 0.2, 0.4])
    (True, False)
    """
    return len(choices) == 3 and choices[2] == "log"


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
class Scale:
    """Between what the values of a metric can move in this design.

    An effect says something only where there is room for it: between the best of the floors and the best of the
    ceilings there have to be three widths of its interval.

    Args:
        floor: what is there without learning: the name of an untrained arm, chance as a number, or several of them.
        ceiling: what can be reached: the name of an arm trained on clean or labelled rows, a number, or several.
    """

    floor: Level | Sequence[Level]
    ceiling: Level | Sequence[Level]

    def levels(self, side: Literal["floor", "ceiling"]) -> tuple[Level, ...]:
        """The arms and levels of one side."""
        found = self.floor if side == "floor" else self.ceiling
        return (found,) if isinstance(found, str | int | float) else tuple(found)

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the arms it needs."""
        return tuple(level for level in (*self.levels("floor"), *self.levels("ceiling")) if isinstance(level, str))


@dataclass(frozen=True)
class Question:
    """One statement that can turn out wrong.

    Its effect is the mean over seeds of method minus baseline, with the sign turned where lower is better: positive
    always speaks for the method. What counts is by how much the effect exceeds ``margin``. Its **verdict** is
    *equivalent* when the whole 95 % interval lies within ± ``smallest`` of the margin, also where it excludes the
    margin itself, since nobody cares for so little; else *better* when all of it lies above the margin, *worse* when
    all of it lies below, and *undecided* when neither is so. The statement holds when the verdict is the one that it
    ``expects``.

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
        smallest: the smallest effect of interest, in the metric's unit; all that is smaller is as good as none.
        because: why that one, in half a sentence.
        expects: the verdict that the statement says: ``"better"``, or ``"equivalent"`` for "does not matter".
        equal: what both arms must have in common: ``"steps"`` (optimiser steps), ``"epochs"`` (passes over the
            training rows), or ``"nothing"``, where the statement is about unequal budgets and says so. Steps and
            seconds of every arm are recorded in any case.
        every: the statement is a promise and not a tendency: it is *kept* when each seed's effect exceeds the margin,
            *broken* when one does not, and undecided while not all declared seeds were run. It needs no smallest
            effect and no scale.
        scale: floor and ceiling where ``Claim.scales`` has none for the metric, or has other ones; or the reason, in
            words, why the question has none.
        unequal_trials: the arms were not tuned alike and the question is asked all the same, for this reason; the
            table shows it. Without it such a question is refused.
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
    smallest: float = 0.0
    because: str = ""
    expects: Literal["better", "equivalent"] = "better"
    equal: Literal["steps", "epochs", "nothing"] = "steps"
    every: bool = False
    scale: Scale | str = ""
    unequal_trials: str = ""

    def __post_init__(self) -> None:
        if self.equal not in EQUAL:
            raise ConfigError(f"question {self.name!r}: equal = {self.equal!r}; expected one of {', '.join(EQUAL)}")
        if self.expects not in EXPECTED:
            raise ConfigError(
                f"question {self.name!r}: expects = {self.expects!r}; expected one of {', '.join(EXPECTED)}"
            )
        if not self.every and not (self.smallest > 0 and self.because):
            raise ConfigError(
                f"question {self.name!r}: smallest = {self.smallest}, because = {self.because!r}; expected the "
                f"smallest effect on {self.metric} that matters to somebody, above 0, and why that one"
            )

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the arms that it compares."""
        return (self.method,) if isinstance(self.baseline, int | float) else (self.method, self.baseline)


@dataclass(frozen=True)
class Tuning:
    """How ``accord claims tune`` chooses the settings of the arms that have a ``search``.

    Args:
        trials: how many combinations are drawn for each arm; the best mean over the seeds is chosen.
        seeds: of the trials; none of them is a seed of the record.
        metric: what decides.
        share: of the training rows, held out whole groups at a time; trials are measured on these and never on test
            rows.
        higher: whether higher values of the metric are better.
    """

    trials: int
    seeds: Sequence[int]
    metric: str
    share: float = 0.2
    higher: bool = True

    def __post_init__(self) -> None:
        if self.trials < 2 or not self.seeds or not 0 < self.share < 1:
            raise ConfigError(
                f"tuning: trials = {self.trials}, seeds = {tuple(self.seeds)}, share = {self.share}; expected at least "
                "two trials, at least one seed, and a share between 0 and 1"
            )


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
            ``run["evaluate"]`` by the names of their metrics. A parameter ``quick`` gets True in a smoke run.
        seeds: how many, counted from 0, or which. They are fixed here: a record says where it has others.
        kind_of_data: ``"real"``, as somebody met them; ``"composed"``, real things put together by us, or with noise of
            ours (digits laid out as scenes, labels mixed up); or ``"synthetic"``, computed. A reader sees it.
        headline: the claim that a method is sold with; it is confirmed on ten seeds at least.
        scales: metric -> its floor and ceiling.
        tune: how settings are chosen, where an arm has a ``search``.
        quick: dotted changes of the smoke run beyond one epoch on a few rows, such as ``{"method.vanilla_epochs": 1}``;
            of those that name a method's setting, an arm takes what it knows.
        tuning: how the settings that are not searched for were chosen; printed with the results.

    Raises:
        ConfigError: a question names an arm that does not exist, has neither scale nor reason, or compares arms that
            were not tuned alike; two share a name; a trained arm has no data; or seeds serve for tuning as well.
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
    kind_of_data: Literal["real", "composed", "synthetic", ""] = ""
    headline: bool = False
    scales: Mapping[str, Scale] = field(default_factory=dict)
    tune: Tuning | None = None
    quick: Mapping[str, Any] = field(default_factory=dict)
    tuning: str = ""

    def __post_init__(self) -> None:
        if not self.arms or not self.questions:
            raise ConfigError(f"claim {self.slug!r}: expected at least one arm and one question")
        if self.kind_of_data not in ("", *KINDS_OF_DATA):
            raise ConfigError(
                f"claim {self.slug!r}: kind_of_data = {self.kind_of_data!r}; expected one of {', '.join(KINDS_OF_DATA)}"
            )
        self._check_seeds()
        for name, arm in self.arms.items():
            self._check_arm(name, arm)
        self._check_tuning()
        names = [question.name for question in self.questions]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigError(f"claim {self.slug!r}: two questions are called {twice[0]!r}")
        for question in self.questions:
            self._check_question(question)

    @property
    def declared_seeds(self) -> tuple[int, ...]:
        """The seeds.

        >>> promise = Question("q", "", "a", 0.0, "x", every=True)
        >>> Claim("demo", "", {"a": Arm(function=lambda seed: {"x": 1.0})}, [promise]).declared_seeds
        (0, 1, 2, 3, 4)
        """
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else tuple(self.seeds)

    def first_seeds(self, number: int) -> tuple[int, ...]:
        """The first ``number`` of the seeds; beyond the last one it counts on."""
        own = self.declared_seeds
        return (*own, *range(own[-1] + 1, own[-1] + 1 + number - len(own)))[:number]

    def measured(self, *names: str) -> tuple[str, ...]:
        """The arms that stand behind these names: themselves, or those that a combined one is computed from."""
        found: dict[str, None] = {}
        for name in names:
            arm = self.arms[name]
            found.update(dict.fromkeys(arm.of if isinstance(arm, Combined) else (name,)))
        return tuple(found)

    def scale_of(self, question: Question) -> Scale | None:
        """Floor and ceiling of a question; None for a promise, and where it says why it has none."""
        if question.every or (isinstance(question.scale, str) and question.scale):
            return None
        return question.scale if isinstance(question.scale, Scale) else self.scales.get(question.metric)

    def trials(self, question: Question) -> dict[str, int]:
        """How many settings were tried for each arm behind a question; an untrained one has none to try."""
        return {name: self.trials_of(name) for name in self.measured(*question.arms) if not self._arm(name).untrained}

    def trials_of(self, name: str) -> int:
        """How many settings were tried for an arm."""
        return self.tune.trials if self.tune is not None and self._arm(name).search else 0

    def _arm(self, name: str) -> Arm:
        arm = self.arms[name]
        assert isinstance(arm, Arm)
        return arm

    def _check_seeds(self) -> None:
        seeds = self.declared_seeds
        if not seeds or len(set(seeds)) < len(seeds):
            raise ConfigError(f"claim {self.slug!r}: seeds = {self.seeds!r}; expected at least one, each once")
        if self.headline and len(seeds) < HEADLINE_SEEDS:
            raise ConfigError(
                f"claim {self.slug!r}: {len(seeds)} seeds; a headline claim is confirmed on {HEADLINE_SEEDS} at least"
            )

    def _check_arm(self, name: str, arm: Arm | Combined) -> None:
        if isinstance(arm, Combined):
            for part in arm.of:
                if not isinstance(self.arms.get(part), Arm):
                    raise ConfigError(f"claim {self.slug!r}: arm {name!r} is computed from {part!r}, {self._no(part)}")
            return
        if arm.function is None and arm.data is None and self.data is None:
            raise ConfigError(f"claim {self.slug!r}: arm {name!r} has nothing to train on: set data, or a function")
        other = self.arms.get(arm.settings_of)
        if arm.settings_of and not (isinstance(other, Arm) and other.search):
            raise ConfigError(
                f"claim {self.slug!r}: arm {name!r} takes the settings of {arm.settings_of!r}, which has no search"
            )

    def _check_tuning(self) -> None:
        searching = [name for name, arm in self.arms.items() if isinstance(arm, Arm) and arm.search]
        if bool(searching) != (self.tune is not None):
            lacking = (
                f"arm {searching[0]!r} has a search: set tune" if searching else "tune is set: give an arm a search"
            )
            raise ConfigError(
                f"claim {self.slug!r}: {lacking}, as in Claim(tune=Tuning(trials=8, seeds=(100, 101), …))"
            )
        if self.tune is not None and (both := sorted({*self.tune.seeds} & {*self.declared_seeds})):
            raise ConfigError(
                f"claim {self.slug!r}: seed {both[0]} serves for tuning and for the record: settings are chosen on "
                "seeds of their own"
            )

    def _check_question(self, question: Question) -> None:
        scale = self.scale_of(question)
        for name in (*question.arms, *(scale.arms if scale else ())):
            if name not in self.arms:
                raise ConfigError(f"claim {self.slug!r}: question {question.name!r} names {name!r}, {self._no(name)}")
        if scale is None and not question.every and not question.scale:
            raise ConfigError(
                f"claim {self.slug!r}: nothing says between which floor and ceiling question {question.name!r} moves: "
                f"Claim(scales={{{question.metric!r}: Scale(floor=…, ceiling=…)}}), or Question(scale='why it has "
                "none')"
            )
        trials = self.trials(question)
        if len(set(trials.values())) > 1 and not question.unequal_trials:
            tried = ", ".join(f"{name} {number}" for name, number in trials.items())
            raise ConfigError(
                f"claim {self.slug!r}: question {question.name!r} compares arms that are not tuned alike (trials: "
                f"{tried}): give each a search, or say why not in Question(unequal_trials=…)"
            )

    def _no(self, name: str) -> str:
        trained = ", ".join(name for name, arm in self.arms.items() if isinstance(arm, Arm))
        return (
            f"which is no arm that can be trained; there are: {trained}"
            if name in self.arms
            else (f"which is no arm; there are: {', '.join(self.arms)}")
        )
