"""Whether the order of frames reaches an answer is measured, for any method that classifies clips."""

import numpy as np
import pytest
import torch

from accord.errors import ConfigError
from accord.evaluation.frame_order import AS_THEY_ARE, REVERSED, SHUFFLED, frame_order
from accord.evaluation.tasks import get_task
from evaluation.answering import Answering, measured, model_of, prepared, rows_of
from evaluation.watching import Averaging, Watching, films

CLASSES = ("darker", "brighter")


@pytest.fixture
def clips(tmp_path):
    """Twelve clips of two frames, half of which grow brighter, and one of a single frame."""
    made = [(20, 200) if number % 2 else (200, 20) for number in range(12)]
    return films(tmp_path, [*made, (250,)], [*(number % 2 for number in range(12)), 0])


def test_a_method_that_goes_by_the_order_answers_the_reverse_of_reversed_clips(clips):
    found = measured("order", model_of(Watching, None, classes=CLASSES), prepared(clips))
    assert found["top-1, frames as they are"].value == 100
    assert found["top-1, frames reversed"].value == pytest.approx(100 / 13)
    assert found["answers that change, reversed"].value == pytest.approx(100 * 12 / 13)
    assert 0 < found["answers that change, shuffled"].value < 100
    assert found["top-1, frames shuffled"].chance == 50


def test_answers_of_a_method_that_averages_frames_do_not_change(clips):
    found = measured("order", model_of(Averaging, None, classes=CLASSES), prepared(clips))
    assert found["answers that change, reversed"].value == found["answers that change, shuffled"].value == 0
    assert found["top-1, frames shuffled"].value == found["top-1, frames as they are"].value


def test_orders_are_permutations_of_real_frames_that_hang_on_the_row_alone():
    mask = torch.tensor([[True] * 6, [True, True, True, True, False, False]])
    rows = np.array([5, 9])
    for how in (AS_THEY_ARE, SHUFFLED, REVERSED):
        order = frame_order(mask, rows, how)
        assert order.sort(dim=1).values.equal(torch.arange(6).expand(2, -1))
        assert order[1, 4:].tolist() == [4, 5]
        assert frame_order(mask[1:], rows[1:], how).equal(order[1:])
    assert frame_order(mask, rows, REVERSED)[1].tolist() == [3, 2, 1, 0, 4, 5]
    shuffled = [frame_order(mask[:1], rows[:1], SHUFFLED, seed) for seed in range(4)]
    assert len({tuple(order[0].tolist()) for order in shuffled}) > 1


def test_a_method_of_pictures_is_refused(tmp_path):
    class Looking(Watching):
        needs = Answering.needs

    pictures = rows_of(tmp_path, [{"label": "darker"}, {"label": "brighter"}])
    with pytest.raises(ConfigError, match="task order does not fit: it needs rows with video"):
        measured("order", model_of(Looking, None, classes=("brighter", "darker")), prepared(pictures))


def test_it_is_run_where_it_is_asked_for():
    assert get_task("order").order is None
