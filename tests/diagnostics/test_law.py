from __future__ import annotations

import numpy as np
import pytest

from accord.diagnostics.law import ScalingLaw, intervals
from accord.errors import ConfigError

FRAMES, CAPTIONS = (each.ravel() for each in np.meshgrid([1, 2, 4, 8, 16], [1, 2, 4, 8]))


def test_a_law_is_found_again_and_goes_on_beyond_what_was_measured() -> None:
    truth = ScalingLaw(0.41, (0.15, 0.13), (0.75, 1.3), "additive", 1.0)
    law = ScalingLaw.fit([FRAMES, CAPTIONS], truth.predict([FRAMES, CAPTIONS]))
    assert law.r2 > 0.9999
    np.testing.assert_allclose(law.predict([[64], [32]]), truth.predict([[64], [32]]), atol=1e-3)


def test_each_form_fits_its_own_scores_better() -> None:
    truth = ScalingLaw(0.5, (0.6, 0.5), (0.8, 1.0), "multiplicative", 1.0)
    scores = truth.predict([FRAMES, CAPTIONS])
    assert ScalingLaw.fit([FRAMES, CAPTIONS], scores, "multiplicative").r2 > 0.9999
    assert ScalingLaw.fit([FRAMES, CAPTIONS], scores, "additive").r2 < 0.995


def test_one_kind_of_evidence_is_enough() -> None:
    n = np.array([1, 2, 4, 8])
    assert ScalingLaw.fit([n], 0.3 - 0.2 / n).exponents[0] == pytest.approx(1, abs=1e-3)


def test_the_intervals_hold_the_truth_and_shrink_with_items() -> None:
    truth = ScalingLaw(0.4, (0.2,), (1.0,), "additive", 1.0)
    n = np.array([1, 2, 4, 8, 16])
    random = np.random.default_rng(0)
    widths = []
    for count in (100, 1600):
        items = truth.predict([n])[:, None] + 0.1 * random.normal(size=(5, count))
        low, high = intervals([n], items, draws=40)
        assert low[0] < 0.4 < high[0]
        widths.append(high[0] - low[0])
    assert widths[1] < widths[0]


@pytest.mark.parametrize(
    ("evidence", "says"), [([[1, 2, 2]], "3 different amounts"), ([[0, 1, 2]], "from 1"), ([[1, 2]], "2 amounts for 3")]
)
def test_too_little_evidence_is_refused(evidence: list[list[int]], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ScalingLaw.fit(evidence, [0.1, 0.2, 0.3])
