"""Rows that lack modalities: kept where asked, marked in batches, left out where a measure needs them."""

from __future__ import annotations

import json
import wave

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from accord.data.corpus import open_corpus
from accord.data.loading.loader import eval_loader, train_loader
from accord.encoders import build_encoder
from accord.methods import DataInfo, get_method
from accord.searching.export import write_embeddings
from accord.searching.index import build_index
from accord.training.artifact import Model
from accord.training.caching import stored_features
from accord.training.config import TrainingConfig
from accord.training.fit import fit

ROWS = 12
LACKING = {"image": {1, 5}, "audio": {2, 5, 7}, "text": {3, 5, 9}}  # row 5 has nothing at all


@pytest.fixture
def folder(tmp_path):
    """Pictures, sounds and captions of which each lacks some."""
    tmp_path = tmp_path / "rows"
    tmp_path.mkdir()
    rows = []
    for number in range(ROWS):
        Image.new("RGB", (16, 16), (20 * number, 0, 0)).save(tmp_path / f"{number}.png")
        with wave.open(str(tmp_path / f"{number}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16000)
            tone = 8000 * np.sin(np.arange(4000) * (0.05 + 0.02 * number))
            file.writeframes(tone.astype(np.int16).tobytes())
        row = {"image": f"{number}.png", "audio": f"{number}.wav", "text": f"thing number {number}"}
        rows.append({key: (None if number in LACKING[key] else value) for key, value in row.items()})
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture
def corpus(folder):
    return open_corpus(folder, incomplete=True, quiet=True)


def towers(corpus):
    torch.manual_seed(0)
    shape = {"width": 16, "depth": 1, "heads": 2}
    texts = [text for row in corpus.texts() for text in row]
    return {
        "image": build_encoder("image", {"name": "tiny_vit", "size": 16, "patch": 8, **shape}),
        "audio": build_encoder("audio", {"name": "tiny_audio", **shape}),
        "text": build_encoder("text", {"name": "tiny_text", "pool": "mean", **shape}, texts=texts),
    }


def gram(corpus, encoders=None):
    encoders = encoders or towers(corpus)
    return get_method("gram")({"dim": 8, "fusion_depth": 1, "fusion_heads": 2}, encoders, DataInfo(rows=len(corpus)))


def test_complete_rows_alone_are_kept_unless_asked(folder, corpus):
    assert open_corpus(folder, max_bad=0.5, quiet=True).ids.tolist() == [0, 4, 6, 8, 10, 11]
    assert corpus.ids.tolist() == [number for number in range(ROWS) if number != 5]
    for name, rows in LACKING.items():
        assert set(corpus.ids[~corpus.present[name]]) == rows - {5}
    assert corpus.sample(1)["image"] is None
    assert corpus.having("image", "text").ids.tolist() == [0, 2, 4, 6, 7, 8, 10, 11]


@pytest.mark.parametrize("first", [True, False])
def test_one_way_of_opening_does_not_decide_the_other(tmp_path, first):
    rows = []
    for number in range(4):
        Image.new("RGB", (16, 16), (60 * number, 0, 0)).save(tmp_path / f"{number}.png")
        rows.append({"image": f"{number}.png" if number != 2 else None, "text": f"thing number {number}"})
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {kept: open_corpus(tmp_path, incomplete=kept, quiet=True).ids.tolist() for kept in (first, not first)}
    assert found == {True: [0, 1, 2, 3], False: [0, 1, 3]}


def test_what_is_left_out_is_said(folder, capsys):
    open_corpus(folder, incomplete=True)
    assert "2 without audio" in capsys.readouterr().err.replace("\n", " ")


def test_batches_say_which_rows_have_what(corpus):
    inputs = {name: encoder.input for name, encoder in towers(corpus).items()}
    (batch,) = eval_loader(corpus, inputs, batch_size=11)
    for name, rows in LACKING.items():
        assert corpus.ids[~batch[f"{name}_present"].numpy()].tolist() == sorted(rows - {5})
    for batch in train_loader(corpus, inputs, batch_size=5, seed=0):
        numbers = corpus.ids[batch["index"].numpy()]
        assert [number in LACKING["audio"] for number in numbers] == (~batch["audio_present"]).tolist()
        assert torch.isfinite(batch["image"]).all()


def test_a_damaged_file_is_still_a_bad_row(folder):
    (folder / "4.png").write_bytes(b"no picture")
    corpus = open_corpus(folder, incomplete=True, quiet=True)
    assert sorted(set(range(ROWS)) - set(corpus.ids)) == [4, 5]


def test_features_of_frozen_encoders_are_stored_for_the_rows_that_have_them(corpus, monkeypatch, tmp_path):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: tmp_path / "cache")
    encoder = towers(corpus)["image"]
    encoder.freeze("all")
    held = stored_features("image", encoder, corpus)
    alone = stored_features("image", encoder, corpus.having("image"))
    torch.testing.assert_close(held.plain[torch.from_numpy(corpus.present["image"])], alone.plain)


@pytest.mark.parametrize("frozen", [False, True])
def test_training_uses_incomplete_rows_and_a_filler_teaches_nothing(corpus, monkeypatch, tmp_path, frozen):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: tmp_path / "cache")
    encoders = towers(corpus)
    if frozen:
        encoders["image"].freeze("all")
    method = gram(corpus, encoders)
    config = TrainingConfig(epochs=3, batch_size=5, lr=3e-3, log_every=1, accelerator="cpu")
    fit(method, corpus, config, tmp_path / "run", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "train.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["total"]) for line in lines)


def test_vectors_of_absent_modalities_are_null_and_never_found(corpus, tmp_path):
    model = Model(gram(corpus))
    vectors = {name: model.embed_corpus(corpus, name) for name in ("image", "audio")}
    table = pq.read_table(write_embeddings(tmp_path / "v.parquet", corpus, vectors))
    assert [corpus.ids[row] for row, value in enumerate(table["audio"].to_pylist()) if value is None] == [2, 7]
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.safetensors").write_bytes(b"x")
    index = build_index(run, model, corpus, progress=False)
    hits = index.search(vectors["audio"][0], "audio", k=20)
    assert {hit.row for hit in hits} == set(corpus.ids[corpus.present["audio"]])
    assert hits[0].row == 0
