from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from small import small_run

import accord
from accord import pipeline
from accord.data.corpus import open_corpus
from accord.errors import AccordError, ConfigError, DataError


def test_a_run_leaves_a_complete_artifact(trained):
    names = {path.name for path in trained.path.iterdir()}
    wanted = {"config.yaml", "encoders.json", "model.safetensors", "metrics.json", "README.md", "report.html"}
    assert wanted | {"splits.json", "train.jsonl"} <= names
    assert not [name for name in names if "partial" in name or name.endswith(".tmp")]
    assert "<h1" in (trained.path / "report.html").read_text()
    header = yaml.safe_load((trained.path / "README.md").read_text().split("---")[1])
    assert header["library_name"] == "accord"


def test_every_metric_has_an_interval_and_a_chance_level(trained):
    recorded = json.loads((trained.path / "metrics.json").read_text())
    recalls = [value for name, value in recorded.items() if "R@1" in name and "R@10" not in name]
    assert recalls
    assert all(value["low"] <= value["value"] <= value["high"] and value["chance"] > 0 for value in recalls)


def test_training_beats_chance_on_held_out_pictures(trained):
    zero_shot = next(metric for metric in trained.metrics if metric.name.endswith("top-1"))
    assert zero_shot.value > zero_shot.chance + 20


def test_a_loaded_model_embeds_as_the_trained_one(trained):
    loaded = accord.load(trained.path)
    texts = ["a red circle", "a blue square"]
    torch.testing.assert_close(loaded.embed(texts=texts), trained.model.embed(texts=texts))
    pictures = loaded.embed(images=[str(path) for path in sorted(trained.path.parent.glob("nothing"))] or [_red()])
    assert loaded.similarity(loaded.embed(texts=texts), pictures).shape == (2, 1)


def test_a_loaded_model_knows_where_its_weights_came_from(trained):
    loaded = accord.load(trained.path)
    for modality, encoder in trained.model.method.encoders.items():
        assert loaded.method.encoders[modality].weights_from == encoder.weights_from


def test_a_corpus_is_embedded_once_by_a_model(trained, shapes, monkeypatch):
    model, corpus = accord.load(trained.path), open_corpus(str(shapes), quiet=True)
    first = model.embed_corpus(corpus, "image")
    monkeypatch.setattr(model.method, "embed", lambda batch: pytest.fail("embedded again"))
    assert model.embed_corpus(corpus, "image") is first
    with pytest.raises(pytest.fail.Exception, match="embedded again"):
        model.embed_corpus(corpus.select([0, 1]), "image")


def _red():
    from PIL import Image

    return Image.new("RGB", (40, 40), (220, 30, 30))


@pytest.mark.parametrize("method", [{"name": "clpi"}, {"name": "clip", "temprature": 1}])
def test_a_wrong_method_is_refused_before_anything_is_written(shapes, tmp_path, method):
    with pytest.raises(ConfigError, match=r"no method 'clpi'|temprature is not a setting"):
        pipeline.train(config=small_run(shapes) | {"method": method}, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_embed_takes_exactly_one_modality(trained):
    with pytest.raises(ConfigError, match="exactly one modality"):
        trained.model.embed(texts=["a"], images=["b"])
    with pytest.raises(ConfigError, match="embeds image, text, not audio"):
        trained.model.embed(audio=["a.wav"])


def test_evaluate_on_other_data_and_by_other_tasks(trained, shapes):
    again = pipeline.evaluate(trained.path)
    assert {metric.name: metric.value for metric in again} == {m.name: m.value for m in trained.metrics}
    other = pipeline.evaluate(trained.path, shapes, tasks=["knn"])
    assert other[0].n == 48
    with pytest.raises(ConfigError, match=r"no task .knnn."):
        pipeline.evaluate(trained.path, tasks=["knnn"])


def test_templates_need_a_place_for_the_class_name(trained, tmp_path):
    (tmp_path / "prompts.txt").write_text("a picture of a {}\na thing\n")
    with pytest.raises(ConfigError, match="every prompt template needs"):
        pipeline.evaluate(trained.path, tasks=["zero_shot"], templates=tmp_path / "prompts.txt")


def test_embed_writes_a_vector_per_row_and_modality(trained, shapes, tmp_path):
    table = pq.read_table(pipeline.embed(trained.path, shapes, out=tmp_path / "vectors.parquet"))
    assert table.num_rows == 48
    assert table.schema.field("image").type.list_size == 16


def test_search_finds_by_words_and_by_picture(trained, shapes):
    hits = pipeline.search(trained.path, "a green circle", k=4)
    assert len(hits) == 4
    assert sum(hit.label == "green" for hit in hits) >= 3
    by_picture = pipeline.search(trained.path, str(shapes / "00.png"), k=1)
    assert by_picture[0].score > 0.99


def test_an_existing_run_is_not_overwritten(trained, shapes):
    with pytest.raises(ConfigError, match="already holds a run: pass --resume"):
        pipeline.train(config=small_run(shapes), out=trained.path, progress=False)


def test_resuming_a_finished_run_changes_nothing(trained):
    before = (trained.path / "model.safetensors").read_bytes()
    pipeline.train(out=trained.path, resume=True, progress=False)
    assert (trained.path / "model.safetensors").read_bytes() == before


def test_an_unfinished_run_says_what_is_missing(shapes, tmp_path):
    (tmp_path / "config.yaml").write_text("data: {}")
    with pytest.raises(AccordError, match=r"not a finished run: encoders\.json is missing"):
        accord.load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training.lr": -1}, "TrainingConfig|lr = -1"),
        ({"trainin.lr": 1}, "trainin is not a setting; did you mean training?"),
        ({"method.dimm": 4}, "method.dimm is not a setting; did you mean method.dim?"),
        ({"method.name": "clop"}, "no method 'clop'"),
        ({"data.columns": {"text": "nope"}}, "nope"),
        ({"data.split": {"test": 0.7, "val": 0.4}}, "leaves nothing to train on"),
    ],
)
def test_wrong_settings_are_named(shapes, tmp_path, settings, message):
    with pytest.raises((ConfigError, DataError), match=message):
        pipeline.train(config=small_run(shapes), settings=settings, out=tmp_path / "run", progress=False)


def test_captions_can_be_shuffled_and_stay_known(shapes, tmp_path):
    run = small_run(shapes)
    run["data"]["corruption"] = {"kind": "captions", "rate": 0.5}
    from accord.data.recipe import DataConfig, prepare

    prepared = prepare(DataConfig.parse(run["data"]), quiet=True)
    moved = prepared.train.truth == 0
    assert 0.3 < moved.mean() < 0.7
    assert prepared.test.truth is None
