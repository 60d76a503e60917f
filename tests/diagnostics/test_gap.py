import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from accord.diagnostics import gap
from accord.diagnostics.gap import embedding_diagnostics, gap_diagnostics, gap_metrics, linear_separability
from accord.errors import DataError, ShapeError


def numbers(**embeddings):
    return {item.name: item.value for item in embedding_diagnostics(embeddings)}


def sphere(rows, dim, seed=0):
    return normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_a_perfect_space_has_no_gap_and_a_shifted_one_does():
    x = sphere(200, 16)
    shifted = normalize(x + torch.tensor([3.0] + [0.0] * 15), dim=1)
    assert numbers(image=x, text=x)["image–text modality gap"] == pytest.approx(0, abs=1e-6)
    assert numbers(image=x, text=shifted)["image–text modality gap"] > 0.5


def test_cosines_of_pairs_and_of_others_equal_the_matrix():
    x, y = sphere(50, 8, 1), sphere(50, 8, 2)
    found = numbers(image=x, text=y)
    cosine = x @ y.T
    others = cosine[~torch.eye(50, dtype=torch.bool)]
    assert found["image–text cosine of pairs"] == pytest.approx(float(cosine.diagonal().mean()), abs=1e-5)
    assert found["image–text cosine of others"] == pytest.approx(float(others.mean()), abs=1e-5)
    expected = 2 - 2 * float(cosine.diagonal().mean())
    assert found["image–text alignment"] == pytest.approx(expected, abs=1e-5)


def test_collapse_shows_in_uniformity_and_rank():
    collapsed = normalize(torch.ones(40, 8), dim=1)
    found = numbers(flat=collapsed, spread=sphere(40, 8))
    assert found["flat uniformity"] == pytest.approx(0, abs=1e-4)
    assert found["flat effective rank"] == pytest.approx(1, abs=1e-2)
    assert found["spread uniformity"] < -2
    assert found["spread effective rank"] > 6


def test_modalities_of_different_width_are_described_but_not_compared():
    found = numbers(image=sphere(20, 4), text=sphere(20, 6))
    assert set(found) == {f"{m} {what}" for m in ("image", "text") for what in ("uniformity", "effective rank")}


def test_three_modalities_are_compared_two_by_two():
    names = numbers(image=sphere(9, 4), text=sphere(9, 4, 1), audio=sphere(9, 4, 2))
    assert {"image–text modality gap", "image–audio modality gap", "text–audio modality gap"} <= set(names)


def test_many_rows_are_sampled_in_pairs(monkeypatch):
    monkeypatch.setattr(gap, "SAMPLE", 30)
    x = sphere(500, 8)
    assert numbers(image=x, text=x)["image–text alignment"] == pytest.approx(0, abs=1e-6)


def test_every_number_comes_with_a_sentence():
    for item in embedding_diagnostics({"image": sphere(9, 4), "text": sphere(9, 4)}):
        assert len(item.meaning.split()) > 4
        assert math.isfinite(item.value)


def test_one_row_unequal_rows_and_nan_are_refused():
    with pytest.raises(DataError, match="1 rows: expected at least 2"):
        numbers(image=sphere(1, 4))
    with pytest.raises(ShapeError, match="expected equally many"):
        numbers(image=sphere(4, 4), text=sphere(5, 4))
    with pytest.raises(DataError, match="text embeddings are not finite"):
        numbers(image=sphere(4, 4), text=sphere(4, 4) / 0)


def test_gap_metrics_equal_the_reference_values(golden):
    stored = golden("contrastive_gap")
    found = gap_metrics(stored["gap_image"], stored["gap_text"])
    for name in ("centroid_distance", "centroid_cosine", "cross_uniformity"):
        assert found[name] == pytest.approx(float(stored[name]), rel=1e-5)
    total = (found["uniformity_x"] + found["uniformity_y"]) / 2
    assert total == pytest.approx(float(stored["uniformity_total"]), rel=1e-5)
    assert found["linear_separability"] == pytest.approx(float(stored["linear_separability"]), abs=0.06)


def test_separability_equals_scikit_learn_over_many_splits(golden):
    stored = golden("contrastive_gap")
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = stored["gap_image"].numpy(), stored["gap_text"].numpy()
    scores = []
    for seed in range(60):
        order = np.random.default_rng(seed).permutation(len(x))
        test, train = order[:12], order[12:]
        labels = [np.repeat([1, 0], len(rows)) for rows in (train, test)]
        model = linear_model.LogisticRegression().fit(np.concatenate([x[train], y[train]]), labels[0])
        scores.append(model.score(np.concatenate([x[test], y[test]]), labels[1]))
    found = linear_separability(stored["gap_image"], stored["gap_text"], splits=100)
    assert found == pytest.approx(np.mean(scores), abs=0.025)


def test_separability_is_a_half_without_a_gap_and_one_for_disjoint_sets():
    x, y = sphere(300, 8), sphere(300, 8, 1)
    assert linear_separability(x, y) == pytest.approx(0.5, abs=0.06)
    lifted = normalize(y + torch.tensor([9.0] + [0.0] * 7), dim=1)
    assert linear_separability(normalize(x - torch.tensor([9.0] + [0.0] * 7), dim=1), lifted) == 1


def test_separability_of_identical_sides_is_a_half_since_pairs_are_never_divided():
    x = sphere(60, 8)
    assert linear_separability(x, x) == pytest.approx(0.5)


def test_the_seed_decides_the_splits():
    x, y = sphere(30, 4), sphere(30, 4, 1)
    assert gap_metrics(x, y, 3) == gap_metrics(x, y, 3)
    assert linear_separability(x, y, 1) != linear_separability(x, y, 2)


def test_closing_afterwards_is_measured_on_pairs_that_did_not_fit_it():
    x = sphere(200, 8)
    shifted = normalize(x + torch.tensor([2.0] + [0.0] * 7), dim=1)
    found = {item.name: item.value for item in gap_diagnostics({"image": x, "text": shifted})}
    assert found["image–text separability"] > 95
    assert found["image–text separability, centred"] < 75
    assert found["image–text modality gap, centred"] < 0.3 * found["image–text modality gap"]


def test_a_turned_modality_is_turned_back():
    x = sphere(200, 8)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(5)))[0]
    lifted = normalize(x + torch.tensor([1.0] + [0.0] * 7), dim=1)
    found = {item.name: item.value for item in gap_diagnostics({"image": lifted, "text": lifted @ turn})}
    assert found["image–text modality gap"] > 0.3
    assert found["image–text modality gap, turned"] == pytest.approx(0, abs=1e-4)


def test_too_few_pairs_for_a_rotation_are_refused():
    with pytest.raises(DataError, match="at least 4"):
        gap_diagnostics({"image": sphere(3, 4), "text": sphere(3, 4)})
