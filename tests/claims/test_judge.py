from __future__ import annotations

import pytest

from accord.claims import Question
from accord.claims.judge import judge
from accord.errors import ConfigError

BETTER, SAME, WORSE = [52.0, 53.0, 54.0], [50.0, 51.0, 52.0], [47.0, 49.0, 48.0]


def question(**changes) -> Question:
    return Question(**{"name": "q", "statement": "s", "method": "m", "baseline": "b", "metric": "x", **changes})


def verdict(method: list[float], other: list[float], **changes) -> str:
    return judge(question(**changes), {"m": {"x": method, "y": other}, "b": {"x": other}}).verdict


@pytest.mark.parametrize(
    ("method", "changes", "expected"),
    [
        (BETTER, {}, "holds"),
        (WORSE, {}, "does not hold"),
        ([40.0, 60.0, 55.0], {}, "undecided"),
        (BETTER, {"margin": 1.9}, "holds"),
        (BETTER, {"margin": 2.1}, "does not hold"),
        (WORSE, {"margin": -10.0}, "holds"),
        (WORSE, {"higher": False}, "holds"),
        (BETTER, {"higher": False}, "does not hold"),
        (BETTER, {"baseline": 40.0}, "holds"),
        (BETTER, {"baseline": 60, "higher": False, "margin": 3.0}, "holds"),
        (BETTER, {"baseline": "m", "baseline_metric": "y"}, "holds"),
    ],
)
def test_the_whole_interval_lies_above_the_margin_or_below_it_or_neither(method, changes, expected) -> None:
    assert verdict(method, SAME, **changes) == expected


def test_one_seed_decides_nothing() -> None:
    assert verdict([9.0], [1.0]) == "undecided"


@pytest.mark.parametrize(("method", "expected"), [([1.0, 1.0, 9.0], "holds"), ([9.0, 9.0, -0.1], "does not hold")])
def test_a_promise_is_kept_on_every_seed_or_broken(method, expected) -> None:
    assert verdict(method, [0.0, 0.0, 0.0], every=True) == expected


def test_seeds_are_paired() -> None:
    """Unpaired, the spread over seeds would drown the difference."""
    assert verdict([10.0, 50.0, 90.0], [9.0, 48.9, 89.1]) == "holds"


def test_a_missing_metric_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="question 'q': arm 'b' has no metric 'y' on every seed; it has x"):
        judge(question(metric="y"), {"m": {"y": [1.0]}, "b": {"x": [1.0]}})
