"""Wrong pairs, found from embeddings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made import average_precision, pairs

from accord.cleaning.pairs import PairJudge


def test_wrong_pairs_are_found_better_than_by_their_cosine() -> None:
    gains = []
    for seed in range(3):
        one, other, wrong = pairs(seed=seed)
        ours = average_precision(-PairJudge(one, other).log_odds, wrong)
        gains.append(ours - average_precision(-(one * other).sum(dim=1).numpy(), wrong))
    assert min(gains) > 0
    assert np.mean(gains) > 0.05


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_the_share_is_told_and_the_doubts_are_mostly_right(share) -> None:
    one, other, wrong = pairs(count=600, wrong=share, noise=0.5)
    judge = PairJudge(one, other)
    doubted = judge.clean < 0.5
    assert judge.share == pytest.approx(share, abs=0.08)
    assert (wrong & doubted).sum() > 0.9 * wrong.sum()
    assert (wrong & doubted).sum() > 0.75 * doubted.sum()


def test_of_clean_pairs_hardly_any_is_doubted() -> None:
    one, other, _ = pairs(wrong=0, noise=0.5)
    assert (PairJudge(one, other).clean < 0.5).mean() < 0.04


def test_sides_without_a_common_space_are_judged_by_their_neighbours() -> None:
    one, other, wrong = pairs(noise=0.5)
    apart = F.normalize(other @ torch.randn(32, 20, generator=torch.Generator().manual_seed(0)), dim=1)
    judge = PairJudge(one, apart)
    assert not judge.joint
    assert average_precision(-judge.log_odds, wrong) > 0.8


def test_pairs_learnt_by_heart_are_not_believed_for_their_cosine() -> None:
    one, other, wrong = pairs(count=400, wrong=0.3, noise=0.5)
    mixed = F.normalize(other + 1.0 * one, dim=1)  # the cosine of every pair is high, wrong or not
    judge = PairJudge(one, mixed)
    assert average_precision(-judge.log_odds, wrong) > average_precision(-(one * mixed).sum(dim=1).numpy(), wrong)


def test_embeddings_that_know_nothing_doubt_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (F.normalize(torch.randn(200, 16, generator=generator), dim=1) for _ in range(2))
    judge = PairJudge(one, other)
    assert not judge.telling
    assert (judge.clean == 0.5).all()


def test_the_caption_that_belongs_to_a_row_is_found_where_it_went() -> None:
    one, other, wrong = pairs(count=300, wrong=0.1, noise=0.2)
    rows = np.flatnonzero(wrong)
    judge = PairJudge(one, other)
    found, sure, believed = judge.partners(rows)
    right = (one[rows] * other[found]).sum(dim=1) > (one[rows] * other[rows]).sum(dim=1)
    assert right.float().mean() > 0.9
    assert sure.mean() > 0.3
    assert (judge.clean[believed] >= 0.5).all()


def test_copies_of_a_wrong_row_do_not_speak_for_it() -> None:
    one, other, wrong = pairs(noise=0.5)
    rows = np.flatnonzero(wrong)[:20]
    twice = [torch.cat([side, side[rows], side[rows]]) for side in (one, other)]
    judge = PairJudge(*twice)
    assert (judge.clean[rows] < 0.5).mean() > 0.6
    assert average_precision(-judge.log_odds[:300], wrong) > 0.9


def test_the_same_thing_with_something_else_is_named() -> None:
    one, other, _ = pairs(count=60, wrong=0)
    one = torch.cat([one, one[:1]])
    other = torch.cat([other, other[30:31]])
    judge = PairJudge(one, other)
    assert judge.contradicts(60) == 0
    assert judge.contradicts(5) is None


def test_the_same_rows_are_judged_the_same_twice() -> None:
    one, other, _ = pairs(count=100)
    assert np.array_equal(PairJudge(one, other).log_odds, PairJudge(one, other).log_odds)


def test_eight_rows_can_be_judged() -> None:
    one, other, _ = pairs(count=8, wrong=0)
    assert np.isfinite(PairJudge(one, other).log_odds).all()
