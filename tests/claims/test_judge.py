from __future__ import annotations

import pytest
from scipy.stats import ttest_rel

from accord.claims import Arm, Claim, Question, Scale
from accord.claims.judge import MANY, judge, judged
from accord.errors import ConfigError

BETTER, SAME, WORSE = [52.0, 53.0, 54.0], [50.0, 51.0, 52.0], [47.0, 49.0, 48.0]
SPREAD = [40.0, 60.0, 55.0]
ANY = {"smallest": 0.5, "because": "so it is", "scale": "none is needed here"}


def question(**changes) -> Question:
    return Question(**{"name": "q", "statement": "s", "method": "m", "baseline": "b", "metric": "x", **ANY, **changes})


def outcome(method: list[float], other: list[float], **changes):
    return judge(question(**changes), {"m": {"x": method, "y": other}, "b": {"x": other}})


@pytest.mark.parametrize(
    ("method", "changes", "verdict", "answer"),
    [
        (BETTER, {}, "better", "holds"),
        (WORSE, {}, "worse", "does not hold"),
        (SPREAD, {}, "undecided", "undecided"),
        (BETTER, {"margin": 1.9, "smallest": 0.01}, "better", "holds"),
        (BETTER, {"margin": 2.1, "smallest": 0.01}, "worse", "does not hold"),
        (WORSE, {"margin": -10.0}, "better", "holds"),
        (WORSE, {"higher": False}, "better", "holds"),
        (BETTER, {"higher": False}, "worse", "does not hold"),
        (BETTER, {"baseline": 40.0}, "better", "holds"),
        (BETTER, {"baseline": 60, "higher": False, "margin": 3.0}, "better", "holds"),
        (BETTER, {"baseline": "m", "baseline_metric": "y"}, "better", "holds"),
        (BETTER, {"expects": "equivalent"}, "better", "does not hold"),
        (WORSE, {"expects": "equivalent"}, "worse", "does not hold"),
        (SPREAD, {"expects": "equivalent"}, "undecided", "undecided"),
        (BETTER, {"smallest": 2.5, "expects": "equivalent"}, "equivalent", "holds"),
        (BETTER, {"smallest": 2.5}, "equivalent", "does not hold"),  # above 0 on every seed, and of no interest
        (BETTER, {"margin": 2.0, "smallest": 0.1}, "equivalent", "does not hold"),
        (SAME, {"expects": "equivalent"}, "equivalent", "holds"),
    ],
)
def test_the_verdict_is_what_the_whole_interval_says_of_margin_and_smallest_effect(
    method, changes, verdict, answer
) -> None:
    found = outcome(method, SAME, **changes)
    assert (found.verdict, found.answer) == (verdict, answer)


def test_an_interval_that_reaches_beyond_the_smallest_effect_is_not_equivalent() -> None:
    method = [50.1, 51.3, 52.2]  # +0.2 ± 0.25
    assert outcome(method, SAME, smallest=0.5).verdict == "equivalent"
    assert outcome(method, SAME, smallest=0.4).verdict == "undecided"


def test_one_seed_decides_nothing() -> None:
    found = outcome([9.0], [1.0])
    assert (found.verdict, found.p, found.seeds_needed) == ("undecided", None, None)


@pytest.mark.parametrize(
    ("method", "verdict", "answer"),
    [([1.0, 1.0, 9.0], "kept", "holds"), ([9.0, 9.0, -0.1], "broken", "does not hold")],
)
def test_a_promise_is_kept_on_every_seed_or_broken(method, verdict, answer) -> None:
    found = outcome(method, [0.0, 0.0, 0.0], every=True, smallest=0.0)
    assert (found.verdict, found.answer) == (verdict, answer)


def test_a_promise_is_not_kept_before_all_declared_seeds_were_run_but_can_be_broken() -> None:
    promise = question(every=True)
    claim = Claim("demo", "", {"m": Arm(function=len), "b": Arm(function=len)}, [promise], seeds=3)

    def verdict(values: list[float]) -> str:
        found = {"m": {"x": values}, "b": {"x": [0.0] * len(values)}}
        return judged(claim, found, range(len(values)))[0].verdict

    assert verdict([1.0]) == "undecided"
    assert verdict([1.0, -1.0]) == "broken"
    assert verdict([1.0, 1.0, 1.0, 1.0]) == "kept"


def test_seeds_are_paired() -> None:
    """Unpaired, the spread over seeds would drown the difference."""
    assert outcome([10.0, 50.0, 90.0], [9.0, 48.9, 89.1]).answer == "holds"


