"""Meta-paths: counts, best neighbours in blocks, contexts, and how a path is named."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import HeteroData

from accord.data.augmenting import metapaths
from accord.data.augmenting.metapaths import path_contexts, path_neighbours, read_metapath, shortest_metapaths
from accord.errors import ConfigError
from accord.functional import topk_neighbors

WRITES, SHOWN, CITES = ("paper", "by", "author"), ("paper", "at", "venue"), ("paper", "cites", "paper")
RELATIONS = [WRITES, SHOWN, CITES]


@pytest.fixture
def graph():
    torch.manual_seed(0)
    sizes = {"paper": 40, "author": 15, "venue": 4}
    graph = HeteroData(**{name: {"num_nodes": count} for name, count in sizes.items()})
    for relation, edges in {WRITES: 90, SHOWN: 40, CITES: 60}.items():
        ends = [torch.randint(sizes[relation[side]], (edges,)) for side in (0, 2)]
        graph[relation].edge_index = torch.stack(ends)
    return graph


def dense(graph, relation):
    matrix = torch.zeros(int(graph[relation[0]].num_nodes), int(graph[relation[2]].num_nodes))
    matrix[tuple(graph[relation].edge_index)] = 1  # an edge that stands there twice counts once
    return matrix


@pytest.mark.parametrize("entries", [1, 500, 10**6])
@pytest.mark.parametrize(
    ("path", "steps"),
    [
        (["paper", "author", "paper"], lambda by, at, cites: by @ by.T),
        (["paper", "cites:paper", "~cites:paper"], lambda by, at, cites: cites @ cites.T),
        (["paper", "~cites:paper", "author", "paper"], lambda by, at, cites: cites.T @ by @ by.T),
        (["paper", "venue", "paper", "author", "paper"], lambda by, at, cites: at @ at.T @ by @ by.T),
    ],
)
def test_best_neighbours_equal_those_of_the_dense_counts(graph, monkeypatch, path, steps, entries):
    monkeypatch.setattr(metapaths, "BLOCK_ENTRIES", entries)
    counts = steps(*(dense(graph, relation) for relation in RELATIONS))
    found = path_neighbours(graph, read_metapath(path, RELATIONS, "paper"), k=5)
    assert torch.equal(found.to_dense(), topk_neighbors(counts, 5))
    assert found._nnz() < counts.count_nonzero()


def test_contexts_count_how_often_a_path_comes_by(graph):
    by, at = dense(graph, WRITES), dense(graph, SHOWN)
    path = read_metapath(["paper", "venue", "paper", "author", "paper"], RELATIONS, "paper")
    assert path.between == ("venue", "paper", "author")
    found = [matrix.to_dense() for matrix in path_contexts(graph, path)]
    for matrix, expected in zip(found, (at, at @ at.T, at @ at.T @ by), strict=True):
        assert torch.equal(matrix, expected)


def test_the_shortest_paths_leave_and_return_by_each_relation():
    assert shortest_metapaths(RELATIONS, "author") == [["author", "~by:paper", "by:author"]]
    for path in shortest_metapaths(RELATIONS, "paper"):
        read_metapath(path, RELATIONS, "paper")
    with pytest.raises(ConfigError, match="no relation touches 'book'"):
        shortest_metapaths(RELATIONS, "book")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (["paper", "paper"], "at least three types"),
        (["author", "paper", "author"], "paper the first and the last"),
        (["paper", "paper", "paper"], "fits cites:paper, ~cites:paper; name one of them"),
        (["paper", "book", "paper"], "is no relation; from paper lead: at:venue, by:author, cites:paper"),
    ],
)
def test_a_path_that_is_none_is_refused_with_what_there_is(path, message):
    with pytest.raises(ConfigError, match=message):
        read_metapath(path, RELATIONS, "paper")
