"""Shortest paths along neighbours against SciPy's Dijkstra and the released values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import geodesic_similarity
from accord.functional.similarity import geodesic


def film(seed: int, clips: int = 24, dim: int = 16) -> Tensor:
    """Moments of scenes: chains of cells that look a little alike."""
    random = torch.Generator().manual_seed(seed)
    scenes = torch.randn(4, dim, generator=random)[torch.randint(4, (clips // 4,), generator=random)]
    shown = scenes.repeat_interleave(4, dim=0) + 0.4 * torch.randn(clips, dim, generator=random)
    start, end = torch.triu_indices(clips, clips)
    return torch.stack(
        [shown[i : j + 1].amax(dim=0) for i, j in zip(start.tolist(), end.tolist(), strict=True)]
    ).double()


def reference(features: Tensor, sources: Tensor, k: int, cutoff: float) -> Tensor:
    distance = torch.cdist(features, features).fill_diagonal_(torch.inf)
    near = distance.topk(k, largest=False).indices
    unit = F.normalize(features, dim=1)
    length = (1 - (unit[:, None] * unit[near]).sum(dim=2)).clamp(min=0)  # rounding must not make cycles that pay
    rows = np.repeat(np.arange(len(features)), k)
    graph = csr_matrix((length.flatten().numpy(), (rows, near.flatten().numpy())), shape=(len(features),) * 2)
    found = torch.from_numpy(dijkstra(graph, indices=sources.numpy(), limit=cutoff))
    return torch.where(found.isinf(), 0.0, 1 - found)


@pytest.mark.parametrize(("k", "cutoff"), [(5, 0.5), (2, 0.5), (5, 0.05), (8, 1.0)])
def test_paths_are_the_shortest_within_the_cut(k: int, cutoff: float) -> None:
    features, sources = film(0), torch.tensor([0, 17, 17, 299])
    expected = reference(features, sources, k, cutoff)
    found = geodesic_similarity(features, sources, k, cutoff)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    assert int((expected > 0).sum()) > 4


def on_an_accelerator(features: Tensor, sources: Tensor, hops: int | None = None) -> Tensor:
    near, length = geodesic._edges(features[None], 5)
    return (1 - geodesic._relaxed(near, length, sources, torch.zeros_like(sources), 0.5, hops)).clamp(min=0)


def test_an_accelerator_takes_all_edges_at_once_and_finds_the_same() -> None:
    features, sources = film(1), torch.tensor([3, 100])
    expected = geodesic_similarity(features, sources)
    for hops in (None, 64):
        torch.testing.assert_close(on_an_accelerator(features, sources, hops), expected, atol=1e-12, rtol=0)


def test_an_accelerator_that_is_not_to_wait_follows_so_many_edges_alone() -> None:
    features, sources = film(1), torch.tensor([3])
    expected, fewer = geodesic_similarity(features, sources), on_an_accelerator(features, sources, 1)
    assert (fewer <= expected + 1e-12).all()
    assert 1 < int((fewer > 0).sum()) <= 6  # itself and its neighbours
    assert int((expected > 0).sum()) > 6


def test_films_do_not_see_each_other() -> None:
    both, owner = torch.stack([film(3), film(4)]), torch.tensor([1, 0, 1])
    sources = torch.tensor([7, 9, 20])
    found = geodesic_similarity(both, sources, owner=owner)
    for row, place in enumerate(owner.tolist()):
        assert torch.equal(found[row], geodesic_similarity(both[place], sources[row : row + 1])[0])


def test_similarities_are_those_of_the_released_code(golden) -> None:
    given = golden("g2l")
    mask = given["cl_mask2d"]
    owner = torch.repeat_interleave(torch.arange(3), given["cl_num_sents"])
    source = given["cl_iou2d"][:, mask].argmax(dim=1)
    found = geodesic_similarity(given["cl_map2d"][:, :, mask].mT, source, owner=owner)
    torch.testing.assert_close(found.double(), given["geo_similarity"], atol=1e-6, rtol=1e-5)


def test_the_same_item_is_at_no_distance_and_needs_no_gradient() -> None:
    features = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    found = geodesic_similarity(features, torch.tensor([0]), k=1)
    assert found.tolist() == [[1.0, 1.0, 0.0]]
    assert not found.requires_grad


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="k = 3: expected an integer in \\[1, 2\\]"):
        geodesic_similarity(torch.eye(3), torch.tensor([0]), k=3)
    with pytest.raises(ValueError, match="cutoff = 0"):
        geodesic_similarity(torch.eye(3), torch.tensor([0]), k=1, cutoff=0.0)
    with pytest.raises(ShapeError):
        geodesic_similarity(torch.zeros(2, 3, 4), torch.tensor([0]), k=1)
