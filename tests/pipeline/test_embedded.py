"""Rows with their vectors, from a model or from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from accord.data.corpus import corpus_from_items, open_corpus
from accord.errors import DataError
from accord.pipeline.embedded import is_embeddings_file, open_embedded, read_embeddings
from accord.searching.export import write_embeddings
from accord.searching.rows import vector_column


def test_what_embed_wrote_is_read_with_its_captions(tmp_path: Path) -> None:
    corpus = corpus_from_items("text", ["a cat", "a dog"])
    path = write_embeddings(tmp_path / "vectors.parquet", corpus, {"text": torch.eye(2)})
    found = open_embedded(path)
    assert is_embeddings_file(path)
    assert found.corpus.texts() == [["a cat"], ["a dog"]]
    assert torch.equal(found.vectors["text"], torch.eye(2))
    assert found.model is None


def test_columns_of_what_was_embedded_are_found_under_their_old_names(tmp_path: Path) -> None:
    pq.write_table(pa.table({"caption": ["a cat", "a dog"], "kind": ["cat", "dog"]}), tmp_path / "animals.parquet")
    corpus = open_corpus(tmp_path / "animals.parquet", columns={"label": "kind"}, quiet=True)
    path = write_embeddings(tmp_path / "vectors.parquet", corpus, {"text": torch.eye(2)})
    for label, text in (("kind", "caption"), ("label", "captions"), ("kind", ["text"])):
        found = read_embeddings(path, {"label": label, "text": text})
        assert found.corpus.classes == ("cat", "dog")
        assert found.corpus.texts() == [["a cat"], ["a dog"]]
    assert not read_embeddings(path, {"label": None}).corpus.classes
    with pytest.raises(DataError, match=r"no column 'species' for label; the columns are: id, text, label$"):
        read_embeddings(path, {"label": "species"})


def test_files_are_found_from_where_they_were_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (4, 4), "red").save(tmp_path / "photos" / "1.png")
    corpus = corpus_from_items("image", ["photos/1.png"])
    path = write_embeddings(Path("runs/vectors.parquet"), corpus, {"image": torch.eye(1)})
    assert read_embeddings(path).corpus.picture(0, 4) is not None


def test_any_column_of_vectors_will_do_and_is_made_unit_norm(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"species": ["elm", "oak", "elm"], "vec": [[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]]}), path)
    found = read_embeddings(path, {"label": "species"})
    assert found.vectors["embedding"].norm(dim=1).tolist() == pytest.approx([1, 1, 1])
    assert found.corpus.classes == ("elm", "oak")
    assert found.corpus.labels is not None
    assert found.corpus.labels.tolist() == [0, 1, 0]


def test_vectors_alone_are_rows(tmp_path: Path) -> None:
    path = tmp_path / "bare.parquet"
    pq.write_table(pa.table({"embedding": vector_column(torch.randn(5, 4))}), path)
    assert len(read_embeddings(path)) == 5


def test_rows_without_a_vector_are_left_out_where_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "some.parquet"
    image = vector_column(torch.eye(3), np.array([True, False, True]))
    pq.write_table(pa.table({"id": [7, 8, 9], "image": image, "text_vector": vector_column(torch.eye(3))}), path)
    found = read_embeddings(path)
    assert found.present["image"].tolist() == [True, False, True]
    assert found.having("image", "text").corpus.ids.tolist() == [7, 9]


def test_vectors_that_are_none_are_refused_by_row(tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table({"image": [[1.0, 0.0], [0.0, 0.0]], "id": [0, 1]}), path)
    with pytest.raises(DataError, match=r"bad\.parquet: row 1 of column image is no vector"):
        read_embeddings(path)


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        ([[1.0, 0.0], [1.0]], "vectors of column image have 1 and 2 numbers"),
        ([[1.0, 0.0], []], "vectors of column image have 0 and 2 numbers"),
        ([[], []], "vectors of column image have 0 numbers"),
        ([None, None], "column image holds no vector"),
    ],
)
def test_vectors_of_different_lengths_or_none_are_refused(tmp_path: Path, vectors: list, said: str) -> None:
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table({"image": pa.array(vectors, pa.list_(pa.float32())), "id": [0, 1]}), path)
    with pytest.raises(DataError, match=said):
        read_embeddings(path)


def test_more_rows_than_are_read_at_a_time_keep_their_places(tmp_path: Path) -> None:
    path, count = tmp_path / "many.parquet", 20_000
    angle = torch.linspace(0, 3, count)
    present = np.arange(count) % 7 > 0
    image = vector_column(torch.stack([angle.cos(), angle.sin()], dim=1), present)
    pq.write_table(
        pa.table({"image": image, "name": [f"row {row}" for row in range(count)]}), path, row_group_size=3000
    )
    found = read_embeddings(path)
    assert np.array_equal(found.present["image"], present)
    there = torch.from_numpy(present)
    assert torch.allclose(found.vectors["image"][there, 0], angle[there].cos(), atol=1e-6)
    assert not found.vectors["image"][~there].any()
    assert found.corpus.texts()[count - 1] == [f"row {count - 1}"]


def test_numbers_of_any_precision_are_vectors(tmp_path: Path) -> None:
    path = tmp_path / "half.parquet"
    kinds = {"image": pa.float16(), "text_vector": pa.float64()}
    half = np.array([3, 4], np.float16)
    pq.write_table(pa.table({name: pa.array([list(half)], pa.list_(kind)) for name, kind in kinds.items()}), path)
    found = read_embeddings(path)
    for rows in found.vectors.values():
        assert rows.tolist() == [pytest.approx([0.6, 0.8])]


def test_data_without_vectors_ask_for_a_model(tmp_path: Path) -> None:
    path = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"text": ["a cat"]}), path)
    with pytest.raises(DataError, match="name the model that is to embed it"):
        open_embedded(path)
