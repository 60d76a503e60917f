"""Verdicts: the effect of a question over paired seeds, what it says, and whether it could have said anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf, sqrt

import numpy as np
from scipy.special import stdtr, stdtrit

from accord.claims.declare import Claim, Combined, Level, Question
from accord.claims.names import baseline_name, method_name
from accord.errors import ConfigError
from accord.evaluation.bootstrap import LEVEL
from accord.evaluation.seeds import Interval, paired_interval
from accord.papers.verdicts import interval

Values = Mapping[str, Sequence[float]]  # metric -> one value per seed

BETTER, WORSE, EQUIVALENT, UNDECIDED = "better", "worse", "equivalent", "undecided"
KEPT, BROKEN = "kept", "broken"  # of a promise
HOLDS, FAILS, NO_ROOM = "holds", "does not hold", "no room"
ROOM = 3.0  # widths of the effect's interval that have to lie between floor and ceiling
MANY = 200  # seeds; nobody trains more


@dataclass(frozen=True)
class Side:
    """A floor or ceiling as it was measured.

    Args:
        levels: its arms and levels -> one value per seed.
        value: the mean of the best of them.
    """

    levels: Mapping[Level, tuple[float, ...]]
    value: float


@dataclass(frozen=True)
class Outcome:
    """The answer to one question.

    Args:
        question: the question.
        method: the method's value for each seed.
        baseline: the baseline's, in the same order of seeds.
        effect: mean advantage of the method with its 95 % interval; positive speaks for the method.
        verdict: better, worse, equivalent or undecided, beyond the margin; a promise is kept, broken or undecided.
        p: of the seeds' effects if there were none beyond the margin, or, where it should be equivalent, if it lay at
            the edge of what is; below 0.05 where the interval alone says what is expected. None with one seed, and for
            a promise.
        adjusted: the same after Holm's correction for the number of questions of the claim.
        seeds_needed: how many seeds would decide, were mean and spread to stay; None where it is decided, and where
            more than 200 would not.
        floor: what is there without learning; None where the question has no scale.
        ceiling: what can be reached.
        room: from floor to ceiling in widths of the effect's interval; None without scale or interval, and where the
            interval has no width.
    """

    question: Question
    method: tuple[float, ...]
    baseline: tuple[float, ...]
    effect: Interval
    verdict: str
    p: float | None = None
    adjusted: float | None = None
    seeds_needed: int | None = None
    floor: Side | None = None
    ceiling: Side | None = None
    room: float | None = None

    @property
    def advantages(self) -> tuple[float, ...]:
        """Each seed's advantage of the method."""
        sign = 1 if self.question.higher else -1
        return tuple(sign * (one - other) for one, other in zip(self.method, self.baseline, strict=True))

    @property
    def no_room(self) -> bool:
        """Whether floor and ceiling lie too near to each other for the effect to say anything."""
        return self.room is not None and self.room < ROOM

    @property
    def answer(self) -> str:
        """``"holds"``, ``"does not hold"``, ``"undecided"``, or ``"no room"`` where a decision would mean nothing."""
        if self.verdict == UNDECIDED:
            return UNDECIDED
        if self.no_room:
            return NO_ROOM
        return HOLDS if self.verdict in (self.question.expects, KEPT) else FAILS

    def sentences(self) -> list[str]:
        """The answer in words: the statement, both sides, effect, floor and ceiling, and what would decide."""
        question, told = self.question, asdict(self.question)
        means = " and ".join(f"{sum(side) / len(side):.4g}" for side in (self.method, self.baseline))
        margin = f", to exceed {question.margin:g}" if question.margin else ""
        effect = interval({"effect": self.effect.value, "low": self.effect.low, "high": self.effect.high})
        smallest = f", smallest of interest {question.smallest:g}" if question.smallest else ""
        return [
            f"{question.name}: {self.answer} ({self.verdict}). {question.statement}",
            f"  {method_name(told)} against {baseline_name(told)}: {means} {question.metric}",
            f"  advantage {effect} {question.unit}{margin}{smallest}, over seeds: {len(self.method)}",
            *self._remarks(),
        ]

    def _remarks(self) -> list[str]:
        remarks = []
        if self.floor is not None and self.ceiling is not None:
            room = "" if self.room is None else f": {self.room:.1f} widths of the interval"
            enough = f"; {ROOM:g} are needed for an answer" if self.no_room else ""
            remarks.append(f"  floor {self.floor.value:.4g}, ceiling {self.ceiling.value:.4g}{room}{enough}")
        if self.verdict == UNDECIDED and self.p is not None:
            needed = f"about {self.seeds_needed}" if self.seeds_needed else f"more than {MANY}"
            remarks.append(f"  seeds that would decide: {needed}")
        return remarks


