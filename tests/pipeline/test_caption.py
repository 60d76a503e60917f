from __future__ import annotations

import json

import pytest
from small import small_run

from accord import pipeline
from accord.errors import ConfigError, DataError


@pytest.fixture(scope="session")
def writer(shapes, tmp_path_factory):
    """A run of CoCa on the shapes."""
    folder = tmp_path_factory.mktemp("runs") / "coca"
    run = small_run(shapes)
    run["training"]["epochs"] = 3
    run["method"] = {"name": "coca", "dim": 8, "queries": 4, "pooler_heads": 2}
    run["encoders"]["text"] = {"name": "tiny_text", "options": {"width": 16, "depth": 1, "heads": 2, "pool": "class"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_path", lambda *_: folder.parent / "cache")
        return pipeline.train(config=run, out=folder, progress=False)


def test_a_trained_run_is_scored_on_its_captions(writer):
    names = {metric.name for metric in writer.metrics}
    assert {"captions: BLEU-4", "captions: CIDEr-D", "captions: perplexity", "retrieval: image→text R@1"} <= names
    (metric,) = [metric for metric in pipeline.evaluate(writer.path, tasks=["captions"]) if metric.name == "BLEU-1"]
    assert metric.value == next(known for known in writer.metrics if known.name == "captions: BLEU-1").value


def test_pictures_and_folders_are_captioned_and_written_down(writer, shapes, tmp_path):
    out = tmp_path / "captions.jsonl"
    found = pipeline.caption(writer.path, [shapes / "00.png", shapes], decoding={"method": "greedy"}, out=out)
    assert len(found) == 49
    assert found[0].image == found[1].image == shapes / "00.png"
    assert found[0] == found[1]
    assert all(item.score <= 0 for item in found)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert lines[5] == {"image": str(found[5].image), "caption": found[5].caption, "score": found[5].score}


def test_sampling_follows_the_seed(writer, shapes):
    decoding = {"method": "nucleus", "top_p": 1.0, "temperature": 2.0}
    first, again, other = (pipeline.caption(writer.path, shapes, decoding=decoding, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_the_model_gives_strings(writer, shapes):
    model = pipeline.load(writer.path)
    (caption,) = model.caption([shapes / "00.png"])
    assert isinstance(caption, str)
    assert caption.score <= 0


def test_a_run_that_writes_no_captions_names_the_methods_that_do(trained, shapes):
    with pytest.raises(ConfigError, match=r"method clip does not write captions; methods that do: .*coca"):
        pipeline.caption(trained.path, shapes / "00.png")


def test_what_is_not_a_picture_is_named(writer, shapes, tmp_path):
    with pytest.raises(DataError, match=r"there is no .*none\.png: give pictures"):
        pipeline.caption(writer.path, tmp_path / "none.png")
    with pytest.raises(DataError, match="holds no pictures"):
        pipeline.caption(writer.path, tmp_path)


def test_a_picture_that_cannot_be_read_is_left_out_and_said(writer, shapes, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    found = pipeline.caption(writer.path, [shapes / "00.png", broken, shapes / "01.png"])
    assert [item.image for item in found] == [shapes / "00.png", shapes / "01.png"]
    assert found[1].caption == pipeline.caption(writer.path, shapes / "01.png")[0].caption
    assert f"{broken} left out: not a picture: no format that Pillow knows" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"none of 1 files can be read: .*broken\.png is the first \(not a picture"):
        pipeline.caption(writer.path, broken)


def test_a_wrong_way_of_writing_is_named(writer, shapes):
    with pytest.raises(ConfigError, match=r"decoding\.top_p = 2"):
        pipeline.caption(writer.path, shapes / "00.png", decoding={"method": "nucleus", "top_p": 2})
