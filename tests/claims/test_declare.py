from __future__ import annotations

import pytest

from accord.claims import Arm, Claim, Combined, Question
from accord.errors import ConfigError

ONE = Arm(function=lambda seed: {"x": 1.0})
OTHER = Arm(function=lambda seed: {"x": 1.0}, trials=6)


def claim(*questions: Question, arms: dict | None = None, **rest) -> Claim:
    return Claim("demo", "It says so.", arms or {"a": ONE, "b": ONE, "tuned": OTHER}, questions, **rest)


def ask(method: str = "a", baseline: str | float = "b", **rest) -> Question:
    return Question("q", "s", method, baseline, "x", **rest)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: claim(ask(baseline="c")), "question 'q' names 'c', which is no arm; there are: a, b, tuned"),
        (lambda: claim(ask(), ask()), "two questions are called 'q'"),
        (lambda: claim(), "at least one arm and one question"),
        (lambda: claim(ask(), seeds=0), "expected at least one"),
        (lambda: claim(ask(), arms={"a": Arm(), "b": ONE}), "arm 'a' has nothing to train on"),
        (lambda: Arm({"method.dim": 8}, function=lambda seed: {}), "either a function or changes"),
        (lambda: Arm(trials=0), "trials = 0"),
        (lambda: ask(equal="time"), "equal = 'time'; expected one of steps, epochs, nothing"),
        (
            lambda: claim(ask(), arms={"a": ONE, "b": Combined(("a", "c"), max)}),
            "arm 'b' is computed from 'c', which is no arm; there are: a, b",
        ),
        (
            lambda: claim(ask(), arms={"a": ONE, "b": Combined(("a",), max), "d": Combined(("b",), max)}),
            "which is no arm that can be trained; there are: a",
        ),
    ],
)
def test_what_is_declared_wrongly_is_refused_with_a_sentence(declare, message) -> None:
    with pytest.raises(ConfigError) as caught:
        declare()
    assert message in str(caught.value)


def test_arms_that_were_tuned_unequally_are_not_compared() -> None:
    with pytest.raises(ConfigError, match=r"tuned unequally \(trials: tuned 6, a 1\)"):
        claim(ask("tuned", "a"))
    with pytest.raises(ConfigError, match="tuned unequally"):  # nor behind a combination
        claim(ask("c", 1.0), arms={"a": ONE, "tuned": OTHER, "c": Combined(("a", "tuned"), max)})


def test_unequal_tuning_can_be_owned_up_to() -> None:
    assert claim(ask("tuned", "a", unequal_trials="It was so.")).trials(ask("tuned", "a")) == {"tuned": 6, "a": 1}


def test_seeds_are_counted_on_beyond_those_declared() -> None:
    demo = claim(ask(), seeds=(10, 11))
    assert demo.chosen_seeds() == (10, 11)
    assert demo.chosen_seeds(1) == (10,)
    assert demo.chosen_seeds(4) == (10, 11, 12, 13)
