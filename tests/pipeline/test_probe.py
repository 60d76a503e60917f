"""``probe``: a run, a bundle and a file of vectors are measured alike."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import accord
from accord import pipeline
from accord.errors import ConfigError, DataError, StorageError
from accord.searching.rows import vector_column


@pytest.fixture
def table(tmp_path):
    """A Parquet file of 300 vectors that show the species and not the colour."""
    rng = np.random.default_rng(0)
    species, colour = rng.integers(0, 4, 300), rng.integers(0, 3, 300)
    x = torch.eye(8)[species] + 0.1 * torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    columns = {
        "vec": vector_column(F.normalize(x, dim=1)),
        "species": [f"species {number}" for number in species],
        "colour": [f"colour {number}" for number in colour],
        "weight": rng.random(300).tolist(),
        "same": ["yes"] * 300,
    }
    pq.write_table(pa.table(columns), tmp_path / "vectors.parquet")
    return tmp_path / "vectors.parquet"


def values(numbers):
    return {item.name: item for item in numbers}


def test_the_gap_is_measured_on_held_out_rows_and_drawn(trained, tmp_path):
    found = {item.name: item.value for item in pipeline.probe(trained.path, figure=tmp_path / "gap.png")}
    assert 0 <= found["image–text modality gap"] <= 2
    assert found["image–text separability, centred"] <= 100
    assert "image uniformity" in found
    assert Image.open(tmp_path / "gap.png").width > 800


def test_other_data_can_be_probed(trained, shapes):
    assert pipeline.probe(trained.path, shapes) != pipeline.probe(trained.path)


def test_no_number_is_told_twice(trained):
    names = [item.name for item in pipeline.probe(trained.path)]
    assert len(names) == len(set(names))


def test_a_run_and_the_file_of_its_embeddings_are_probed_alike(trained, shapes, tmp_path):
    written = pipeline.embed(trained.path, shapes, tmp_path / "vectors.parquet")
    of_file = values(pipeline.probe(written, measures=["spread", "gap"]))
    of_run = values(pipeline.probe(trained.path, shapes, measures=["spread", "gap"]))
    assert list(of_file) == list(of_run)
    for name, item in of_file.items():
        assert item.value == pytest.approx(of_run[name].value, abs=1e-3)


def test_measures_can_be_chosen(trained):
    names = [item.name for item in pipeline.probe(trained.path, measures=["spread"])]
    assert names[:2] == ["image uniformity", "image effective rank"]
    assert not any("–" in name for name in names)


def test_a_file_says_what_its_vectors_show_and_what_they_do_not(table, tmp_path):
    numbers = pipeline.probe(
        table,
        columns={"label": "species"},
        factors=["species", "colour", "weight"],
        figure=tmp_path / "probe.svg",
        json_file=tmp_path / "numbers.json",
    )
    found = values(numbers)
    assert found["embedding purity"].value > 99
    assert found["embedding nearest class mean"].value > 99
    assert found["embedding: species, probe"].low > 95
    assert "suppressed" in found["embedding: colour, probe"].meaning
    assert "one of 5" in found["embedding: weight, probe"].meaning
    assert "<svg" in (tmp_path / "probe.svg").read_text()
    told = json.loads((tmp_path / "numbers.json").read_text())
    assert told["count"] == 300
    assert [entry["name"] for entry in told["numbers"]] == [item.name for item in numbers]


def test_factors_of_a_run_are_columns_of_its_data(trained, shapes, tmp_path):
    rows = list(csv.reader((shapes / "metadata.csv").open()))
    lines = [[*rows[0], "shape"], *([*row, row[1].split()[-1]] for row in rows[1:])]
    with (tmp_path / "other.csv").open("w", newline="") as file:
        csv.writer(file).writerows([lines[0], *([str(shapes / row[0]), *row[1:]] for row in lines[1:])])
    found = values(pipeline.probe(trained.path, tmp_path / "other.csv", factors=["shape"], measures=["factors"]))
    assert set(found) == {f"{side}: shape, {what}" for side in ("image", "text") for what in ("probe", "NMI")}


def test_what_does_not_fit_is_left_out_with_a_line_and_refused_when_asked_for(table, capsys):
    assert "embedding purity" not in values(pipeline.probe(table))
    said = capsys.readouterr().err
    assert "not measured: pairs, gap: two modalities of one size are compared" in said
    assert "not measured: classes, purity: the rows have no labels" in said
    assert "not measured: factors: no factor: name a column" in said
    with pytest.raises(ConfigError, match="measure purity does not fit: the rows have no labels"):
        pipeline.probe(table, measures=["purity"])
    with pytest.raises(ConfigError, match="measure factors does not fit: no factor"):
        pipeline.probe(table, measures=["factors"])


def test_what_is_no_factor_is_refused_before_anything_is_embedded(trained, table, monkeypatch):
    monkeypatch.setattr("accord.training.model.Model.embed_corpus", lambda *_, **__: pytest.fail("embedded"))
    with pytest.raises(DataError, match="no column 'colr'; did you mean colour"):
        pipeline.probe(table, factors=["colr"])
    with pytest.raises(DataError, match="no column 'colour'; there are: "):
        pipeline.probe(trained.path, factors=["colour"])
    with pytest.raises(DataError, match="factor same: 1 different values in 300 rows"):
        pipeline.probe(table, factors=["same"])


def test_a_file_of_vectors_takes_no_other_data_and_needs_vectors(table, shapes, tmp_path):
    with pytest.raises(ConfigError, match="holds the vectors of its own rows: leave"):
        pipeline.probe(table, shapes)
    pq.write_table(pa.table({"text": ["a cat"]}), tmp_path / "plain.parquet")
    with pytest.raises(DataError, match=r"plain\.parquet is no file of embeddings"):
        pipeline.probe(tmp_path / "plain.parquet")


def test_only_what_was_written_here_is_replaced(table, tmp_path):
    other = tmp_path / "package.json"
    other.write_text("{}")
    with pytest.raises(StorageError, match="is there already and no file of numbers of accord probe"):
        pipeline.probe(table, json_file=other)
    for _ in range(2):
        pipeline.probe(table, json_file=tmp_path / "numbers.json")
    with pytest.raises(ConfigError, match=r"expected a file that ends with \.png, \.svg, \.pdf"):
        pipeline.probe(table, figure=tmp_path / "figure.bmp")


def test_rows_without_one_of_the_modalities_are_left_out(tmp_path, capsys):
    image = vector_column(torch.eye(6), np.array([True] * 5 + [False]))
    pq.write_table(pa.table({"image": image, "text_vector": vector_column(torch.eye(6))}), tmp_path / "some.parquet")
    found = values(pipeline.probe(tmp_path / "some.parquet", measures=["spread"]))
    assert found["text uniformity"].n == 5
    assert "1 rows without one of image, text left out" in capsys.readouterr().err


def test_the_former_name_is_found(table):
    with pytest.warns(DeprecationWarning, match=r"accord\.diagnose is called accord\.probe now"):
        assert accord.diagnose is accord.probe
    with pytest.warns(DeprecationWarning, match=r"accord\.diagnose is called accord\.probe now"):
        assert pipeline.diagnose is pipeline.probe
