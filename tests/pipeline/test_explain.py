from __future__ import annotations

import pytest
from PIL import Image
from small import small_run

from accord import pipeline
from accord.errors import ConfigError
from accord.pipeline.explanation import explainers

ENCODERS = {
    "image": {"name": "tiny_vit", "options": {"size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}},
    "text": {"name": "tiny_text", "options": {"width": 16, "depth": 1, "heads": 2}},
}
TRAINING = {"epochs": 2, "batch_size": 12, "accelerator": "cpu"}


def run(shapes, folder, method):
    changes = {"method": method, "encoders": ENCODERS, "training": TRAINING, "evaluate": ["retrieval"]}
    return pipeline.train(config=small_run(shapes, **changes), out=folder, progress=False)


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_path", lambda *_: folder / "cache")
        method = {"name": "fdt", "num_tokens": 64, "dim": 16, "flip": 0.0, "colours": False}
        return run(shapes, folder / "run", method)


def test_a_match_is_explained_and_drawn_from_the_runs_own_rows(trained, shapes, tmp_path) -> None:
    found = pipeline.explain(trained.path, shapes / "00.png", "a red square", out=tmp_path / "why.png", k=3)
    assert len(found.concepts) == 3
    known = {"a", "red", "green", "blue", "square", "circle"}
    for concept in found.concepts:
        assert 0 < len(concept.patches) <= 6
        assert set(concept.corpus_words) <= known
    with Image.open(tmp_path / "why.png") as picture:
        assert picture.format == "PNG"


def test_a_loaded_run_explains_as_the_trained_one(trained, shapes) -> None:
    from accord.explaining import explain_concepts

    again = pipeline.explain(trained.path, shapes / "05.png", "a blue circle", data=shapes, k=4)
    found = explain_concepts(trained.model, shapes / "05.png", "a blue circle", k=4)
    assert [concept.entry for concept in again.concepts] == [concept.entry for concept in found.concepts]
    assert again.similarity == pytest.approx(found.similarity, abs=1e-5)


def test_the_share_in_use_is_logged_over_training(trained) -> None:
    log = (trained.path / "train.jsonl").read_text()
    assert all(term in log for term in ("active_image", "active_text", "unused"))


def test_a_method_that_cannot_explain_names_those_that_can(shapes, tmp_path) -> None:
    clip = run(shapes, tmp_path / "run", {"name": "clip", "dim": 8})
    with pytest.raises(ConfigError, match=r"method clip cannot say why two things match; .*fdt.* can"):
        pipeline.explain(clip.path, shapes / "00.png", "a red square")


def test_explainers_offer_concepts_places_and_times_of_words_parts_or_what_they_fill_in() -> None:
    assert set(explainers().split(", ")) == {"cico", "cross_video_mae", "fdt", "filip", "hbi", "hbi_answers", "slotcon"}


def test_without_words_a_match_cannot_be_explained(trained, shapes) -> None:
    with pytest.raises(ConfigError, match="give the words too"):
        pipeline.explain(trained.path, shapes / "00.png")


def test_a_method_that_segments_shows_its_parts(shapes, tmp_path) -> None:
    config = {
        "data": {"source": str(shapes), "split": {"test": 0.25}},
        "method": {"name": "slotcon", "slots": 5, "dim": 8, "hidden": 16, "crop_scale": [0.4, 1.0]},
        "encoders": {"image": {"name": "tiny_resnet", "options": {"size": 32, "width": 16}}},
        "training": {"epochs": 1, "batch_size": 12, "accelerator": "cpu"},
        "evaluate": ["knn"],
    }
    finished = pipeline.train(config=config, out=tmp_path / "run", progress=False)
    found = pipeline.explain(finished.path, shapes / "00.png", out=tmp_path / "parts.png")
    assert sum(found.shares.values()) == pytest.approx(1)
    assert list(found.shares.values()) == sorted(found.shares.values(), reverse=True)
    assert set(found.shares) <= set(range(5))
    with Image.open(tmp_path / "parts.png") as picture:
        assert picture.width > 600
    assert "slotcon" in explainers()