def judged(claim: Claim, values: Mapping[str, Values], seeds: Sequence[int]) -> tuple[Outcome, ...]:
    """The answers to all questions of a claim.

    Args:
        claim: the declaration.
        values: arm -> metric -> one value per seed, of all arms that are not combined.
        seeds: the seeds.

    Raises:
        ConfigError: an arm lacks a metric that something needs.
    """
    every = with_combined(claim, values)
    whole = set(claim.declared_seeds) <= set(seeds)
    outcomes = [_with_room(judge(question, every, whole=whole), claim, every) for question in claim.questions]
    asked = [number for number, outcome in enumerate(outcomes) if outcome.p is not None]
    for number, adjusted in zip(asked, holm([outcomes[number].p or 0.0 for number in asked]), strict=True):
        outcomes[number] = replace(outcomes[number], adjusted=adjusted)
    return tuple(outcomes)


def judge(question: Question, values: Mapping[str, Values], *, whole: bool = True) -> Outcome:
    """The answer that values give, floor and ceiling apart.

    Args:
        question: the question.
        values: arm -> metric -> one value per seed, for all arms.
        whole: whether these are all seeds that were declared, without which no promise is kept.

    Raises:
        ConfigError: an arm has no such metric, or not on every seed.

    Example:
        >>> question = Question("gain", "a is better than b", "a", "b", "top-1", smallest=0.1, because="one picture")
        >>> outcome = judge(question, {"a": {"top-1": [52.0, 54.0, 53.0]}, "b": {"top-1": [50.0, 51.0, 49.0]}})
        >>> outcome.answer, outcome.verdict, str(outcome.effect)
        ('holds', 'better', '3.0 [0.5, 5.5]')
    """
    method = _metric(question, question.method, question.metric, values)
    if isinstance(question.baseline, str):
        baseline = _metric(question, question.baseline, question.baseline_metric or question.metric, values)
    else:
        baseline = (float(question.baseline),) * len(method)
    effect = paired_interval(method, baseline) if question.higher else paired_interval(baseline, method)
    outcome = Outcome(question, method, baseline, effect, UNDECIDED)
    if question.every:
        kept = min(outcome.advantages) > question.margin
        return replace(outcome, verdict=BROKEN if not kept else KEPT if whole else UNDECIDED)
    verdict = verdict_of(effect, question.smallest, question.margin)
    return replace(outcome, verdict=verdict, p=_p_value(outcome), seeds_needed=_seeds_needed(outcome, verdict))


def verdict_of(effect: Interval, smallest: float, margin: float = 0.0) -> str:
    """What an interval says about a margin and the smallest effect of interest.

    >>> verdict_of(Interval(2.0, 0.5, 3.5), 1.0), verdict_of(Interval(-2.0, -3.5, -0.5), 1.0)
    ('better', 'worse')
    >>> verdict_of(Interval(0.5, 0.2, 0.8), 1.0), verdict_of(Interval(0.5, -0.2, 1.2), 1.0)
    ('equivalent', 'undecided')
    """
    if effect.low is None or effect.high is None:
        return UNDECIDED
    low, high = effect.low - margin, effect.high - margin
    if -smallest < low and high < smallest:
        return EQUIVALENT
    return BETTER if low > 0 else WORSE if high < 0 else UNDECIDED