def test_a_missing_metric_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="question 'q': arm 'b' has no metric 'y' on every seed; it has x"):
        judge(question(metric="y"), {"m": {"y": [1.0]}, "b": {"x": [1.0]}})


def test_p_is_that_of_the_paired_t_test_against_the_margin() -> None:
    found = outcome(SPREAD, WORSE, margin=1.0)
    assert found.p == pytest.approx(ttest_rel([value - 1.0 for value in SPREAD], WORSE).pvalue)


@pytest.mark.parametrize("smallest", [0.4, 0.45, 0.5, 5.0])
def test_p_of_equivalence_is_below_a_twentieth_where_the_interval_says_so(smallest) -> None:
    found = outcome([50.1, 51.3, 52.2], SAME, smallest=smallest, expects="equivalent")
    assert (found.p < 0.05) == (found.verdict == "equivalent")


def claim_of(*questions: Question, values: dict[str, list[float]], **rest) -> list:
    arms = {name: Arm(function=len) for name in values}
    claim = Claim("demo", "", arms, questions, seeds=len(values["m"]), **rest)
    found = {name: {"x": seeds} for name, seeds in values.items()}
    return list(judged(claim, found, claim.declared_seeds))


def test_p_values_of_a_claim_are_adjusted_together_and_promises_are_left_out() -> None:
    asked = [question(name=str(number), margin=margin) for number, margin in enumerate((0.0, 1.0, 2.0))]
    values = {"m": [52.0, 53.5, 54.0], "b": SAME}
    first, second, third, promise = claim_of(*asked, question(name="every", every=True), values=values)
    assert first.p < second.p < third.p
    assert first.adjusted == pytest.approx(3 * first.p)
    assert second.adjusted == pytest.approx(2 * second.p)
    assert third.adjusted == pytest.approx(third.p)
    assert (promise.p, promise.adjusted) == (None, None)


def test_an_undecided_answer_says_how_many_seeds_would_decide() -> None:
    differences = [3.0, -1.0, 2.0, 0.0]  # mean 1, standard deviation 1.83
    found = outcome(differences, [0.0] * 4)
    assert found.verdict == "undecided"
    more = differences * 10
    enough = [outcome(more[:number], [0.0] * number).verdict for number in (12, 16, 20)]
    assert found.seeds_needed == pytest.approx(16, abs=2)
    assert enough[-1] == "better"
    assert f"seeds that would decide: about {found.seeds_needed}" in "\n".join(found.sentences())


def test_so_does_one_that_will_turn_out_equivalent_and_one_that_nobody_will_ever_decide() -> None:
    near = outcome([1.0, -1.0, 1.0, -1.0], [0.0] * 4, smallest=0.5)
    assert 4 < near.seeds_needed < 50
    never = outcome([10.0, -10.0, 10.0, -9.0], [0.0] * 4, smallest=0.3)
    assert never.seeds_needed is None
    assert f"more than {MANY}" in "\n".join(never.sentences())
    assert outcome(BETTER, SAME).seeds_needed is None


def test_floor_and_ceiling_are_the_best_of_their_arms_and_levels() -> None:
    scale = Scale(floor=("untrained", 10.0, 30.0), ceiling="clean")
    values = {"m": [52.0, 53.5, 54.0], "b": SAME, "untrained": [20.0] * 3, "clean": [80.0, 90.0, 100.0]}
    [found] = claim_of(question(scale=scale), values=values)
    assert (found.floor.value, found.ceiling.value) == (30.0, 90.0)
    assert found.floor.levels == {"untrained": (20.0,) * 3, 10.0: (10.0,) * 3, 30.0: (30.0,) * 3}
    assert found.room == pytest.approx(60.0 / (found.effect.high - found.effect.low))
    assert (found.no_room, found.answer) == (False, "holds")


def test_without_room_between_them_nothing_holds() -> None:
    values = {"m": [52.0, 53.5, 54.0], "b": SAME}  # +2.2 ± 0.7
    [found] = claim_of(question(scale=""), scales={"x": Scale(50.0, 54.0)}, values=values)
    assert (found.verdict, found.answer, found.no_room) == ("better", "no room", True)
    assert "3 are needed for an answer" in "\n".join(found.sentences())


def test_room_is_counted_downwards_where_lower_is_better() -> None:
    values = {"m": [2.0, 2.1, 2.2], "b": [4.0, 4.2, 4.1]}
    [found] = claim_of(question(higher=False, scale=Scale((9.0, 12.0), (1.0, 0.5))), values=values)
    assert (found.floor.value, found.ceiling.value) == (9.0, 0.5)
    assert found.room > 3
