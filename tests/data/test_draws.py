from __future__ import annotations

import numpy as np

from accord.data.draws import Purpose, draw, seed_of


def test_draws_are_the_same_one_by_one_or_all_together() -> None:
    together = draw(3, Purpose.VIEW, 1, np.arange(50)[:, None], np.arange(4))
    alone = [[draw(3, Purpose.VIEW, 1, row, view)[0] for view in range(4)] for row in range(50)]
    assert together.tolist() == np.array(alone).tolist()


def test_draws_are_spread_evenly_and_not_repeated() -> None:
    numbers = draw(0, Purpose.VARIANT, 0, np.arange(10_000))
    assert len(np.unique(numbers)) == 10_000
    counts = np.bincount((numbers % np.uint64(5)).astype(int))
    assert np.abs(counts - 2000).max() < 200  # about five standard deviations


def test_every_key_counts_and_so_does_its_place() -> None:
    keys = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (0, 1), (0, 1, 2, 0), (0, 1, 3)]
    assert len({seed_of(*key) for key in keys}) == len(keys)


def test_draws_do_not_change_between_versions() -> None:
    assert seed_of(0, Purpose.ORDER, 0) == 3990416159943602544