def holm(p: Sequence[float]) -> list[float]:
    """P values after Holm's correction for their number (Holm 1979).

    >>> [round(value, 3) for value in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, number in enumerate(sorted(range(len(p)), key=lambda number: p[number])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[number]))
        adjusted[number] = highest
    return adjusted


def with_combined(claim: Claim, values: Mapping[str, Values]) -> dict[str, Values]:
    """The values of all arms, those of combined ones computed seed by seed.

    Raises:
        ConfigError: an arm that one is computed from lacks a metric.
    """
    found: dict[str, Values] = dict(values)
    for name, arm in claim.arms.items():
        if isinstance(arm, Combined):
            seeds = zip(*(_by_seed(values[part]) for part in arm.of), strict=True)
            try:
                computed = [arm.value(*metrics) for metrics in seeds]
            except KeyError as error:
                there = "; ".join(f"{part}: {', '.join(values[part])}" for part in arm.of)
                raise ConfigError(f"arm {name!r} needs metric {error}; on every seed there are {there}") from None
            found[name] = {metric: [float(one[metric]) for one in computed] for metric in computed[0]}
    return found


def _p_value(outcome: Outcome) -> float | None:
    """Two-sided p of the paired t test; where it should be equivalent, twice that of the two one-sided tests."""
    seeds, spread = len(outcome.method), _spread(outcome)
    if seeds < 2:
        return None
    beyond, error = outcome.effect.value - outcome.question.margin, spread / sqrt(seeds)
    nearest = outcome.question.smallest - abs(beyond) if outcome.question.expects == EQUIVALENT else abs(beyond)
    if error == 0:
        return 0.0 if nearest > 0 else 1.0
    return min(1.0, 2 * float(stdtr(seeds - 1, -nearest / error)))


def _seeds_needed(outcome: Outcome, verdict: str) -> int | None:
    """The smallest number of seeds that would decide, were the effect's mean and spread to stay as they are."""
    if verdict != UNDECIDED or len(outcome.method) < 2:
        return None
    beyond, spread = abs(outcome.effect.value - outcome.question.margin), _spread(outcome)
    for seeds in range(len(outcome.method) + 1, MANY + 1):
        half = float(stdtrit(seeds - 1, (1 + LEVEL) / 2)) * spread / sqrt(seeds)
        if half < beyond or beyond + half < outcome.question.smallest:
            return seeds
    return None


def _spread(outcome: Outcome) -> float:
    """Standard deviation of the effect over seeds."""
    return float(np.std(outcome.advantages, ddof=1)) if len(outcome.method) > 1 else inf


def _with_room(outcome: Outcome, claim: Claim, values: Mapping[str, Values]) -> Outcome:
    """The outcome with floor, ceiling, and how much room there is between them."""
    scale = claim.scale_of(outcome.question)
    if scale is None:
        return outcome
    floor, ceiling = (_side(outcome, scale.levels(side), values) for side in ("floor", "ceiling"))
    low, high = outcome.effect.low, outcome.effect.high
    if low is None or high is None or high == low:
        return replace(outcome, floor=floor, ceiling=ceiling)
    span = (ceiling.value - floor.value) * (1 if outcome.question.higher else -1)
    return replace(outcome, floor=floor, ceiling=ceiling, room=span / (high - low))


def _side(outcome: Outcome, levels: Sequence[Level], values: Mapping[str, Values]) -> Side:
    question = outcome.question
    found = {
        level: _metric(question, level, question.metric, values)
        if isinstance(level, str)
        else (float(level),) * len(outcome.method)
        for level in levels
    }
    means = [sum(seeds) / len(seeds) for seeds in found.values()]
    return Side(found, max(means) if question.higher else min(means))


def _metric(question: Question, arm: str, metric: str, values: Mapping[str, Values]) -> tuple[float, ...]:
    if metric not in values[arm]:
        there = ", ".join(values[arm])
        raise ConfigError(
            f"question {question.name!r}: arm {arm!r} has no metric {metric!r} on every seed; it has {there}"
        )
    return tuple(values[arm][metric])


def _by_seed(values: Values) -> list[dict[str, float]]:
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
