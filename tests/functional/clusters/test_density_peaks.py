"""Density peaks against the definition, the reference values, and whatever padding there is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from accord.functional import clusters_of, dpc_knn, merge_tokens


def plain(x: Tensor, clusters: int, k: int) -> list[int]:
    """The definition, for one sequence without ties."""
    distance = torch.cdist(x, x) / x.shape[1] ** 0.5
    density = (-distance.square().sort(dim=1).values[:, :k].mean(dim=1)).exp()
    delta = []
    for row, own in zip(distance, density, strict=True):
        higher = row[density > own]
        delta.append(higher.min() if len(higher) else row.max())
    centres = (density * torch.stack(delta)).argsort(descending=True)[:clusters]
    ids = distance[:, centres].argmin(dim=1)
    ids[centres] = torch.arange(clusters)
    return ids.tolist()


def test_it_is_the_definition() -> None:
    x = torch.randn(5, 9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for clusters, k in ((1, 3), (3, 3), (4, 9), (9, 4)):
        ids, centres = dpc_knn(x, clusters, k)
        assert ids.tolist() == [plain(row, clusters, k) for row in x]
        assert centres.shape == (5, clusters)


def test_clusters_and_merged_tokens_of_the_reference_implementation(golden) -> None:
    z = golden("hbi")
    weight = z["merge_weight"][..., 0]
    ids, _ = dpc_knn(z["dpc_x"], 3, k=3, mask=torch.arange(9) < torch.tensor([9, 6, 9, 5])[:, None])
    assert torch.equal(ids, z["dpc_idx"])
    torch.testing.assert_close(merge_tokens(z["dpc_x"].double(), ids, 3, weight), z["merge_x"])


def test_padding_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    x, padding = torch.randn(3, 5, 4, generator=generator), torch.randn(3, 4, 4, generator=generator)
    mask = (torch.arange(9) < 5).expand(3, -1)
    ids, centres = dpc_knn(x, 2, k=3)
    longer, same = dpc_knn(torch.cat([x, padding], dim=1), 2, k=3, mask=mask)
    assert torch.equal(longer[:, :5], ids)
    assert torch.equal(same, centres)
    assert (longer[:, 5:] == 0).all()


def test_each_sequence_may_have_a_number_of_its_own_and_never_more_than_tokens() -> None:
    x = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(2))
    mask = torch.arange(6) < torch.tensor([6, 6, 2])[:, None]
    ids, _ = dpc_knn(x, torch.tensor([1, 4, 5]), k=3, mask=mask)
    assert [len(set(row[kept].tolist())) for row, kept in zip(ids, mask, strict=True)] == [1, 4, 2]


def test_of_equal_tokens_the_first_is_the_peak_and_noise_may_choose_another() -> None:
    x = torch.zeros(1, 4, 2)
    ids, centres = dpc_knn(x, 1, k=2)
    assert (ids.tolist(), centres[0, 0].item()) == ([[0, 0, 0, 0]], 0)
    apart = torch.tensor([[[0.0], [0.0], [9.0], [9.0]]])
    _, chosen = dpc_knn(apart, 2, k=2, noise=torch.tensor([[0.0, 1e-3, 0.0, 1e-3]]))
    assert sorted(chosen[0].tolist()) == [1, 3]


def test_a_sequence_without_tokens_and_a_cluster_without_weight_stay_finite() -> None:
    x = torch.randn(1, 4, 3, requires_grad=True)
    ids, _ = dpc_knn(x, 2, mask=torch.zeros(1, 4, dtype=torch.bool))
    merged = merge_tokens(x, ids, 2, torch.zeros(1, 4))
    merged.sum().backward()
    assert (merged == 0).all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_shares_are_rounded_up_and_no_sequence_gets_none() -> None:
    tokens = torch.tensor([24, 12, 10, 5, 1, 0])
    assert clusters_of(tokens, 0.25).tolist() == [6, 3, 3, 2, 1, 1]
    assert clusters_of(torch.tensor([30]), 0.1).tolist() == [3]  # 3.0000000000000004
    assert clusters_of(tokens, 0.25, fewest=2).tolist() == [6, 3, 3, 2, 1, 1]
    assert clusters_of(torch.tensor([4, 3, 1]), 0.25, fewest=2).tolist() == [2, 2, 1]


def test_what_cannot_be_clustered_is_refused() -> None:
    with pytest.raises(ValueError, match="clusters = 5"):
        dpc_knn(torch.zeros(1, 4, 2), 5)
    with pytest.raises(ValueError, match="k = 0"):
        dpc_knn(torch.zeros(1, 4, 2), 2, k=0)
