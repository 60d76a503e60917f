"""The image encoder outside of Accord: timm loads its weights, ONNX gives the same vectors."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image

from accord import pipeline
from accord.data.corpus import corpus_from_items
from accord.encoders import build_encoder
from accord.errors import ConfigError, StorageError
from accord.methods import DataInfo, get_method
from accord.training.artifact import Model, save_model
from accord.training.onnx import OnnxModel, export_onnx, export_timm

ENCODERS = {
    "tiny_resnet": {"name": "tiny_resnet", "size": 32, "width": 16},
    "tiny_vit": {"name": "tiny_vit", "size": 32, "patch": 8, "width": 16, "depth": 1, "heads": 2},
    "tiny_convnet": {"name": "tiny_convnet", "size": 32, "width": 32},
    "mobilenet": {"name": "mobilenetv3_small_050", "size": 64},
}
SWAV = {"dim": 8, "hidden": 16, "prototypes": 6}


def model_of(name, method="swav", **settings):
    torch.manual_seed(0)
    towers = {"image": build_encoder("image", ENCODERS[name], weights=False)}
    return Model(get_method(method)(settings or SWAV, towers, DataInfo()))


def pictures(count=5, side=40):
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (side, side, 3)).astype(np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("name", list(ENCODERS))
def test_timm_loads_the_exported_weights(name, tmp_path):
    model = model_of(name)
    out = export_timm(model, tmp_path / "encoder")
    loaded = timm.create_model(f"local-dir:{out}", pretrained=True, num_classes=0).eval()
    size = model.inputs["image"].size
    pixels = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(pixels), model.method.encoders["image"](pixels).pooled, rtol=1e-4, atol=1e-5)
    config = timm.data.resolve_model_data_config(loaded)
    assert tuple(config["input_size"]) == (3, size, size)
    assert tuple(config["mean"]) == tuple(model.inputs["image"].mean)


@pytest.mark.parametrize("name", ["tiny_resnet", "tiny_vit"])
def test_onnx_gives_the_same_vectors_for_any_number_of_pictures(name, tmp_path):
    model = model_of(name)
    out = export_onnx(model, tmp_path / "network")
    assert json.loads((out / "export.json").read_text())["difference"] < 1e-4
    for count in (1, 5):
        corpus = corpus_from_items("image", pictures(count))
        found = OnnxModel(out).embed_corpus(corpus)
        torch.testing.assert_close(found, model.embed_corpus(corpus, "image"), rtol=1e-3, atol=1e-4)
    assert sorted(path.name for path in out.iterdir()) == ["export.json", "model.onnx"]


def test_a_method_that_pools_by_attention_takes_any_number_too(tmp_path):
    torch.manual_seed(0)
    text = {"name": "tiny_text", "width": 16, "depth": 2, "heads": 2}
    towers = {
        "image": build_encoder("image", ENCODERS["tiny_vit"], weights=False),
        "text": build_encoder("text", text, texts=["a red ball"]),
    }
    model = Model(get_method("coca")({"dim": 16, "decoder_depth": 1}, towers, DataInfo()))
    corpus = corpus_from_items("image", pictures())
    network = OnnxModel(export_onnx(model, tmp_path / "network"))
    torch.testing.assert_close(network.embed_corpus(corpus), model.embed_corpus(corpus, "image"), rtol=0, atol=1e-4)


def test_embed_runs_an_export(tmp_path):
    model = model_of("tiny_resnet")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, picture in enumerate(pictures(4)):
        picture.save(folder / f"{number}.png")
    save_model(tmp_path / "run", model.method, {"data": {"source": str(folder)}, "method": {"name": "swav", **SWAV}})
    out = pipeline.export(tmp_path / "run", tmp_path / "network", "onnx")
    mine = pq.read_table(pipeline.embed(out, folder, tmp_path / "onnx.parquet"))["image"].to_pylist()
    theirs = pq.read_table(pipeline.embed(tmp_path / "run", folder, tmp_path / "torch.parquet"))["image"].to_pylist()
    np.testing.assert_allclose(np.array(mine), np.array(theirs), atol=1e-4)


def test_what_cannot_be_exported_says_so(tmp_path):
    model = model_of("tiny_resnet")
    with pytest.raises(ConfigError, match="format = 'tflite'"):
        pipeline.export(tmp_path, tmp_path / "x", "tflite")  # type: ignore[arg-type]
    onnx = OnnxModel(export_onnx(model, tmp_path / "n"))
    with pytest.raises(ConfigError, match="embeds image, not text"):
        onnx.embed_corpus(corpus_from_items("text", ["a"]), "text")
    (tmp_path / "n" / "export.json").write_text("{}")
    with pytest.raises(StorageError, match=r"export\.json is damaged \(it lacks 'input'\): export the model anew"):
        OnnxModel(tmp_path / "n")
    export_onnx(model, tmp_path / "n")
    (tmp_path / "n" / "model.onnx").write_bytes(b"cut")
    with pytest.raises(StorageError, match=r"model\.onnx is damaged \(.*\): export the model anew"):
        OnnxModel(tmp_path / "n")


def test_an_export_that_disagrees_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("accord.training.onnx.WORST", 0.0)
    with pytest.raises(ConfigError, match="nothing was written"):
        export_onnx(model_of("tiny_resnet"), tmp_path / "n")
    assert list((tmp_path / "n").iterdir()) == []


def written(frames):
    """An animation that loses nothing."""
    stream = io.BytesIO()
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:], duration=50, lossless=True)
    return stream.getvalue()


def clips():
    """Frames of clips as long as the network wants, and of one that is shorter."""
    random = np.random.default_rng(1)
    return [
        [Image.fromarray(random.integers(0, 256, (32, 32, 3)).astype(np.uint8)) for _ in range(frames)]
        for frames in (6, 6, 6, 2)
    ]


def clip_model(image=None):
    torch.manual_seed(0)
    tower = {
        "name": "frames",
        "image": image or ENCODERS["tiny_vit"],
        "frames": 6,
        "temporal": "transformer",
        "heads": 2,
    }
    towers = {
        "video": build_encoder("video", tower, weights=False),
        "text": build_encoder("text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}, texts=["a ball"]),
    }
    return Model(get_method("gram")({"modalities": ["text", "video"], "dim": 8}, towers, DataInfo()))


def test_clips_are_exported_too_and_a_short_one_shows_its_frames_for_longer(tmp_path):
    model = clip_model()
    network = OnnxModel(export_onnx(model, tmp_path / "network"))
    assert network.modalities == ("video",)
    corpus = corpus_from_items("video", list(map(written, clips())))
    found = network.embed_corpus(corpus)
    torch.testing.assert_close(found[:3], model.embed_corpus(corpus, "video")[:3], rtol=1e-3, atol=1e-4)
    (batch,) = network.loader(corpus, ["video"])
    longer = batch["video"][[3], :2].repeat_interleave(3, dim=1)
    with torch.inference_mode():
        expected = model.method.embed({"video": longer})["video"]
    torch.testing.assert_close(found[3:], expected, rtol=1e-3, atol=1e-4)


def test_timm_takes_no_network_of_clips(tmp_path):
    with pytest.raises(ConfigError, match="the video encoder is a FrameEncoder, which timm cannot load"):
        export_timm(clip_model(), tmp_path / "encoder")
