"""A bundle that was trained elsewhere is a model: every verb works on it as on a run, and a run may start from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from small import small_run
from transformers import AutoModel

import accord
from accord import pipeline
from accord.errors import ConfigError
from accord.pipeline.build import build_method, prepare_run
from accord.pipeline.config import RunConfig
from accord.searching.place import writable_folder
from tiny_bundles import save_clip, save_siglip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"clip:{save_clip(tmp_path_factory.mktemp('models') / 'clip')}"


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"siglip:{save_siglip(tmp_path_factory.mktemp('models') / 'siglip')}"


def from_bundle(shapes: Path, bundle: str, **changes):
    run = small_run(shapes, bundle=bundle, method={"name": "clip"}, training={"epochs": 2, "batch_size": 12})
    run["training"]["accelerator"] = "cpu"
    return {**run, "encoders": {}, **changes}


def test_its_vectors_are_those_of_the_library(clip, shapes):
    model = accord.load(clip, "cpu")
    theirs = AutoModel.from_pretrained(clip.removeprefix("clip:")).eval()
    ids, mask = model.inputs["text"].tokenizer(["a red square", "fish"])
    with torch.no_grad():
        expected = theirs.get_text_features(ids, mask.long()).pooler_output
    assert model.modalities == ("image", "text")
    assert model.logit_scale == pytest.approx(theirs.logit_scale.exp().item())
    torch.testing.assert_close(model.embed(texts=["a red square", "fish"]), expected / expected.norm(dim=1)[:, None])
    assert model.embed(images=[shapes / "00.png"]).shape == (1, 24)


def test_it_is_searched_and_its_index_lies_in_the_cache(clip, shapes):
    found = pipeline.search(clip, "a red square", shapes, k=3, device="cpu")
    assert [hit.rank for hit in found] == [1, 2, 3]
    place = writable_folder(clip)
    assert (place / "index").is_dir()
    assert place.parent.name == "bundles"
    model = accord.load(clip, "cpu")
    nearest = model.embed(texts=["a red square"]) @ model.embed(images=sorted(shapes.glob("*.png"))).T
    assert found[0].score == pytest.approx(nearest.max().item(), abs=1e-4)
    copy = shutil.copytree(clip.removeprefix("clip:"), Path("copy").absolute())
    assert writable_folder(f"clip:{copy}") == place  # the same content has the same index
    shutil.rmtree(copy)


def test_it_is_scored_embedded_and_probed(clip, shapes, tmp_path):
    scored = {metric.name for metric in pipeline.evaluate(clip, shapes, device="cpu")}
    assert {"retrieval: text→image R@1", "zero_shot: top-1"} <= scored
    vectors = pq.read_table(pipeline.embed(clip, shapes, tmp_path / "vectors.parquet", device="cpu"))
    assert {"image", "text"} <= set(vectors.column_names)
    assert len(vectors) == 48
    assert pipeline.probe(clip, shapes, device="cpu")


def test_without_data_it_says_that_it_has_none(clip):
    for verb in (pipeline.evaluate, pipeline.probe, lambda run: pipeline.search(run, "a red square")):
        with pytest.raises(ConfigError, match="was not trained here, so it has no data of its own: name DATA"):
            verb(clip)


def test_class_names_are_written_as_it_was_trained_to_read_them(clip, siglip, shapes):
    assert accord.load(clip, "cpu").templates == ("a photo of a {}.",)
    by_itself = pipeline.zero_shot(clip, [shapes / "00.png"], ["red", "green"], device="cpu")
    written = Path("templates.txt")
    written.write_text("a photo of a {}.\n")
    told = pipeline.zero_shot(clip, [shapes / "00.png"], ["red", "green"], written, device="cpu")
    written.unlink()
    assert by_itself == told
    assert sum(share for _, share in told[0].classes) == pytest.approx(1, abs=1e-5)


def test_a_sigmoid_gives_every_class_a_probability_of_its_own(siglip, shapes):
    model, theirs = accord.load(siglip, "cpu"), AutoModel.from_pretrained(siglip.removeprefix("siglip:")).eval()
    one = model.embed(images=[shapes / "00.png"]) @ model.embed(texts=["red"]).T
    expected = (one * theirs.logit_scale.exp() + theirs.logit_bias).sigmoid()
    torch.testing.assert_close(model.shares(one), expected.detach())
    found = pipeline.zero_shot(siglip, [shapes / "00.png"], ["red", "green"], device="cpu")[0].classes
    assert sum(share for _, share in found) < 0.9  # logits are around exp(2) · cos - 3


def test_it_is_exported_as_onnx(clip, shapes, tmp_path):
    pytest.importorskip("onnxruntime")
    folder = pipeline.export(clip, tmp_path / "export", "onnx", device="cpu")
    assert json.loads((folder / "export.json").read_text())["difference"] < 1e-4
    vectors = pq.read_table(pipeline.embed(folder, shapes, tmp_path / "vectors.parquet"))
    ours = accord.load(clip, "cpu").embed(images=sorted(shapes.glob("*.png")))
    torch.testing.assert_close(torch.tensor(vectors["image"].to_pylist()), ours, atol=1e-4, rtol=0)


def test_an_export_is_no_model_for_other_verbs(clip, tmp_path):
    for name in ("model.onnx", "export.json"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="is an exported image embedding, which only accord embed takes"):
        pipeline.evaluate(tmp_path)


def test_a_run_starts_from_its_projections_and_scale(clip, shapes):
    config = RunConfig.parse(from_bundle(shapes, clip))
    method = build_method(config, prepare_run(config, quiet=True).train)
    theirs = AutoModel.from_pretrained(clip.removeprefix("clip:"))
    torch.testing.assert_close(method.projections["image"].weight, theirs.visual_projection.weight)
    torch.testing.assert_close(method.projections["text"].weight, theirs.text_projection.weight)
    torch.testing.assert_close(method.logit_scale(), theirs.logit_scale.exp())
    assert all(encoder.frozen for encoder in method.encoders.values())
    assert method.projections["image"].weight.requires_grad


def test_vectors_of_the_space_itself_are_projected_by_the_identity(siglip, shapes):
    config = RunConfig.parse(from_bundle(shapes, siglip))
    method = build_method(config, prepare_run(config, quiet=True).train)
    torch.testing.assert_close(method.projections["text"].weight, torch.eye(32))


def test_what_the_user_says_comes_first(clip, shapes, capsys):
    said = {"name": "clip", "dim": 7, "temperature": 0.5}
    encoders = {"image": {"name": "tiny_convnet", "options": {"size": 32}}}
    config = RunConfig.parse(from_bundle(shapes, clip, method=said, encoders=encoders))
    method = build_method(config, prepare_run(config, quiet=True).train)
    assert method.projections["text"].weight.shape == (7, 48)
    assert method.logit_scale().item() == pytest.approx(2)
    assert "encoders only, since method clip has no projections of its sizes" in capsys.readouterr().err
    assert not method.encoders["image"].frozen
    with pytest.raises(
        ConfigError, match=r"bundle = 'models.clip': expected clip:FOLDER, siglip:FOLDER, open_clip:FOLDER"
    ):
        RunConfig.parse(from_bundle(shapes, "models/clip"))


def test_a_method_that_has_no_use_for_it_is_told(clip, tmp_path):
    pytest.importorskip("torch_geometric")
    for name in ("nodes", "edges"):
        (tmp_path / "graph" / name).mkdir(parents=True)
    papers = [f"p{number},graph network {number},{number % 2}" for number in range(12)]
    (tmp_path / "graph" / "nodes" / "paper.csv").write_text("\n".join(["id,abstract,topic", *papers]))
    links = [f"p{number},a{number % 3}" for number in range(12)]
    (tmp_path / "graph" / "edges" / "paper__by__author.csv").write_text("\n".join(["paper,author", *links]))
    data = {"source": str(tmp_path / "graph"), "columns": {"text": "abstract", "label": "topic"}}
    config = RunConfig.parse({"data": data, "method": "meow", "bundle": clip})
    with pytest.raises(ConfigError, match="has encoders for image, text, and method meow wants graph: leave it out"):
        build_method(config, prepare_run(config, quiet=True).train)


def test_a_run_that_started_from_it_needs_its_folder_no_more(clip, shapes, tmp_path):
    folder = shutil.copytree(clip.removeprefix("clip:"), tmp_path / "clip")
    run = pipeline.train(config=from_bundle(shapes, f"clip:{folder}"), out=tmp_path / "run", progress=False)
    before = run.model.embed(texts=["a red square"])
    shutil.rmtree(folder)
    again = accord.load(tmp_path / "run", "cpu")
    torch.testing.assert_close(again.embed(texts=["a red square"]), before)
    assert pipeline.evaluate(tmp_path / "run", device="cpu")
    assert again.config["method"]["dim"] == 24


def test_one_tower_of_it_is_trained_like_any_encoder(clip, shapes, tmp_path):
    encoders = {"image": {"name": clip, "freeze": 1}, "text": small_run(shapes)["encoders"]["text"]}
    run = pipeline.train(
        config=small_run(shapes, encoders=encoders, training={"epochs": 1, "batch_size": 12, "accelerator": "cpu"}),
        out=tmp_path / "run",
        progress=False,
    )
    assert run.fitted.steps == 3
    assert run.model.embed(images=[shapes / "00.png"]).shape == (1, 16)


def test_a_run_without_training_is_measured_and_reported(clip, shapes, tmp_path):
    config = from_bundle(shapes, clip, method={"name": "bundle"})
    run = pipeline.train(config=config, out=tmp_path / "run", progress=False)
    assert run.fitted.steps == 0
    assert {"retrieval: text→image R@1", "zero_shot: top-1"} <= {metric.name for metric in run.metrics}
    assert (tmp_path / "run" / "report.html").is_file()
    again = accord.load(tmp_path / "run", "cpu")
    torch.testing.assert_close(again.embed(texts=["red"]), accord.load(clip, "cpu").embed(texts=["red"]))
    assert again.templates == ("a photo of a {}.",)


def test_one_encoder_alone_is_measured_as_it_is(shapes, tmp_path):
    run = pipeline.train(
        config=small_run(
            shapes,
            method={"name": "bundle", "modalities": ["image"]},
            encoders={"image": {"name": "tiny_convnet", "options": {"size": 32}}},
        ),
        out=tmp_path / "run",
        progress=False,
    )
    assert run.metrics[0].name == "top-1"  # of kNN on the training rows
    with pytest.raises(ConfigError, match="the text encoder gives 32 numbers, the space has 128"):
        pipeline.train(config=small_run(shapes, method={"name": "bundle"}), out=tmp_path / "two", progress=False)
