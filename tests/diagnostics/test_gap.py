import math

import pytest
import torch
from torch.nn.functional import normalize

from accord.diagnostics import gap
from accord.diagnostics.gap import embedding_diagnostics
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
