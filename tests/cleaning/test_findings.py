"""Aspects put together."""

from __future__ import annotations

import numpy as np

from accord.cleaning.findings import Aspect, Finding, put_together


def aspect(what: str, log_odds: list[float], rows: list[int] | None = None, telling: bool = True, **more) -> Aspect:
    places = np.arange(len(log_odds)) if rows is None else np.array(rows)
    return Aspect(what, places, np.array(log_odds), lambda place: Finding(f"{what} {place}", **more), 0.2, telling)


def test_a_row_is_as_clean_as_the_worst_that_is_known_of_it() -> None:
    found = put_together(3, [aspect("pair", [2.0, -1.0, 3.0]), aspect("labels", [1.0, -4.0], rows=[0, 1], label="x")])
    assert found.doubted.tolist() == [False, True, False]
    assert found.score.argsort().tolist() == [1, 0, 2]
    assert found.found[1] == Finding("labels 1; pair 1", label="x")


def test_what_tells_nothing_counts_for_nothing() -> None:
    found = put_together(2, [aspect("pair", [-9.0, -9.0], telling=False)])
    assert not found.doubted.any()
    assert np.isnan(found.score).all()
    assert np.isnan(found.shares["pair"])
