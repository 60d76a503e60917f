"""Graphs of meta-paths against loops and MEOW's reference values, dense and sparse."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord import functional as AF

LAYOUTS = {"dense": lambda x: x, "coo": lambda x: x.to_sparse_coo(), "csr": lambda x: x.to_sparse_csr()}


def path_counts(nodes: int, others: int, seed: int = 0, share: float = 0.3) -> Tensor:
    """Instances of the path target - other - target, from a random bipartite graph."""
    generator = torch.Generator().manual_seed(seed)
    links = (torch.rand(nodes, others, generator=generator) < share).long()
    return links @ links.T


def loop_pathsim(counts: Tensor) -> Tensor:
    likeness = torch.zeros(counts.shape, dtype=torch.float64)
    for i in range(len(counts)):
        for j in range(len(counts)):
            if counts[i, j]:
                likeness[i, j] = 2 * counts[i, j].item() / (counts[i, i] + counts[j, j]).item()
    return likeness


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_meta_path_graph_is_that_of_the_released_code(golden, layout: str) -> None:
    given_ = golden("meow")
    top = AF.topk_neighbors(LAYOUTS[layout](given_["ps_counts"]), 4)
    assert top.layout == LAYOUTS[layout](given_["ps_counts"]).layout
    assert torch.equal(top.to_dense(), given_["ps_top"].long())
    normal = AF.normalize_adjacency(top)
    assert normal.layout == top.layout
    torch.testing.assert_close(normal.to_dense(), given_["ps_norm"])


@settings(max_examples=15, deadline=None)
@given(nodes=st.integers(1, 9), others=st.integers(1, 6), k=st.integers(1, 10), seed=st.integers(0, 99))
def test_the_meta_path_graph_equals_loops_whatever_the_layout(nodes: int, others: int, k: int, seed: int) -> None:
    counts = path_counts(nodes, others, seed)
    likeness = loop_pathsim(counts)
    top = torch.zeros_like(counts)
    for i in range(nodes):
        ranked = sorted((j for j in range(nodes) if counts[i, j]), key=lambda j: (-likeness[i, j].item(), j))
        top[i, ranked[:k]] = counts[i, ranked[:k]]
    degree = top.sum(dim=1).double()
    scale = torch.where(degree > 0, degree.clamp(min=1).pow(-0.5), 0)
    for convert in LAYOUTS.values():
        torch.testing.assert_close(AF.pathsim(convert(counts.double())).to_dense(), likeness)
        got = AF.topk_neighbors(convert(counts), k)
        assert torch.equal(got.to_dense(), top)
        normal = AF.normalize_adjacency(got.to(torch.float64)).to_dense()
        torch.testing.assert_close(normal, scale[:, None] * top.T * scale)


def test_path_similarity_is_symmetric_one_on_the_diagonal_and_blind_to_the_scale_of_counts() -> None:
    counts = path_counts(30, 12).double()
    likeness = AF.pathsim(counts)
    torch.testing.assert_close(likeness, likeness.T)
    torch.testing.assert_close(likeness.diagonal(), (counts.diagonal() > 0).double())
    torch.testing.assert_close(AF.pathsim(7 * counts), likeness)
    assert likeness.max() <= 1


def test_entries_without_any_path_to_oneself_have_similarity_zero_and_empty_rows_stay_empty() -> None:
    counts = torch.tensor([[0, 3, 0], [3, 0, 0], [0, 0, 0]])
    assert not AF.pathsim(counts).any()
    assert torch.equal(AF.topk_neighbors(counts, 2), counts)
    for convert in LAYOUTS.values():
        torch.testing.assert_close(AF.normalize_adjacency(convert(counts)).to_dense(), (counts > 0).float())
        assert not AF.normalize_adjacency(convert(torch.zeros(4, 4))).to_dense().any()


def test_duplicate_and_stored_zero_entries_of_a_sparse_matrix_change_nothing() -> None:
    index = torch.tensor([[0, 0, 1, 1, 0], [0, 1, 1, 0, 1]])
    counts = torch.sparse_coo_tensor(index, torch.tensor([2, 1, 4, 0, 2]), (2, 2))
    dense = torch.tensor([[2, 3], [0, 4]])
    torch.testing.assert_close(AF.pathsim(counts).to_dense(), AF.pathsim(dense))
    assert torch.equal(AF.topk_neighbors(counts, 1).to_dense(), AF.topk_neighbors(dense, 1))


def test_seventy_thousand_nodes_and_a_million_edges_never_become_dense() -> None:
    nodes = 70_000
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(nodes, (2, 1_000_000), generator=generator)
    index = torch.cat([index, torch.arange(nodes).expand(2, -1)], dim=1)
    counts = torch.sparse_coo_tensor(index, torch.ones(index.shape[1]), (nodes, nodes)).coalesce()
    top = AF.topk_neighbors(counts, 5)  # dense, this would be 20 GB
    assert torch.bincount(top.indices()[0]).max() == 5
    normal = AF.normalize_adjacency(top)
    assert normal._nnz() == top._nnz()
    assert normal.values().isfinite().all()


def test_weights_of_negatives_count_the_clusterings_that_part_them_and_come_in_blocks_of_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    clusterings = [torch.randint(k, (9,), generator=generator) for k in (2, 3, 5)]
    weight = AF.cluster_negative_weights(clusterings)
    for i in range(9):
        for j in range(9):
            assert weight[i, j] == sum(int(c[i] != c[j]) for c in clusterings)
    assert not weight.diagonal().any()
    blocks = [AF.cluster_negative_weights(clusterings, slice(start, start + 4)) for start in (0, 4, 8)]
    assert torch.equal(torch.cat(blocks), weight)
    relabelled = [torch.tensor([2, 0, 1])[clusterings[1]]]
    assert torch.equal(AF.cluster_negative_weights(relabelled), AF.cluster_negative_weights(clusterings[1:2]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AF.pathsim(torch.zeros(2, 3)), r"counts has shape \(2, 3\): expected \(2, 2\)"),
        (lambda: AF.topk_neighbors(torch.zeros(2, 2), 0), "k = 0"),
        (lambda: AF.normalize_adjacency(torch.zeros(4)), r"adjacency has shape \(4,\)"),
        (lambda: AF.cluster_negative_weights([]), "number of assignments = 0"),
        (lambda: AF.cluster_negative_weights([torch.zeros(3), torch.zeros(2)]), r"assignments\[1\] has shape"),
    ],
)
def test_wrong_meta_path_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
