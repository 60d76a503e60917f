from __future__ import annotations

from pathlib import Path

import pytest
import torch

from accord.data.features import FeatureCache, Features, Layout, Stream
from accord.errors import DataError, ShapeError


def test_a_cache_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    cache = FeatureCache(torch.randn(3, 2), torch.randn(3, 1, 4, 2), counts=torch.tensor([1, 4, 2]), key="k")
    cache.save(tmp_path / "a" / "cache.safetensors")
    again = FeatureCache.load(tmp_path / "a" / "cache.safetensors")
    assert again.key == "k"
    assert again.boxes is None
    for name in ("plain", "variants", "counts"):
        assert torch.equal(getattr(again, name), getattr(cache, name))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["cache.safetensors"]


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_a_file_that_is_no_cache_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cache.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is not a feature cache .*: delete it to rebuild it"):
        FeatureCache.load(path)
    with pytest.raises(DataError, match="is not a feature cache"):
        FeatureCache.load(tmp_path / "missing")


def test_tensors_that_do_not_fit_together_are_named() -> None:
    with pytest.raises(ShapeError, match=r"FeatureCache.variants is \(3, 1, 4, 5\), expected \(3, 1, 4, 2\)"):
        FeatureCache(torch.randn(3, 2), torch.randn(3, 1, 4, 5))
    with pytest.raises(ShapeError, match=r"FeatureCache.counts is \(2,\), expected \(3,\)"):
        FeatureCache(torch.randn(3, 2), torch.randn(3, 1, 4, 2), counts=torch.ones(2))


def test_selecting_rows_selects_all_tensors() -> None:
    cache = FeatureCache(torch.arange(6.0).reshape(3, 2), torch.randn(3, 2, 4, 2), flips=torch.ones(3, 2, 4) > 0)
    part = cache.select([2, 0, 2])
    assert part.plain[:, 0].tolist() == [4, 0, 4]
    assert part.variants is not None
    assert part.variants.shape == (3, 2, 4, 2)
    assert (len(part), part.views) == (3, 2)
    assert FeatureCache(torch.zeros(2, 2)).views == 0


def test_features_move_with_all_they_hold() -> None:
    map8 = Stream(torch.zeros(1, 16, 2), mask=torch.ones(1, 16, dtype=torch.bool), grid=(4, 4))
    features = Features(torch.zeros(1, 2), torch.zeros(1, 3, 2), streams={"map8": map8})
    moved = features.to(torch.float64)
    assert moved.pooled.dtype == moved.tokens.dtype == moved.stream("map8").values.dtype == torch.float64  # type: ignore
    assert moved.mask is None
    assert moved.stream("map8").mask.dtype == torch.bool


def test_packed_tokens_survive_a_file_and_a_selection(tmp_path):
    features = Features(torch.randn(3, 4), torch.randn(3, 5, 2))
    layout = Layout.of(features, ["tokens"])
    cache = FeatureCache(layout.pack(features), layout=layout, key="k")
    cache.save(tmp_path / "cache.safetensors")
    again = FeatureCache.load(tmp_path / "cache.safetensors").select([2, 0])
    unpacked = again.unpack(again.plain)
    torch.testing.assert_close(unpacked.tokens, features.tokens[[2, 0]], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(unpacked.pooled, features.pooled[[2, 0]], rtol=1e-3, atol=1e-3)
