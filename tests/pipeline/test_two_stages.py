"""A run of a method with a second stage, from training to search."""

import pytest
import torch
from small import small_run

import accord
from accord import pipeline
from accord.data.corpus import open_corpus
from accord.encoders import build_encoder
from accord.errors import ConfigError
from accord.methods import DataInfo, get_method
from accord.methods.abilities import Rescores
from accord.training.artifact import Model

TOWERS = {
    "image": {"name": "tiny_vit", "options": {"size": 32, "patch": 8, "width": 32, "depth": 1, "heads": 2}},
    "text": {"name": "tiny_text", "options": {"width": 32, "depth": 1, "heads": 2}},
}


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "shapes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_path", lambda *_: folder.parent / "cache")
        run = small_run(shapes, method={"name": "filip", "dim": 16, "keep": 1.0}, encoders=TOWERS)
        return pipeline.train(config=run, out=folder, progress=False)


def test_both_stages_are_reported_and_can_be_chosen(trained):
    names = {metric.name for metric in trained.metrics}
    assert {"retrieval: image→text R@1", "retrieval: text→image R@1 (first stage)", "zero_shot: top-1"} <= names
    again = pipeline.evaluate(trained.path)
    assert {metric.name: metric.value for metric in again} == {m.name: m.value for m in trained.metrics}
    first = pipeline.evaluate(trained.path, tasks=["retrieval"], candidates=0)
    beside = {m.name: m.value for m in trained.metrics}
    assert all(m.value == beside[f"retrieval: {m.name} (first stage)"] for m in first if "R@" in m.name)


def test_zero_shot_by_similarities_beats_chance(trained):
    top = next(metric for metric in trained.metrics if metric.name == "zero_shot: top-1")
    assert top.value > top.chance + 20


def test_files_are_sorted_by_the_second_stage(trained, shapes):
    model = accord.load(trained.path)
    classes = ["red", "green", "blue"]
    found = pipeline.zero_shot(trained.path, [shapes / "00.png"], classes)[0]
    scores = model.rescore(
        model.tokens(images=[shapes / "00.png"]).padded(), model.tokens(texts=classes).padded(), "image"
    )
    shares = (model.logit_scale * scores[0]).softmax(dim=0)
    assert dict(found.classes) == pytest.approx(dict(zip(classes, shares.tolist(), strict=True)), abs=1e-5)


def test_search_shows_both_scores_or_the_first_alone(trained):
    hits = pipeline.search(trained.path, "a green circle", k=4)
    assert sum(hit.label == "green" for hit in hits) >= 3
    assert all(hit.cosine is not None for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(hit.cosine is None for hit in pipeline.search(trained.path, "a green circle", k=4, candidates=0))


def test_a_hits_score_is_the_methods_own(trained, shapes):
    model, corpus = accord.load(trained.path), open_corpus(str(shapes), quiet=True)
    text, images = model.tokens(texts=["a green circle"]), model.tokens_corpus(corpus, "image")
    scores = model.rescore(text.padded(), images.padded(), "text")[0]
    hits = pipeline.search(trained.path, "a green circle", k=3)
    assert [hit.score for hit in hits] == pytest.approx([float(scores[hit.row]) for hit in hits], abs=2e-3)
    assert hits[0].score == pytest.approx(float(scores.max()), abs=2e-3)


def test_embedding_a_corpus_after_its_tokens_runs_no_encoder_again(trained, shapes, monkeypatch):
    model, corpus = accord.load(trained.path), open_corpus(str(shapes), quiet=True)
    rows = model.tokens_corpus(corpus, "image")
    expected = accord.load(trained.path).embed_corpus(corpus, "image")
    monkeypatch.setattr(model.method, "embed", lambda batch: pytest.fail("embedded again"))
    torch.testing.assert_close(model.embed_corpus(corpus, "image"), expected)
    assert model.tokens_corpus(corpus, "image") is rows


def test_words_are_explained_by_their_places(trained, shapes, tmp_path):
    found = pipeline.explain(trained.path, shapes / "00.png", "a red square", out=tmp_path / "why.png")
    assert [word.word for word in found.maps] == ["a", "red", "square"]
    assert (tmp_path / "why.png").is_file()


def test_a_method_without_a_second_stage_says_so(shapes):
    texts = ["a red square"]
    towers = {"image": build_encoder("image", "tiny_vit"), "text": build_encoder("text", "tiny_text", texts=texts)}
    model = Model(get_method("clip")({"dim": 8}, towers, DataInfo()))
    assert not model.can(Rescores)
    with pytest.raises(ConfigError, match="does not score pairs in a second stage; methods that do: cico, filip, hbi"):
        model.tokens(texts=texts)
    with pytest.raises(ConfigError, match="tokens takes items of exactly one modality"):
        model.tokens(texts=texts, images=["a.png"])


@pytest.mark.parametrize("name", ["filip", "tcl"])
def test_the_first_stage_of_a_method_is_its_embedding(name, shapes):
    texts = ["a red square", "a blue circle on the left"]
    text = {"name": "tiny_text", "width": 32, "depth": 1, "heads": 2, "pool": "mean"}
    image = {"name": "tiny_vit", "size": 32, "patch": 8, "width": 32, "depth": 1, "heads": 2}
    towers = {"image": build_encoder("image", image), "text": build_encoder("text", text, texts=texts)}
    settings = {"filip": {"dim": 8}, "tcl": {"dim": 8, "fusion_depth": 1, "queue_size": 8}}[name]
    model = Model(get_method(name)(settings, towers, DataInfo(rows=48)))
    corpus = open_corpus(str(shapes), quiet=True)
    for modality in ("image", "text"):
        expected = Model(model.method).embed_corpus(corpus, modality)
        torch.testing.assert_close(model.tokens_corpus(corpus, modality).pooled, expected)
    scores = model.rescore(model.tokens(texts=texts).padded(), model.tokens_corpus(corpus, "image").padded(), "text")
    assert scores.shape == (2, 48)
    assert scores.isfinite().all()
