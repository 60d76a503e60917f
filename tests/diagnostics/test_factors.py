"""A probe per factor says what embeddings tell and what they do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from accord.diagnostics import Factor, factor_diagnostics
from accord.errors import DataError


@pytest.fixture(scope="module")
def world():
    """600 rows whose embeddings show their colour, somewhat their size, and not their shape."""
    rng = np.random.default_rng(0)
    colour, size, shape = (rng.integers(0, count, 600) for count in (6, 3, 4))
    generator = torch.Generator().manual_seed(0)
    x = 3 * torch.eye(16)[colour] + 0.8 * torch.eye(16)[8 + size] + 0.5 * torch.randn(600, 16, generator=generator)
    named = {"colour": colour, "size": size, "shape": shape}
    factors = {name: Factor(values, tuple(map(str, range(values.max() + 1)))) for name, values in named.items()}
    return F.normalize(x, dim=1), factors


def test_what_is_suppressed_is_told_from_what_is_learned(world) -> None:
    x, factors = world
    found = {name: factor_diagnostics(name, x, factor) for name, factor in factors.items()}
    probes = {name: probe for name, (probe, _) in found.items()}
    assert probes["colour"].low > 95
    assert probes["colour"].chance < 25
    assert "of the way from guessing" in probes["size"].meaning
    assert probes["shape"].low <= probes["shape"].chance
    assert "no better than guessing, suppressed" in probes["shape"].meaning
    assert probes["shape"].n == 120


def test_clusters_say_by_what_the_space_is_organised(world) -> None:
    x, factors = world
    shared = {name: factor_diagnostics(name, x, factor)[1] for name, factor in factors.items()}
    assert shared["colour"].value > 90
    assert shared["size"].value < 10
    assert shared["shape"].value == pytest.approx(shared["shape"].chance, abs=1)


def test_a_group_stands_on_one_side_of_the_split() -> None:
    x = torch.eye(40).repeat_interleave(5, dim=0)  # every group is one point, its value an accident
    groups = np.arange(200) // 5
    accident = np.random.default_rng(0).integers(0, 2, 40)[groups]
    factor = Factor(accident, ("a", "b"))
    seen, _ = factor_diagnostics("x", x, factor)
    unseen, _ = factor_diagnostics("x", x, factor, groups)
    assert seen.value > 95
    assert unseen.low <= unseen.chance + 20 < 95


def test_chance_is_the_commonest_value(world) -> None:
    x, _ = world
    rare = Factor((np.arange(600) % 10 == 0).astype(np.int64), ("common", "rare"))
    probe, _ = factor_diagnostics("x", x, rare)
    assert probe.chance == pytest.approx(90, abs=5)


def test_rows_of_one_group_cannot_be_split(world) -> None:
    x, factors = world
    with pytest.raises(DataError, match="expected more rows, or more groups"):
        factor_diagnostics("x", x, factors["size"], np.zeros(600))
