from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from accord.errors import ShapeError
from accord.functional import (
    cka,
    cknna,
    clamp_outliers,
    cycle_knn,
    knn_indices,
    layer_sweep,
    lcs_knn,
    mutual_knn,
    mutual_knn_per_item,
)
from accord.functional.measures import agreement


def rows(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def turned(x: torch.Tensor) -> torch.Tensor:
    return 3 * x @ torch.linalg.qr(rows(x.shape[1], x.shape[1], seed=9)).Q


def test_neighbours_equal_the_released_code(golden) -> None:
    given = golden("dynamic_reflections")
    x, y = given["X"], given["Y"]
    assert torch.equal(knn_indices(x, 5), given["knn_x"].long())
    assert mutual_knn(x, y, 5) == pytest.approx(float(given["mutual_knn"]), abs=1e-12)
    assert lcs_knn(x, y, 5) == pytest.approx(float(given["lcs_knn"]), abs=1e-6)


def test_kernel_alignment_equals_the_released_code(golden) -> None:
    given = golden("dynamic_reflections")
    x, y = given["X"], given["Y"]
    found = [cka(x, y), cka(x, y, "rbf"), cka(x, y, unbiased=True)]
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), given["cka"].double(), atol=1e-6, rtol=0)


def test_the_sweep_of_layers_equals_the_released_code(golden) -> None:
    given = golden("dynamic_reflections")
    sides = [clamp_outliers(given[name], exact=True) for name in ("FX", "FY")]
    sweep = layer_sweep(*sides, k=5)
    torch.testing.assert_close(sweep.scores, given["layer_scores"].double(), atol=1e-6, rtol=0)
    assert sweep.best == tuple(given["best_layers"].tolist())
    assert float(sweep.per_item.mean()) == pytest.approx(float(given["best_score"]))


def test_blocks_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rows(60, 8), rows(60, 5, seed=1)
    whole = knn_indices(x, 7), cka(x, y, "rbf"), cka(x, y, unbiased=True)
    monkeypatch.setattr(agreement, "BLOCK", 60 * 7)
    blocks = knn_indices(x, 7), cka(x, y, "rbf"), cka(x, y, unbiased=True)
    assert torch.equal(whole[0], blocks[0])
    assert whole[1:] == pytest.approx(blocks[1:], abs=1e-12)


def test_spaces_that_differ_by_a_turn_agree_and_strangers_agree_by_chance() -> None:
    x = rows(300, 6)
    assert mutual_knn(x, turned(x)) == 1
    assert cka(x, turned(x)) == pytest.approx(1, abs=1e-4)
    assert cknna(x, turned(x)) == pytest.approx(1, abs=1e-4)
    strangers = mutual_knn_per_item(x, rows(300, 6, seed=1))
    chance, error = 10 / 299, float(strangers.std()) / 300**0.5
    assert abs(float(strangers.mean()) - chance) < 4 * error


def test_masked_kernels_are_not_taken_for_symmetric_ones(golden) -> None:
    given = golden("dynamic_reflections")
    x, y = (F.normalize(given[name].double(), dim=1) for name in ("X", "Y"))

    def near(kernel: torch.Tensor) -> torch.Tensor:
        own = kernel.clone().fill_diagonal_(-9)
        return torch.zeros_like(own).scatter_(1, own.topk(5, dim=1).indices, 1)

    def hsic(k: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        n, k, m = len(k), k.clone().fill_diagonal_(0), m.clone().fill_diagonal_(0)
        return (
            (torch.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * (k @ m).sum() / (n - 2)) / n / (n - 3)
        )

    kx, ky = x @ x.T, y @ y.T
    both = near(kx) * near(ky)
    own = [hsic(near(kernel) * kernel, near(kernel) * kernel) for kernel in (kx, ky)]
    expected = hsic(both * kx, both * ky) / ((own[0] * own[1]).sqrt() + 1e-6)
    assert cknna(x, y, 5) == pytest.approx(float(expected), abs=1e-9)


def test_a_cycle_ends_where_it_began_among_neighbours_of_neighbours() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    assert cycle_knn(x, x[[0, 2, 1, 3]], k=1) == 0


def test_the_best_layers_of_strangers_look_better_than_chance_and_the_null_says_so() -> None:
    x, y = rows(120, 24).unflatten(1, (6, 4)), rows(120, 24, seed=1).unflatten(1, (6, 4))
    sweep = layer_sweep(x, y, k=5, concat=True)
    assert sweep.scores.shape == (7, 7)
    null = sweep.null(50, torch.Generator().manual_seed(0))
    best = float(sweep.scores.max())
    assert best > 5 / 119
    assert float(null.min()) < best < float(null.max())
    own = layer_sweep(x, x, k=5)
    assert float(own.scores.max()) == 1 > float(own.null(20, torch.Generator().manual_seed(0)).max())


def test_clamping_bounds_the_few_that_are_huge() -> None:
    x = rows(30, 40).unflatten(1, (2, 20))
    x[:, :, 3] = 1000
    clamped = clamp_outliers(x, q=0.9)
    assert float(clamped.max()) < 10
    assert torch.equal(clamped[x.abs() < 0.5], x[x.abs() < 0.5])


def test_rows_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="rows of y"):
        mutual_knn(rows(9, 3), rows(8, 3), 2)
    with pytest.raises(ValueError, match="k"):
        knn_indices(rows(9, 3), 9)
    with pytest.raises(ShapeError):
        layer_sweep(rows(9, 3), rows(9, 3))
