"""Schedules: against tables of the released code and against their ends."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from accord.functional.schedule import cosine_momentum, delta_schedule, linear_ramp, warmup_cosine, warmup_cosine_at


def test_the_table_is_that_of_the_released_code(golden) -> None:
    got = warmup_cosine(10, 8, 2, start=0.3, base=4.8, final=0.0048)
    torch.testing.assert_close(got, golden("swav")["lr0"], rtol=1e-12, atol=1e-12)


def test_groups_that_end_at_different_steps_are_those_of_the_released_code(golden) -> None:
    want = golden("protoclip")["lr_schedule"]
    got = [[warmup_cosine_at(step, 10, total, 5e-4) for total in (75, 100)] for step in range(100)]
    torch.testing.assert_close(torch.tensor(got, dtype=torch.float64), want, rtol=1e-12, atol=1e-18)


def test_the_ramp_holds_both_ends_and_the_cosine_begins_at_its_peak() -> None:
    table = warmup_cosine(5, 4, 2, start=0.1, base=1.0, final=0.01)
    assert len(table) == 20
    assert table[0] == pytest.approx(0.1)
    assert table[9] == table[10] == pytest.approx(1.0)
    assert 0.01 < table[-1] < table[-2]


@pytest.mark.parametrize(("warmup", "first", "last"), [(0, 1.0, 0.5 * (1 + math.cos(math.pi * 7 / 8))), (4, 0.0, 1.0)])
def test_without_warm_up_there_is_no_ramp_and_with_nothing_else_no_cosine(
    warmup: int, first: float, last: float
) -> None:
    table = warmup_cosine(2, 4, warmup, start=0.0, base=1.0, final=0.0)
    assert len(table) == 8
    assert (table[0].item(), table[-1].item()) == (pytest.approx(first), pytest.approx(last))


def test_one_step_at_a_time_reaches_the_peak_at_the_end_of_warm_up_and_rests_at_zero_after_the_total() -> None:
    rates = [warmup_cosine_at(step, 4, 12, base=2.0) for step in range(20)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4] == 2.0
    assert all(later < earlier for earlier, later in pairwise(rates[4:13]))
    assert rates[12:] == [0.0] * 8
    assert warmup_cosine_at(0, 0, 0, base=1.0) == 0.0


def test_the_momentum_rises_from_its_start_to_one_and_stays_there() -> None:
    values = torch.stack([cosine_momentum(step, 10, start=0.99) for step in range(14)])
    want = torch.tensor([1 - 0.01 * (math.cos(math.pi * k / 10) + 1) / 2 for k in range(11)] + [1.0] * 3)
    torch.testing.assert_close(values, want.double())


def test_a_step_in_a_tensor_gives_the_same_momentum() -> None:
    for step in (0, 3, 7):
        got = cosine_momentum(torch.tensor(step), 7, start=0.9)
        torch.testing.assert_close(got.double(), cosine_momentum(step, 7, start=0.9), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: warmup_cosine(0, 1, 0, 0, 1, 0), "n_iters_per_epoch = 0"),
        (lambda: warmup_cosine(1, 0, 0, 0, 1, 0), "epochs = 0"),
        (lambda: warmup_cosine(1, 2, 3, 0, 1, 0), r"warmup_epochs = 3: expected an integer in \[0, 2\]"),
        (lambda: warmup_cosine_at(-1, 0, 1, 1.0), "step = -1"),
        (lambda: warmup_cosine_at(0, 3, 2, 1.0), "warmup = 3"),
        (lambda: cosine_momentum(-1, 1, 0.9), "step = -1"),
        (lambda: cosine_momentum(0, 0, 0.9), "total = 0"),
        (lambda: cosine_momentum(0, 1, 1.9), "start = 1.9"),
    ],
)
def test_wrong_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_ramp_waits_rises_with_the_steps_and_ends() -> None:
    assert [linear_ramp(step, 0.1, 0.25) for step in (-5, 0, 1, 2, 3, 99)] == [0.0, 0.0, 0.1, 0.2, 0.25, 0.25]
    with pytest.raises(ValueError, match="slope"):
        linear_ramp(1, -0.1, 1.0)


def test_the_distance_of_neighbours_is_halved_from_its_epoch_on_whenever_it_is_asked() -> None:
    assert [delta_schedule(epoch) for epoch in (0, 29)] == [0.2, 0.2]
    assert [delta_schedule(epoch) for epoch in (30, 31, 49)] == pytest.approx([0.1, 0.05, 0.2 / 2**20])
    with pytest.raises(ValueError, match="epoch"):
        delta_schedule(-1)
