import numpy as np
import pytest
from scipy import stats

from accord.errors import ShapeError
from accord.evaluation.seeds import paired_interval, seeds_interval


def test_interval_equals_the_t_interval_of_scipy():
    values = [51.0, 53.5, 49.0, 52.2, 50.1]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert seeds_interval(values) == pytest.approx((np.mean(values), low, high))


def test_pairing_by_seed_removes_what_the_seeds_share():
    difficulty = np.array([10.0, -8.0, 3.0, -6.0, 1.0])
    first, second = 52 + difficulty, 50 + difficulty + np.array([0.1, -0.1, 0.2, -0.2, 0.0])
    gain = paired_interval(list(first), list(second))
    assert gain.low > 0
    alone = seeds_interval(list(first))
    assert alone.high - alone.low > 10 * (gain.high - gain.low)


def test_one_seed_has_no_interval_and_no_seed_is_refused():
    assert seeds_interval([4.0])[1:] == (None, None)
    assert str(seeds_interval([4.0])) == "4.0"
    with pytest.raises(ShapeError, match="one value per seed"):
        seeds_interval([])


def test_arms_with_different_numbers_of_seeds_cannot_be_paired():
    with pytest.raises(ShapeError, match="2 and 1 seeds; run both arms on the same seeds"):
        paired_interval([1.0, 2.0], [1.0])
