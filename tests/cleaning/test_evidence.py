"""Probabilities by comparison with shuffled rows."""

from __future__ import annotations

import numpy as np
import pytest

from accord.cleaning.evidence import fit_odds, further_odds, probability, wrong_share

RANDOM = np.random.default_rng(0)
SHUFFLED = RANDOM.normal(0, 1, 5000)


def rows(share: float, count: int = 1000, gap: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    wrong = np.arange(count) < share * count
    return RANDOM.normal(0, 1, count) + gap * ~wrong, wrong


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.8])
def test_the_share_of_wrong_rows_is_told(share) -> None:
    assert wrong_share(rows(share)[0], SHUFFLED) == pytest.approx(share, abs=0.08)


def test_rows_above_every_shuffled_one_are_not_all_wrong() -> None:
    above = SHUFFLED.max() + 1 + RANDOM.random(500)
    odds = fit_odds(above, SHUFFLED)
    assert odds.share < 0.01
    assert (odds(above) > 0).all()


def test_rows_that_score_as_shuffled_ones_are_not_judged() -> None:
    assert not fit_odds(RANDOM.normal(0, 1, 500), SHUFFLED).telling
    assert not fit_odds(RANDOM.normal(-2, 1, 500), SHUFFLED).telling


def test_the_probability_is_calibrated() -> None:
    evidence, wrong = rows(0.3, 4000, gap=2.0)
    clean = probability(fit_odds(evidence, SHUFFLED)(evidence))
    for low, high in ((0.2, 0.5), (0.5, 0.8), (0.8, 0.95)):
        inside = (clean >= low) & (clean < high)
        assert (~wrong[inside]).mean() == pytest.approx(clean[inside].mean(), abs=0.12)


def test_of_two_classes_the_share_is_told_although_a_shuffle_mends_wrong_rows() -> None:
    evidence, wrong = rows(0.3, 4000)
    other = np.where(wrong, RANDOM.normal(4, 1, 4000), RANDOM.normal(0, 1, 4000))  # the only other label
    assert fit_odds(evidence, other, choices=1).share == pytest.approx(0.3, abs=0.05)
    assert fit_odds(evidence, other).share > 0.37


def test_a_second_kind_of_evidence_counts_only_where_it_agrees_with_the_first() -> None:
    first = np.repeat([-3.0, 3.0], 300)
    helpful = np.repeat([0.0, 2.0], 300) + RANDOM.normal(0, 1, 600)
    learnt_by_heart = 5 + RANDOM.normal(0, 1, 600)
    assert np.ptp(further_odds(helpful, first)(np.array([0.0, 2.0]))) > 2
    assert np.abs(further_odds(learnt_by_heart, first)(learnt_by_heart)).mean() < 0.5


def test_odds_never_fall_with_the_evidence_and_keep_its_order() -> None:
    narrow = np.concatenate([RANDOM.normal(5, 0.2, 800), RANDOM.normal(0, 1, 200)])
    evidence = np.linspace(-10, 30, 200)
    assert (np.diff(fit_odds(narrow, SHUFFLED)(evidence)) > 0).all()
    assert fit_odds(narrow, SHUFFLED)(np.array([3.0]))[0] < 0  # far from all right ones, if nearer to them
