"""Neighbour graphs, k-reciprocal re-ranking and smoothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord import functional as AF
from accord.functional.clusters import neighbours as graph


def unit(rows: int, dim: int = 8, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)).double(), dim=1)


def dense_k_reciprocal(query: Tensor, gallery: Tensor, k1: int, k2: int, lam: float) -> Tensor:
    """The definition of Zhong et al. with Python sets and dense matrices; all pairs when there is no query."""
    items = torch.cat([query, gallery])
    square = torch.cdist(items, items).square()
    distance = square / square.max(dim=1, keepdim=True).values
    ranked = [row.tolist() for row in square.argsort(dim=1, stable=True)]
    everyone = range(len(items))

    def mutual(i: int, k: int) -> set[int]:
        return {j for j in ranked[i][: k + 1] if i in ranked[j][: k + 1]}

    weight = torch.zeros_like(square)
    for i in everyone:
        base = mutual(i, k1)
        members = set(base)
        for j in base:
            brought = mutual(j, round(k1 / 2))
            if len(brought & base) > 2 / 3 * len(brought):
                members |= brought
        for j in members:
            weight[i, j] = torch.exp(-distance[i, j])
        weight[i] /= weight[i].sum()
    weight = torch.stack([weight[ranked[i][:k2]].mean(dim=0) for i in everyone])
    shared = torch.minimum(weight[:, None], weight[None]).sum(dim=-1)
    blended = (1 - lam) * (1 - shared / (2 - shared)) + lam * distance
    return blended[: len(query), len(query) :] if len(query) else blended


def test_distance_equals_the_released_code_within_its_half_precision(golden) -> None:
    given_ = golden("capro")
    got = AF.k_reciprocal_distance(given_["k_reciprocal_rerank.in.query"], given_["k_reciprocal_rerank.in.gallery"])
    want = given_["k_reciprocal_rerank.out.distance"]
    torch.testing.assert_close(got, want, rtol=0, atol=5e-3)
    assert set(got.argsort()[0, :10].tolist()) == set(want.argsort()[0, :10].tolist())


@settings(max_examples=12, deadline=None)
@given(
    queries=st.integers(1, 3),
    rows=st.integers(4, 24),
    k1=st.integers(1, 9),
    k2=st.integers(1, 4),
    lam=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_sparse_sets_equal_the_dense_definition(queries, rows, k1, k2, lam, seed) -> None:
    query, gallery = unit(queries, 5, seed), unit(rows, 5, seed + 100)
    got = AF.k_reciprocal_distance(query, gallery, k1, k2, lam)
    torch.testing.assert_close(got, dense_k_reciprocal(query, gallery, k1, k2, lam), rtol=1e-9, atol=1e-9)


def test_walking_in_small_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = unit(30)
    whole = AF.k_reciprocal_neighbours(x, 3, k1=6, k2=3)
    monkeypatch.setattr(graph, "CHUNK_ELEMENTS", 1)
    for got, want in zip(AF.k_reciprocal_neighbours(x, 3, k1=6, k2=3), whole, strict=True):
        torch.testing.assert_close(got, want)


def test_distance_does_not_depend_on_the_order_of_the_gallery() -> None:
    query, gallery, order = unit(2), unit(25, seed=1), torch.randperm(25)
    torch.testing.assert_close(
        AF.k_reciprocal_distance(query, gallery[order]), AF.k_reciprocal_distance(query, gallery)[:, order]
    )


def test_an_item_is_at_distance_zero_from_its_duplicate_and_equal_rows_stay_finite() -> None:
    query = unit(1)
    distance = AF.k_reciprocal_distance(query, torch.cat([query, unit(20, seed=1)]), k1=5, k2=1)
    assert distance.argmin() == 0
    assert AF.k_reciprocal_distance(query, query.expand(8, -1)).isfinite().all()


def test_a_gallery_smaller_than_k1_is_used_whole() -> None:
    assert AF.k_reciprocal_distance(unit(1), unit(3, seed=1)).shape == (1, 3)


def test_knn_finds_the_most_similar_other_rows_also_among_duplicates() -> None:
    x = torch.cat([unit(12), unit(12)])  # everyone has a twin
    idx, sim = AF.knn_graph(3 * x, 4)
    cosine = AF.pairwise_cosine_similarity(x).fill_diagonal_(-2)
    torch.testing.assert_close(sim, cosine.topk(4, dim=1).values)
    torch.testing.assert_close(cosine.gather(1, idx), sim)
    assert (idx[:, 0] == (torch.arange(24) + 12) % 24).all()


def test_reranked_neighbours_are_the_pool_in_order_of_their_distance() -> None:
    x = unit(40)
    best = AF.k_reciprocal_neighbours(x, 4, pool=9, k1=8, k2=3)
    pool, _ = AF.knn_graph(x, 9)
    every = dense_k_reciprocal(x[:0], x, 8, 3, 0.3)  # no queries: the distances among the items
    expected = every.gather(1, pool).sort(dim=1).values[:, :4]
    torch.testing.assert_close(best.dist, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(best.dist, every.gather(1, best.idx), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(best.sim, AF.pairwise_cosine_similarity(x).gather(1, best.idx))


def test_smoothing_replaces_a_wrong_feature_by_its_neighbours() -> None:
    x = torch.tensor([[0.0], [1.0], [1.0], [9.0]])
    idx, sim = torch.tensor([[1, 2], [2, 0], [1, 0], [1, 2]]), torch.ones(4, 2)
    assert AF.sgc_smooth(x, idx, sim)[3].item() == 1.0
    assert AF.sgc_smooth(x, idx, sim, self_weight=1.0)[3].item() == 5.0


def test_a_row_without_neighbours_keeps_its_feature() -> None:
    x = torch.tensor([[1.0], [2.0], [7.0]])
    idx, sim = torch.tensor([[1], [0], [0]]), torch.tensor([[0.5], [0.5], [-0.2]])
    assert AF.sgc_smooth(x, idx, sim, steps=3).squeeze(1).tolist() == [2.0, 1.0, 7.0]


def test_the_released_distances_as_weights_favour_the_farther_neighbour() -> None:
    x = torch.tensor([[0.0], [1.0], [3.0]])
    idx = torch.tensor([[1, 2], [1, 1], [2, 2]])
    near_first = AF.sgc_smooth(x, idx, torch.tensor([[0.9, 0.1], [0.0, 0.0], [0.0, 0.0]]))[0]
    literal = AF.sgc_smooth(x, idx, torch.tensor([[0.1, 0.9], [0.0, 0.0], [0.0, 0.0]]))[0]
    assert near_first < literal


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AF.knn_graph(unit(3), 3), r"k = 3: expected an integer in \[1, 2\]"),
        (lambda: AF.k_reciprocal_distance(unit(2), unit(3), lam=2), "lam = 2"),
        (lambda: AF.k_reciprocal_distance(unit(2), unit(3), k1=0), "k1 = 0"),
        (lambda: AF.k_reciprocal_distance(unit(2, 3), unit(3)), "gallery has shape"),
        (lambda: AF.k_reciprocal_neighbours(unit(5), 3, pool=2), r"k = 3: expected an integer in \[1, 2\]"),
        (lambda: AF.sgc_smooth(unit(3), torch.zeros(2, 1), torch.zeros(2, 1)), "nbr_idx has shape"),
        (lambda: AF.sgc_smooth(unit(2), torch.zeros(2, 1), torch.zeros(2, 1), self_weight=-1), "self_weight = -1"),
    ],
)
def test_wrong_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# -- meta-path graphs
