"""Knowledge graphs: triples become entities with what they say and what is said of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accord.data import open_corpus, packs
from accord.data.packs import triples, umls
from accord.errors import DataError


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pykeen" / "datasets" / "umls"
    root.mkdir(parents=True)
    (root / "train.txt").write_text("virus\tcauses\tdisease\nbacterium\tcauses\tdisease\n")
    (root / "valid.txt").write_text("drug\ttreats\tdisease\nbroken line\n")
    (root / "test.txt").write_text("virus\tisa\torganism\n")
    return tmp_path


def test_triples_become_entities(folder):
    rejected = []
    rows = list(triples.read("umls", folder, lambda name, reason: rejected.append(name)))
    assert [row["name"] for row in rows] == ["bacterium", "disease", "drug", "organism", "virus"]
    assert rows[1] == {
        "name": "disease",
        "says": [],
        "is_said": ["bacterium causes", "drug treats", "virus causes"],
    }
    assert rejected == ["valid.txt line 2"]


def test_a_built_pack_opens_as_a_graph(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("accord.data.packs.store.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(umls, "PACK", replace(umls.PACK, expected_rows=5))
    packs.build_pack("umls", folder)
    corpus = open_corpus("pack:umls", quiet=True)
    assert corpus.modalities == ("graph",)
    assert corpus.graph["row", "says", "says"].edge_index.shape[1] == 4
    assert corpus.graph["says"].num_nodes == 3  # two cause the same disease


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"train\.txt is missing: unpack pykeen 1\.11\.1"):
        list(triples.read("umls", tmp_path, lambda name, reason: None))
