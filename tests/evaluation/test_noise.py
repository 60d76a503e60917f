import numpy as np
import pytest
import torch

from accord.errors import ShapeError
from accord.evaluation.noise import noise_metrics, pair_noise_metrics
from accord.methods.abilities import Verdicts

#         right right right wrong wrong wrong out   out
GIVEN = [0, 1, 2, 0, 1, 2, 0, 1]
TRUTH = [0, 1, 2, 1, 2, 0, -1, -1]
JUDGED = Verdicts(
    kept=torch.tensor([True, True, False, True, True, True, False, True]),
    label=torch.tensor([0, 1, 2, 1, 0, 2, 0, 1]),  # row 3 corrected rightly, row 4 wrongly, row 5 overlooked
    score=torch.tensor([0.9, 0.8, 0.3, 0.2, 0.4, 0.7, 0.1, 0.6]),
    trusted=torch.tensor([True, True, False, False, False, True, False, False]),
)


def by_name(metrics):
    return {metric.name: metric for metric in metrics}


def test_every_share_equals_the_count_by_hand():
    found = by_name(noise_metrics(JUDGED, GIVEN, TRUTH))
    expected = {
        "purity of trusted rows": 2 / 3,  # rows 0, 1, 5
        "purity of kept rows": 3 / 6,  # rows 0, 1, 3 of 0, 1, 3, 4, 5, 7
        "judged noisy: precision": 3 / 4,  # rows 3, 4, 6 of 2, 3, 4, 6
        "judged noisy: recall": 3 / 5,  # of rows 3, 4, 5, 6, 7
        "wrong labels found": 2 / 3,  # rows 3, 4 of 3, 4, 5
        "wrong labels corrected": 1 / 3,
        "out-of-set rows dropped": 1 / 2,
        "right labels harmed": 1 / 3,
    }
    assert {name: found[name].value for name in expected} == pytest.approx({k: 100 * v for k, v in expected.items()})
    right = np.array([0.9, 0.8, 0.3])[:, None]
    wrong = np.array([0.2, 0.4, 0.7, 0.1, 0.6])[None]
    assert found["score AUROC"].value == pytest.approx(100 * (right > wrong).mean())


def test_chance_is_what_a_random_judgement_reaches():
    rng = np.random.default_rng(0)
    given = rng.integers(0, 5, size=20_000)
    truth = np.where(rng.random(20_000) < 0.4, rng.integers(-1, 5, size=20_000), given)
    judged = Verdicts(
        kept=torch.from_numpy(rng.random(20_000) < 0.7),
        score=torch.from_numpy(rng.random(20_000)),
        trusted=torch.from_numpy(rng.random(20_000) < 0.1),
    )
    for metric in noise_metrics(judged, given, truth):
        if metric.chance is not None:
            assert metric.value == pytest.approx(metric.chance, abs=2.5), metric.name


def test_a_judgement_of_nothing_leaves_out_the_lines_that_have_no_rows():
    silent = Verdicts(kept=torch.ones(3, dtype=torch.bool), score=torch.ones(3))
    found = by_name(noise_metrics(silent, [0, 1, 2], [0, 1, 2]))
    assert list(found) == ["purity of kept rows", "right labels harmed"]
    assert found["purity of kept rows"].value == 100.0


def test_pairs_without_classes_are_scored_by_whether_they_belong_together():
    judged = Verdicts(kept=torch.tensor([True, True, False, True]), score=torch.tensor([0.9, 0.8, 0.1, 0.3]))
    found = by_name(pair_noise_metrics(judged, [False, False, True, True]))
    assert found["judged noisy: precision"].value == 100.0
    assert found["judged noisy: recall"].value == 50.0
    assert found["purity of kept rows"].value == pytest.approx(200 / 3)
    assert found["score AUROC"].value == 100.0
    assert not any(name.startswith("wrong labels") for name in found)


def test_rows_of_one_group_are_resampled_together():
    one_group = by_name(noise_metrics(JUDGED, GIVEN, TRUTH, groups=["all"] * 8))["judged noisy: recall"]
    assert one_group.low == one_group.high == pytest.approx(one_group.value)


def test_lengths_must_agree():
    with pytest.raises(ShapeError, match="expected one flag per row"):
        noise_metrics(JUDGED, GIVEN[:4], TRUTH[:4])
    with pytest.raises(ShapeError, match="8 given labels, 3 true"):
        noise_metrics(JUDGED, GIVEN, TRUTH[:3])
