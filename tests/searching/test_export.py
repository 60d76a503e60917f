import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from accord.data.corpus import corpus_from_items
from accord.errors import ShapeError
from accord.searching.export import write_embeddings


def test_every_row_is_written_with_its_number_texts_class_and_vectors(tmp_path):
    corpus = corpus_from_items("text", ["one", "two", "three"]).with_labels(np.array([0, 1, -1]), classes=["a", "b"])
    part = corpus.select([2, 0])
    vectors = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    path = write_embeddings(tmp_path / "out" / "vectors.parquet", part, {"text": vectors})
    table = pq.read_table(path)
    assert table["id"].to_pylist() == [2, 0]
    assert table["captions"].to_pylist() == [["three"], ["one"]]
    assert table["label"].to_pylist() == [None, "a"]
    assert table["text"].to_pylist() == vectors.tolist()
    assert table.schema.field("text").type.list_size == 2
    assert json.loads(table.schema.metadata[b"accord"])["fingerprint"] == part.fingerprint
    assert [child.name for child in path.parent.iterdir()] == ["vectors.parquet"]


def test_the_file_of_each_picture_is_named(write, rows, model, tmp_path, folder):
    corpus = write(rows)
    path = write_embeddings(tmp_path / "v.parquet", corpus, {"image": model.embed_corpus(corpus, "image")})
    assert pq.read_table(path)["path"][0].as_py() == str(folder / "red0.png")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    corpus = corpus_from_items("text", ["one"])
    path = write_embeddings(tmp_path / "v.parquet", corpus, {"text": torch.ones(1, 2)})
    before = path.read_bytes()

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        write_embeddings(path, corpus, {"text": torch.zeros(1, 2)})
    assert path.read_bytes() == before


def test_vectors_of_other_rows_are_refused(tmp_path):
    with pytest.raises(ShapeError, match=r"text embeddings: shape \(2, 2\); expected \(1, D\)"):
        write_embeddings(tmp_path / "v.parquet", corpus_from_items("text", ["one"]), {"text": torch.eye(2)})
