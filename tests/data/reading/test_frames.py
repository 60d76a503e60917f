"""Frames near one another, for methods that follow things from frame to frame."""

from __future__ import annotations

import pytest

from accord.data.draws import Draws
from accord.data.inputs import VideoInput
from accord.data.reading.frames import chosen_frames

AROUND = VideoInput(frames=4, sampling="around", span=5)


@pytest.mark.parametrize("row", range(20))
def test_frames_around_one_are_near_it_in_order_and_all_different(row: int) -> None:
    frames = chosen_frames(100, AROUND, Draws(seed=1, epoch=2, row=row, training=True))
    assert frames == sorted(set(frames))
    assert len(frames) == 4
    assert frames[-1] - frames[0] <= 2 * 5
    assert frames == chosen_frames(100, AROUND, Draws(seed=1, epoch=2, row=row, training=True))


def test_every_part_of_a_clip_is_drawn() -> None:
    drawn = [chosen_frames(100, AROUND, Draws(epoch=epoch, training=True))[0] for epoch in range(60)]
    assert min(drawn) < 20
    assert max(drawn) > 75


def test_where_too_few_are_near_the_nearest_are_taken() -> None:
    close = VideoInput(frames=6, sampling="around", span=1)
    frames = chosen_frames(50, close, Draws(row=3, training=True))
    assert len(frames) == 6
    assert frames[-1] - frames[0] <= 10


def test_without_training_frames_are_spread_over_the_clip() -> None:
    assert chosen_frames(8, AROUND, Draws()) == [1, 3, 5, 7]
