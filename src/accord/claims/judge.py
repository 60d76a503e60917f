"""Verdicts: the effect of a question over paired seeds, and whether it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from accord.claims.declare import Claim, Combined, Question
from accord.claims.names import baseline_name, interval, method_name
from accord.errors import ConfigError
from accord.evaluation.seeds import Interval, paired_interval

Values = Mapping[str, Sequence[float]]  # metric -> one value per seed

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"


@dataclass(frozen=True)
class Outcome:
    """The answer to one question.

    Args:
        question: the question.
        method: the method's value for each seed.
        baseline: the baseline's, in the same order of seeds.
        effect: mean advantage of the method with its 95 % interval; positive speaks for the method.
        verdict: ``"holds"``, ``"does not hold"`` or ``"undecided"``.
    """

    question: Question
    method: tuple[float, ...]
    baseline: tuple[float, ...]
    effect: Interval
    verdict: str

    @property
    def advantages(self) -> tuple[float, ...]:
        """Each seed's advantage of the method."""
        sign = 1 if self.question.higher else -1
        return tuple(sign * (one - other) for one, other in zip(self.method, self.baseline, strict=True))

    def sentences(self) -> list[str]:
        """The answer in words: verdict and statement, both sides, effect, and what refutes it."""
        question, told = self.question, asdict(self.question)
        means = " and ".join(f"{sum(side) / len(side):.4g}" for side in (self.method, self.baseline))
        margin = f", to exceed {question.margin:g}" if question.margin else ""
        effect = interval({"effect": self.effect.value, "low": self.effect.low, "high": self.effect.high})
        lines = [
            f"{question.name}: {self.verdict}. {question.statement}",
            f"  {method_name(told)} against {baseline_name(told)}: {means} {question.metric}",
            f"  advantage {effect} {question.unit}{margin}, over seeds: {len(self.method)}",
        ]
        return [*lines, *([f"  refuted if {question.refuted}"] if question.refuted else [])]


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


def judge(question: Question, values: Mapping[str, Values]) -> Outcome:
    """The answer that values give.

    Args:
        question: the question.
        values: arm -> metric -> one value per seed, for all arms.

    Raises:
        ConfigError: an arm has no such metric, or not on every seed.

    Example:
        >>> question = Question("gain", "a is better than b", method="a", baseline="b", metric="top-1")
        >>> outcome = judge(question, {"a": {"top-1": [52.0, 54.0, 53.0]}, "b": {"top-1": [50.0, 51.0, 49.0]}})
        >>> outcome.verdict, str(outcome.effect)
        ('holds', '3.0 [0.5, 5.5]')
    """
    method = _metric(question, question.method, question.metric, values)
    if isinstance(question.baseline, str):
        baseline = _metric(question, question.baseline, question.baseline_metric or question.metric, values)
    else:
        baseline = (float(question.baseline),) * len(method)
    effect = paired_interval(method, baseline) if question.higher else paired_interval(baseline, method)
    outcome = Outcome(question, method, baseline, effect, "")
    verdict = _promise(outcome) if question.every else verdict_of(effect, question.margin)
    return Outcome(question, method, baseline, effect, verdict)


def verdict_of(effect: Interval, margin: float = 0.0) -> str:
    """What an interval says about a margin.

    >>> verdict_of(Interval(2.0, 0.5, 3.5)), verdict_of(Interval(2.0, -1.0, 5.0))
    ('holds', 'undecided')
    >>> verdict_of(Interval(2.0, 1.0, 3.0), margin=4.0)
    'does not hold'
    """
    if effect.low is None or effect.high is None:
        return UNDECIDED
    return HOLDS if effect.low > margin else FAILS if effect.high < margin else UNDECIDED


def _promise(outcome: Outcome) -> str:
    return HOLDS if min(outcome.advantages) > outcome.question.margin else FAILS


def _metric(question: Question, arm: str, metric: str, values: Mapping[str, Values]) -> tuple[float, ...]:
    if metric not in values[arm]:
        there = ", ".join(values[arm])
        raise ConfigError(
            f"question {question.name!r}: arm {arm!r} has no metric {metric!r} on every seed; it has {there}"
        )
    return tuple(values[arm][metric])


def _by_seed(values: Values) -> list[dict[str, float]]:
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
