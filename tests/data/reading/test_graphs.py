"""Graphs: a folder of nodes and edges, columns that name things, features, and batches of the whole."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from accord.data import corpus_from_graph, eval_loader, open_corpus, train_loader
from accord.data.inputs import GraphInput
from accord.data.recipe import DataConfig, prepare
from accord.errors import ConfigError, DataError

PAPERS = """id,title,topic,pages,year_group
p0,deep graph networks,graphs,10,a
p1,graph walks,graphs,12,a
p2,prime numbers,maths,3,b
p3,numbers and walks,maths,4,c
p4,untitled,,5,d
"""
WRITTEN = "paper,author\np0,ann\np1,ann\np1,bob\np2,7\np3,7\np9,bob\n,bob\n"


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "library"
    (root / "nodes").mkdir(parents=True)
    (root / "edges").mkdir()
    (root / "nodes" / "paper.csv").write_text(PAPERS)
    (root / "edges" / "paper__written_by__author.csv").write_text(WRITTEN)
    (root / "edges" / "paper__cites__paper.tsv").write_text("target\tsource\np0\tp1\np2\tp3\n")
    return root


def opened(folder, **options):
    columns = {"label": "topic", "text": "title", "group": "year_group"}
    return open_corpus(folder, columns=columns, max_bad=0.5, quiet=True, **options)


def test_rows_are_the_nodes_with_labels_and_keep_their_numbers_in_the_graph(folder):
    corpus = opened(folder)
    assert len(corpus) == 5  # a node without a label stays
    assert corpus.target == "paper"
    assert corpus.classes == ("graphs", "maths")
    assert corpus.labels.tolist() == [0, 0, 1, 1, -1]
    part = corpus.select([3, 1])
    assert part.ids.tolist() == [3, 1]
    assert part.graph is corpus.graph


def test_types_without_a_table_are_made_of_the_ids_that_edges_name(folder):
    graph = opened(folder).graph
    assert graph["author"].num_nodes == 3  # ann, bob, 7
    assert graph["author"].get("x") is None
    written = graph["paper", "written_by", "author"].edge_index.tolist()
    assert written == [[0, 1, 1, 2, 3], [0, 0, 1, 2, 2]]
    assert graph["paper", "cites", "paper"].edge_index.tolist() == [[1, 3], [0, 2]]  # columns by name, not by place


def test_edges_to_nowhere_are_left_out_listed_and_counted(folder, tmp_path):
    opened(folder, quarantine=tmp_path / "bad.jsonl")
    listed = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert {(entry["row"], entry["file"]) for entry in listed} == {
        (5, "paper__written_by__author.csv"),
        (6, "paper__written_by__author.csv"),
    }
    assert "'p9' is not in nodes/paper" in listed[0]["reason"] + listed[1]["reason"]
    with pytest.raises(DataError, match="2 of 9 rows"):
        open_corpus(folder, columns={"label": "topic"}, max_bad=0.1, quiet=True)


def test_features_are_words_and_numbers_but_never_the_label_or_the_group(folder):
    x = opened(folder).graph["paper"].x.to_dense()
    assert x.shape == (5, 4)  # graph, walks, numbers; pages
    assert x[:, -1].tolist() == [10, 12, 3, 4, 5]
    assert sorted(x[:, :3].sum(dim=0).tolist()) == [2, 2, 2]
    other = open_corpus(folder, columns={"label": "topic", "text": None}, max_bad=0.5, quiet=True)
    assert other.graph["paper"].x.shape == (5, 1)


def test_the_fingerprint_knows_the_edges(folder):
    before = opened(folder).fingerprint
    (folder / "edges" / "paper__cites__paper.tsv").write_text("target\tsource\np0\tp1\np2\tp1\n")
    assert opened(folder).fingerprint != before


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("nodes/paper.csv", "name\np0\n", "no column 'id'"),
        ("nodes/paper.csv", "id,t\np0,a\np0,b\n", "row 1 repeats the id 'p0' of row 0"),
        ("edges/written.csv", "a,b\np0,x\n", "expected a name such as"),
        ("edges/paper__has__word.csv", "a\np0\n", "expected two columns of ids"),
        ("nodes/paper.jsonl", '{"id": "p0"}\n', "both describe paper"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(folder, file, content, message):
    (folder / file).write_text(content)
    with pytest.raises(DataError, match=message):
        open_corpus(folder, quiet=True)


def test_the_target_has_to_be_clear(folder):
    (folder / "nodes" / "author.csv").write_text("id,label\nann,x\nbob,y\n7,x\n")
    corpus = open_corpus(folder, max_bad=0.5, quiet=True)
    assert corpus.target == "author"  # the only type with a column that is called a label
    assert open_corpus(folder, target="paper", max_bad=0.5, quiet=True).target == "paper"
    with pytest.raises(DataError, match="no node type 'book'; there are: author, paper"):
        open_corpus(folder, target="book", quiet=True)
    (folder / "nodes" / "author.csv").write_text("id\nann\nbob\n7\n")
    with pytest.raises(DataError, match="which nodes are to be learned"):
        open_corpus(folder, quiet=True)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "films.jsonl"
    films = [
        {"title": "one film", "actors": ["ann", "bob"], "studio": "x", "genre": "drama"},
        {"title": "two films", "actors": ["bob", None, " bob "], "studio": "x", "genre": "drama"},
        {"title": "a film", "actors": [], "studio": None, "genre": "comedy"},
    ]
    path.write_text("".join(json.dumps(film) + "\n" for film in films))
    return path


def test_columns_that_name_things_make_a_graph_of_a_table(table):
    corpus = open_corpus(table, columns={"graph": ["actors", "studio"], "label": "genre"}, quiet=True)
    assert corpus.modalities == ("text", "graph")
    assert corpus.graph["actors"].num_nodes == 2
    assert corpus.graph["row", "actors", "actors"].edge_index.tolist() == [[0, 0, 1], [0, 1, 1]]
    assert corpus.graph["row", "studio", "studio"].edge_index.tolist() == [[0, 1], [0, 0]]
    assert open_corpus(table, quiet=True).graph is None  # only where it is asked for


def test_a_split_shares_rows_out_and_leaves_the_graph_whole(table):
    columns = {"graph": "actors", "label": "genre"}
    parts = prepare(DataConfig.parse({"source": str(table), "columns": columns, "split": {"test": 0.4}}), quiet=True)
    assert len(parts.train) + len(parts.test) == 3
    assert parts.train.graph["row"].num_nodes == 3
    assert parts.train.graph is parts.test.graph


def test_an_epoch_is_one_batch_of_the_whole_graph(table):
    corpus = open_corpus(table, columns={"graph": "actors", "label": "genre"}, quiet=True).select([2, 0])
    graph = GraphInput({"row": 1}, (("row", "actors", "actors"),), "row")
    batches = list(train_loader(corpus, {"graph": graph}, batch_size=64, seed=0))
    assert len(batches) == 1
    assert batches[0]["graph"] is corpus.graph
    assert sorted(zip(batches[0]["node"].tolist(), batches[0]["index"].tolist(), strict=True)) == [(0, 1), (2, 0)]
    (batch,) = eval_loader(corpus, {"graph": graph}, batch_size=1)
    assert batch["node"].tolist() == [2, 0]
    with pytest.raises(ConfigError, match=r"training\.devices = 1"):
        train_loader(corpus, {"graph": graph}, batch_size=2, seed=0, world_size=2)


def test_a_graph_in_memory_becomes_a_corpus():
    from torch_geometric.data import HeteroData

    graph = HeteroData(paper={"x": torch.eye(3), "y": torch.tensor([1, -1, 0])}, author={"num_nodes": 2})
    corpus = corpus_from_graph(graph, "paper", classes=("a", "b"))
    np.testing.assert_array_equal(corpus.labels, [1, -1, 0])
    with pytest.raises(DataError, match="no node type 'book'"):
        corpus_from_graph(graph, "book")
