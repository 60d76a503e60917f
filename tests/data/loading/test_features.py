from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from accord.data.loading.features import FeatureCache, Features, Layout, Stream
from accord.errors import DataError, ShapeError


def test_a_cache_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    cache = FeatureCache(torch.randn(3, 2), torch.randn(7, 2), counts=torch.tensor([1, 4, 2]), key="k")
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
        FeatureCache(torch.randn(3, 2), torch.randn(2, 2), counts=torch.ones(2))
    with pytest.raises(ShapeError, match=r"FeatureCache.variants is \(6, 2\), expected \(7, 2\)"):
        FeatureCache(torch.randn(3, 2), torch.randn(6, 2), counts=torch.tensor([1, 4, 2]))


def test_selecting_rows_selects_all_tensors() -> None:
    cache = FeatureCache(torch.arange(6.0).reshape(3, 2), torch.randn(3, 2, 4, 2), flips=torch.ones(3, 2, 4) > 0)
    part = cache.select([2, 0, 2])
    assert part.plain[:, 0].tolist() == [4, 0, 4]
    assert part.variants is not None
    assert part.variants.shape == (3, 2, 4, 2)
    assert (len(part), part.views) == (3, 2)
    assert FeatureCache(torch.zeros(2, 2)).views == 0
    captions = FeatureCache(torch.zeros(3, 1), torch.arange(7.0)[:, None], counts=torch.tensor([1, 4, 2])).select(
        [2, 0]
    )
    assert captions.variants is not None
    assert captions.variants[:, 0].tolist() == [5, 6, 0]
    assert captions.views == 1


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


def test_a_stream_is_a_map_of_its_own_grid_and_never_a_guessed_one() -> None:
    values = torch.arange(12.0).view(1, 12, 1)
    assert Stream(values, grid=(2, 6)).map()[0, 0, 1].tolist() == [6, 7, 8, 9, 10, 11]
    assert Stream(values, grid=(3, 2, 2)).map().shape == (1, 1, 3, 2, 2)
    with pytest.raises(ShapeError, match="4 positions without a grid is no map"):
        Features(torch.zeros(1, 2), torch.zeros(1, 4, 2)).grid()


def test_a_map_becomes_a_stream_and_comes_back() -> None:
    cells = torch.rand(2, 3, 4, 5)
    stream = Stream.of_map(cells)
    assert torch.equal(stream.map(), cells)
    assert torch.equal(stream.values[:, 7], cells[:, :, 1, 2])


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"values": torch.zeros(2, 3)}, r"shape \(2, 3\): expected \(B, N, D\)"),
        ({"grid": (2, 2)}, r"6 positions with grid \(2, 2\)"),
        ({"mask": torch.ones(2, 5) > 0}, r"mask has shape \(2, 5\): expected \(B, N\) = \(2, 6\)"),
        ({"times": torch.zeros(6)}, r"times has shape \(6,\)"),
    ],
)
def test_parts_of_a_stream_that_do_not_fit_are_named(parts, says) -> None:
    with pytest.raises(ShapeError, match=says):
        Stream(**{"values": torch.zeros(2, 6, 4), **parts})


def test_the_main_sequence_has_its_own_name_and_is_called_tokens() -> None:
    patches, layers = Stream(torch.zeros(1, 4, 2), grid=(2, 2)), Stream(torch.ones(1, 3, 2))
    features = Features(torch.zeros(1, 2), streams={"layers": layers, "patches": patches}, main="patches")
    assert features.stream("tokens") is features.stream("patches") is patches
    assert features.tokens is patches.values
    assert Features(torch.zeros(1, 2), streams={"layers": layers}, main="patches").tokens is None
    with pytest.raises(ShapeError, match="no stream 'map8'; there are: layers, patches"):
        features.stream("map8")
    with pytest.raises(ShapeError, match="hold no tokens"):
        Features(torch.zeros(1, 2)).sequence()


def test_batches_join_with_masks_grids_and_times() -> None:
    times = torch.tensor([[0.0, 1.0]])
    masked = Stream(torch.zeros(1, 2, 3), torch.tensor([[True, False]]), (2,), times)
    whole = Stream(torch.ones(1, 2, 3), None, (2,), times + 1)
    joined = Features.cat([Features(torch.zeros(1, 3), streams={"frames": part}) for part in (masked, whole)])
    frames = joined.stream("frames")
    assert frames.mask is not None
    assert frames.mask.tolist() == [[True, False], [True, True]]
    assert frames.times is not None
    assert frames.times.tolist() == [[0, 1], [1, 2]]
    picked = joined.select(torch.tensor([1, 1, 0])).stream("frames")
    assert (picked.grid, picked.values[:, 0, 0].tolist()) == ((2,), [1, 1, 0])
    with pytest.raises(ShapeError, match=r"grids \(2,\), \(1, 2\): expected one grid"):
        Stream.cat([whole, Stream(torch.ones(1, 2, 3), grid=(1, 2))])


def test_a_cache_holds_several_streams_with_masks_grids_and_exact_times(tmp_path: Path) -> None:
    seconds = torch.tensor([[4000.25, 4001.0, 7200.123], [0.0, 0.1, 0.0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    streams = {
        "frames": Stream(torch.randn(2, 3, 5), mask, times=seconds),
        "patches": Stream(torch.randn(2, 12, 4), grid=(3, 2, 2)),
        "layers": Stream(torch.randn(2, 2, 6)),
    }
    features = Features(torch.randn(2, 5), streams=streams)
    layout = Layout.of(features, ["tokens", "patches"])
    assert [one.name for one in layout.streams] == ["frames", "patches"]
    FeatureCache(layout.pack(features), layout=layout).save(tmp_path / "cache.safetensors")
    again = FeatureCache.load(tmp_path / "cache.safetensors")
    assert again.layout == layout
    assert again.plain.element_size() * again.plain.shape[1] == layout.bytes
    found = again.unpack(again.plain)
    assert (set(found.streams), found.main) == ({"frames", "patches"}, "frames")
    assert torch.equal(found.stream("frames").times, seconds)  # type: ignore[arg-type]
    assert torch.equal(found.mask, mask)  # type: ignore[arg-type]
    assert found.stream("patches").grid == (3, 2, 2)
    torch.testing.assert_close(found.stream("patches").values, streams["patches"].values, rtol=1e-3, atol=1e-3)


def test_features_that_do_not_fit_a_cache_are_refused() -> None:
    layout = Layout.of(Features(torch.zeros(1, 2), torch.zeros(1, 3, 2)), ["tokens"])
    with pytest.raises(ShapeError, match="stream 'tokens' of 4 × 2 does not fit a cache of 3 × 2"):
        layout.pack(Features(torch.zeros(1, 2), torch.zeros(1, 4, 2)))


def test_a_cache_from_before_streams_had_names_is_read(tmp_path: Path) -> None:
    features = Features(torch.randn(2, 4), torch.randn(2, 3, 2))
    rows = torch.cat([features.pooled, features.tokens.flatten(1)], dim=1).half()  # type: ignore[union-attr]
    save_file({"plain": rows}, tmp_path / "old.safetensors", metadata={"key": "k", "tokens": "3", "dim": "4"})
    cache = FeatureCache.load(tmp_path / "old.safetensors")
    torch.testing.assert_close(cache.unpack(cache.plain).tokens, features.tokens, rtol=1e-3, atol=1e-3)
