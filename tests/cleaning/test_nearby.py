"""Nearest other rows, exact and by inverted lists."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from accord.cleaning import nearby
from accord.cleaning.nearby import Nearby


def test_the_row_itself_is_never_one_also_among_copies() -> None:
    vectors = F.normalize(torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), dim=1).repeat(2, 1)
    found, cosines = Nearby(vectors).others(5)
    assert (found != torch.arange(60)[:, None]).all()
    assert (found[:, 0] == (torch.arange(60) + 30) % 60).all()
    assert (cosines.diff(dim=1) <= 1e-6).all()


def test_inverted_lists_find_nearly_the_same(monkeypatch) -> None:
    vectors = F.normalize(torch.randn(1500, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    exact, _ = Nearby(vectors).others(5)
    monkeypatch.setattr(nearby, "_EXACT", 100)
    found, _ = Nearby(vectors).others(5)
    shared = (found[:, :, None] == exact[:, None, :]).any(dim=2).float().mean()
    assert shared > 0.9
