"""From a folder of nodes and edges to a run: trained, evaluated, embedded and taken up again from the command line."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import accord
from accord.cli import app
from accord.training.artifact import Model

SETTINGS = ["--quiet", "--set", "method.neighbours=10", "--set", "training.accelerator=cpu"]


@pytest.fixture
def library(tmp_path):
    """Papers of two topics; an author writes about one, nine times of ten."""
    random = np.random.default_rng(0)
    root = tmp_path / "library"
    (root / "nodes").mkdir(parents=True)
    (root / "edges").mkdir()
    topics = np.arange(60) % 2
    words = np.where(topics, "prime number proof", "graph network layer")
    rows = [f"p{i},{words[i]} {i % 7},{('graphs', 'maths')[topics[i]]}" for i in range(60)]
    (root / "nodes" / "paper.csv").write_text("\n".join(["id,abstract,topic", *rows]))
    authors = [2 * random.integers(8) + (topics[i] if random.random() < 0.9 else 1 - topics[i]) for i in range(60)]
    (root / "edges" / "paper__by__author.csv").write_text(
        "\n".join(["paper,author", *(f"p{paper},a{author}" for paper, author in enumerate(authors))])
    )
    return root


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_folder_of_nodes_and_edges_is_trained_evaluated_and_embedded(library, tmp_path, monkeypatch):
    out = tmp_path / "run"
    options = ["--label", "topic", "--text", "abstract", "--epochs", 12, "--out", out, *SETTINGS]
    run("train", library, "--method", "meow", *options, "--set", "method.clusters=[4,6]", "--set", "training.lr=5e-3")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["knn: top-1"]["value"] > 70
    assert {"few_labels: macro-F1 at 20", "clustering: NMI", "clustering: ARI"} <= set(metrics)
    assert "NMI" in run("evaluate", out, "--task", "clustering")
    assert (out / "report.html").is_file()

    sizes, embed = [], Model.embed_corpus
    monkeypatch.setattr("accord.searching.table._BLOCK", 7)
    monkeypatch.setattr(Model, "embed_corpus", lambda *x, **y: sizes.append(len(x[1])) or embed(*x, **y))
    assert "p7" not in run("search", out, "--like", "p7", "-k", 5).split("row", 1)[1]
    assert [hit.row for hit in accord.pipeline.search(out, like="p7", k=5)] == [
        hit.row for hit in accord.pipeline.search(out, like="7", k=5)
    ]

    assert sizes == [60]  # the nodes entered the index together, in one pass over the graph

    vectors = tmp_path / "vectors.parquet"
    run("embed", out, library, "--out", vectors)
    table = pq.read_table(vectors).to_pydict()
    assert table["node"] == [f"p{i}" for i in range(60)]
    model = accord.load(out)
    assert np.array(table["graph"]).shape == (60, model.method.encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(table["graph"], axis=1), 1, rtol=1e-5)


def test_a_run_is_taken_up_again(library, tmp_path):
    out = tmp_path / "run"
    run("train", library, "--method", "adameow", "--epochs", 2, "--label", "topic", "--out", out, *SETTINGS)
    first = (out / "model.safetensors").read_bytes()
    run("train", "--resume", "--out", out, "--quiet")
    assert (out / "model.safetensors").read_bytes() == first


def test_a_method_for_graphs_says_what_it_lacks(tmp_path):
    (tmp_path / "table.csv").write_text("title,author\none,ann\ntwo,bob\n")
    command = ["train", str(tmp_path / "table.csv"), "--method", "meow", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "method meow needs graph, and table.csv has text" in result.output
    assert "name the column with --graph COL" in result.output
