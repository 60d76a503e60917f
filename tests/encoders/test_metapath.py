"""The meta-path encoder: what its views are made of, features of all kinds, and its spec."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch_geometric.data import HeteroData

from accord.encoders import build_encoder
from accord.encoders.metapath import describe_metapaths
from accord.errors import ConfigError, ShapeError
from accord.functional import normalize_adjacency, topk_neighbors

NODES = 12


@pytest.fixture
def graph():
    torch.manual_seed(0)
    graph = HeteroData(paper={"x": torch.rand(NODES, 5)}, author={"num_nodes": 6}, venue={"x": torch.rand(3, 2)})
    graph["paper", "by", "author"].edge_index = torch.stack([torch.arange(NODES).repeat(2), torch.randint(6, (24,))])
    graph["venue", "shows", "paper"].edge_index = torch.stack([torch.randint(3, (NODES,)), torch.arange(NODES)])
    return graph


def built(graph, **options):
    torch.manual_seed(1)
    spec = describe_metapaths(graph, "paper", **{"width": 8, "neighbours": 4, "dropout": 0.0, **options})
    return build_encoder("graph", spec, weights=False)


def dense(graph, relation):
    matrix = torch.zeros(int(graph[relation[0]].num_nodes), int(graph[relation[2]].num_nodes))
    matrix[tuple(graph[relation].edge_index)] = 1
    return matrix


def test_views_are_made_of_best_neighbours_contexts_and_one_gcn(graph):
    encoder = built(graph)
    seen = encoder.read(graph)
    by, shows = dense(graph, ("paper", "by", "author")), dense(graph, ("venue", "shows", "paper"))
    paths = [normalize_adjacency(topk_neighbors(counts, 4)) for counts in (by @ by.T, shows.T @ shows)]
    for found, expected in zip(seen.paths, paths, strict=True):
        torch.testing.assert_close(found.to_dense(), expected)
    torch.testing.assert_close(seen.coarse.to_dense(), (paths[0] + paths[1]) / 2)

    hidden = encoder.lifted(seen)
    lift = dict(zip(encoder.types, encoder.lift, strict=True))
    torch.testing.assert_close(hidden["paper"], F.elu(lift["paper"](F.normalize(graph["paper"].x, p=1, dim=1))))
    torch.testing.assert_close(hidden["author"], F.elu(lift["author"](torch.eye(6))))  # no features: its own column
    torch.testing.assert_close(encoder.coarse(seen, hidden["paper"]), encoder.gcn(hidden["paper"], seen.coarse))
    message = encoder.context[1].maps[0](shows.T / shows.T.sum(dim=1, keepdim=True) @ hidden["venue"])
    fine = F.normalize(encoder.gcn(F.elu(hidden["paper"] + message), paths[1]), dim=1)
    torch.testing.assert_close(encoder.fine(seen, hidden["paper"], hidden)[1], fine)


def test_sparse_features_give_what_dense_ones_give(graph):
    z = built(graph)(graph).pooled
    graph["paper"].x = graph["paper"].x.to_sparse()
    torch.testing.assert_close(built(graph)(graph).pooled, z)
    assert z.shape == (NODES, 8)


def test_gradient_reaches_every_part(graph):
    encoder = built(graph)
    encoder(graph).pooled.square().sum().backward()
    silent = [name for name, parameter in encoder.named_parameters() if parameter.grad is None]
    assert not silent


def test_a_graph_is_read_once_and_another_anew(graph):
    encoder = built(graph)
    first = encoder.read(graph)
    assert encoder.read(graph) is first
    assert encoder.read(graph.clone()) is not first


def test_the_spec_rebuilds_it(graph):
    encoder = built(graph, paths=[["paper", "author", "paper"]], contexts=False)
    again = build_encoder("graph", encoder.spec(), weights=False)
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again(graph).pooled, encoder(graph).pooled)


def test_other_graphs_and_unknown_encoders_are_refused(graph):
    encoder = built(graph)
    other = graph.clone()
    other["venue"].x = torch.rand(3, 4)
    with pytest.raises(ShapeError, match=r"graph\['venue'\] has features of shape \(3, 4\)"):
        encoder.read(other)
    with pytest.raises(ShapeError, match="has 0 nodes: expected 12"):
        encoder.read(HeteroData(author={"num_nodes": 6}))
    with pytest.raises(ConfigError, match="there are: hetero, metapath"):
        build_encoder("graph", "gat")
