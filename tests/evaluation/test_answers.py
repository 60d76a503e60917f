"""Answers against those of people."""

from __future__ import annotations

import pytest

from accord.evaluation.answers import plain_answer, vqa_accuracy


@pytest.mark.parametrize("same", [("A dog!", "the dog"), ("Two", "2"), ("none", "0"), ("dog's  bed", "Dog's bed.")])
def test_articles_signs_and_spellings_of_numbers_make_no_other_answer(same: tuple[str, str]) -> None:
    assert plain_answer(same[0]) == plain_answer(same[1])


def test_other_words_make_another_answer() -> None:
    assert plain_answer("two dogs") != plain_answer("2 cats")
    assert plain_answer("the") == ("the",)


@pytest.mark.parametrize("count", range(11))
def test_of_ten_people_each_is_left_out_once(count: int) -> None:
    given = ["yes"] * count + ["no"] * (10 - count)
    rests = [given[:left] + given[left + 1 :] for left in range(10)]
    want = sum(min(1, rest.count("yes") / 3) for rest in rests) / 10
    assert vqa_accuracy("yes", given) == pytest.approx(want)


def test_of_fewer_people_three_make_an_answer_right() -> None:
    assert [vqa_accuracy("yes", ["yes"] * count + ["no"]) for count in (0, 1, 2, 3)] == pytest.approx(
        [0, 1 / 3, 2 / 3, 1]
    )
