from __future__ import annotations

import pytest

from accord.claims import Arm, Claim, Combined, Question, Scale, Tuning
from accord.errors import ConfigError

ONE = Arm(function=lambda seed: {"x": 1.0})
SEARCHED = Arm(function=lambda seed, settings, share: {"x": 1.0}, search={"lr": (1e-4, 1e-2, "log")})
TUNE = Tuning(trials=6, seeds=(100, 101), metric="x")
ANY = {"smallest": 0.5, "because": "so it is", "scale": "none is needed here"}


def claim(*questions: Question, arms: dict | None = None, **rest) -> Claim:
    return Claim("demo", "It says so.", arms or {"a": ONE, "b": ONE}, questions, **rest)


def tuned(*questions: Question, tune: Tuning | None = TUNE, **rest) -> Claim:
    return claim(*questions, arms={"a": ONE, "tuned": SEARCHED, "also": SEARCHED}, tune=tune, **rest)


def ask(method: str = "a", baseline: str | float = "b", **rest) -> Question:
    return Question("q", "s", method, baseline, "x", **{**ANY, **rest})


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: claim(ask(baseline="c")), "question 'q' names 'c', which is no arm; there are: a, b"),
        (lambda: claim(ask(), ask()), "two questions are called 'q'"),
        (lambda: claim(), "at least one arm and one question"),
        (lambda: claim(ask(), seeds=0), "expected at least one"),
        (lambda: claim(ask(), seeds=(1, 1)), "expected at least one, each once"),
        (lambda: claim(ask(), arms={"a": Arm(), "b": ONE}), "arm 'a' has nothing to train on"),
        (lambda: Arm({"method.dim": 8}, function=lambda seed: {}), "either a function or changes"),
        (lambda: Arm(function=lambda seed: {}, untrained=True), "either a function or changes"),
        (lambda: ask(equal="time"), "equal = 'time'; expected one of steps, epochs, nothing"),
        (lambda: ask(expects="worse"), "expects = 'worse'; expected one of better, equivalent"),
        (lambda: ask(smallest=0.0), "expected the smallest effect on x that matters to somebody, above 0, and why"),
        (lambda: ask(because=""), "expected the smallest effect on x that matters to somebody, above 0, and why"),
        (
            lambda: claim(ask(), arms={"a": ONE, "b": Combined(("a", "c"), max)}),
            "arm 'b' is computed from 'c', which is no arm; there are: a, b",
        ),
        (
            lambda: claim(ask(), arms={"a": ONE, "b": Combined(("a",), max), "d": Combined(("b",), max)}),
            "which is no arm that can be trained; there are: a",
        ),
        (lambda: claim(ask(), kind_of_data="odd"), "kind_of_data = 'odd'; expected one of real, composed, synthetic"),
        (lambda: claim(ask(), headline=True), "5 seeds; a headline claim is confirmed on 10 at least"),
        (lambda: claim(ask(scale="")), "nothing says between which floor and ceiling question 'q' moves"),
        (lambda: claim(ask(scale=Scale("untrained", 100.0))), "question 'q' names 'untrained', which is no arm"),
        (lambda: tuned(ask("tuned", "also"), tune=None), "arm 'tuned' has a search: set tune"),
        (lambda: claim(ask(), tune=TUNE), "tune is set: give an arm a search"),
        (lambda: tuned(ask("tuned", "also"), seeds=(99, 100)), "seed 100 serves for tuning and for the record"),
        (lambda: Tuning(trials=1, seeds=(1,), metric="x"), "at least two trials"),
        (lambda: Tuning(trials=8, seeds=(1,), metric="x", share=1.0), "a share between 0 and 1"),
        (lambda: Arm(search={"training.lr": [1e-3]}), "expected at least two values"),
        (lambda: Arm(search={"training.lr": (1e-2, 1e-3, "log")}), "0 < low < high"),
        (lambda: Arm(search={"lr": [1, 2]}, settings_of="a"), "has a search, or takes another's settings"),
        (
            lambda: claim(ask(), arms={"a": ONE, "b": Arm(function=lambda seed: {}, settings_of="a")}),
            "takes the settings of 'a', which has no search",
        ),
    ],
)
def test_what_is_declared_wrongly_is_refused_with_a_sentence(declare, message) -> None:
    with pytest.raises(ConfigError) as caught:
        declare()
    assert message in str(caught.value)


def test_arms_that_are_not_tuned_alike_are_not_compared() -> None:
    with pytest.raises(ConfigError, match=r"not tuned alike \(trials: tuned 6, a 0\)"):
        tuned(ask("tuned", "a"))
    combined = {"a": ONE, "tuned": SEARCHED, "c": Combined(("a", "tuned"), max)}
    with pytest.raises(ConfigError, match="not tuned alike"):  # nor behind a combination
        claim(ask("c", 1.0), arms=combined, tune=TUNE)
    assert tuned(ask("tuned", "also")).trials(ask("tuned", "also")) == {"tuned": 6, "also": 6}


def test_unequal_tuning_can_be_owned_up_to() -> None:
    asked = ask("tuned", "a", unequal_trials="It was so.")
    assert tuned(asked).trials(asked) == {"tuned": 6, "a": 0}


def test_what_is_untrained_has_nothing_to_tune() -> None:
    arms = {"tuned": Arm(search={"training.lr": [1, 2]}), "untrained": Arm(untrained=True)}
    asked = ask("tuned", "untrained", equal="nothing")
    assert claim(asked, arms=arms, tune=TUNE, data={"source": "x"}).trials(asked) == {"tuned": 6}


def test_a_question_takes_the_scale_of_its_metric_its_own_or_none() -> None:
    usual, own = Scale(10.0, 100.0), Scale("a", 90.0)
    asked, other, without = ask(scale=""), ask(scale=own), ask(scale="memory has no floor")
    promise = Question("q", "s", "a", "b", "x", every=True)
    for question, scale in ((asked, usual), (other, own), (without, None), (promise, None)):
        assert claim(question, scales={"x": usual}).scale_of(question) == scale
    assert own.arms == ("a",)
    assert Scale(("a", 10.0), "b").levels("floor") == ("a", 10.0)


def test_seeds_are_counted_on_beyond_those_declared() -> None:
    demo = claim(ask(), seeds=(10, 11))
    assert demo.declared_seeds == (10, 11)
    assert demo.first_seeds(1) == (10,)
    assert demo.first_seeds(4) == (10, 11, 12, 13)
