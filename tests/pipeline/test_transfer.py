"""Texts alone, then pictures: from a bundle, a run and a model that ships, through the ordinary verbs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import accord
from accord import pipeline
from accord.errors import ConfigError, DataError
from tiny_bundles import save_clip, save_siglip

COLOURS = ("red", "green", "blue")
SMALL = {"method.width": 16, "method.depth": 1, "method.heads": 2, "method.hidden": 16, "data.split.test": 0.25}
CHEAP = {"epochs": 3, "batch_size": 8, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"clip:{save_clip(tmp_path_factory.mktemp('models') / 'clip')}"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows without pictures: two texts, a question with its answers, and labels."""
    path = tmp_path_factory.mktemp("texts") / "rows.jsonl"
    rows = [
        {
            "text": [f"a {COLOURS[row % 3]} square", f"something {COLOURS[row % 3]}"],
            "question": ("which colour?", "what is it?")[row % 2],
            "answers": [COLOURS[row % 3], COLOURS[row % 3], f"{COLOURS[row % 3]}ish"] if row % 2 == 0 else ["a square"],
            "label": COLOURS[row % 3],
        }
        for row in range(24)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def transferred(space, texts, out, **options):
    return pipeline.transfer(
        space, texts, out=out, **{**CHEAP, **options, "settings": {**SMALL, **options.get("settings", {})}}
    )


def test_a_classifier_of_texts_sorts_pictures(clip, texts, shapes, tmp_path):
    run = transferred(clip, texts, tmp_path / "run")
    assert run.metrics[0].name == "classification: top-1"
    assert run.next_steps[0] == f"accord zero-shot {run.path} pictures/"
    found = pipeline.zero_shot(run.path, shapes, device="cpu")
    assert len(found) == 48
    assert {name for name, _ in found[0].classes} == set(COLOURS)
    assert sum(share for _, share in found[0].classes) == pytest.approx(1, abs=1e-5)
    names = {metric.name for metric in pipeline.evaluate(run.path, shapes, device="cpu")}
    assert {"classification: top-1", "zero_shot: top-1", "retrieval: text→image R@1"} <= names
    model = accord.load(run.path, "cpu")
    of_bundle = accord.load(clip, "cpu")
    picture = [shapes / "00.png"]
    torch.testing.assert_close(model.embed(images=picture), of_bundle.embed(images=picture))
    assert pipeline.search(run.path, "a red square", shapes, k=2, device="cpu")[0].rank == 1


def test_what_pairs_say_is_recorded_and_stays_with_the_run(trained, texts, shapes, tmp_path):
    run = transferred(trained.path, texts, tmp_path / "run", pairs=shapes, adapter="shift")
    saved = yaml.safe_load((run.path / "config.yaml").read_text())
    weights = load_file(run.path / "model.safetensors")
    pairs, cosine, _ = weights["measured"].tolist()
    assert pairs == 48
    assert saved["method"]["noise"] == pytest.approx(
        accord.functional.noise_for_cosine(cosine, trained.model.method.config.dim), rel=1e-4
    )
    rows = accord.data.open_corpus(shapes, quiet=True)
    vectors = {name: trained.model.embed_corpus(rows, name) for name in ("image", "text")}
    torch.testing.assert_close(weights["adapter.delta"], (vectors["image"] - vectors["text"]).mean(dim=0))


def test_captions_of_texts_are_written_for_pictures(clip, texts, shapes, tmp_path):
    run = transferred(clip, texts, tmp_path / "run", task="captions")
    found = pipeline.caption(run.path, shapes / "00.png", decoding={"max_tokens": 4}, device="cpu")
    assert len(found) == 1
    assert found[0].score <= 0
    assert "</w>" not in found[0].caption  # that is how CLIP's tokenizer ends a word
    names = {metric.name for metric in pipeline.evaluate(run.path, shapes, ["captions"], device="cpu")}
    assert {"BLEU-4", "perplexity"} <= names
    with pytest.raises(ConfigError, match="give at least two names of classes"):
        pipeline.zero_shot(run.path, shapes / "00.png", device="cpu")


def test_questions_about_pictures_are_answered_and_scored(clip, texts, shapes, tmp_path):
    run = transferred(clip, texts, tmp_path / "run", task="answers")
    assert {metric.name for metric in run.metrics} >= {"answers: right answers", "answers: VQA accuracy"}
    (found,) = pipeline.caption(run.path, shapes / "00.png", question="which colour?", device="cpu")
    assert found.image == shapes / "00.png"
    path = tmp_path / "asked.csv"
    with path.open("w", newline="") as file:
        rows = [[str(shapes / f"0{row}.png"), "which colour?", "red"] for row in range(6)]
        csv.writer(file).writerows([["image", "question", "answer"], *rows])
    metrics = pipeline.evaluate(run.path, path, ["answers"], device="cpu")
    assert [metric.name for metric in metrics] == ["right answers"]
    assert metrics[0].n == 6


def test_entailment_reads_a_picture_and_a_text(clip, texts, shapes, tmp_path):
    run = transferred(clip, texts, tmp_path / "run", task="entailment")
    path = tmp_path / "said.csv"
    with path.open("w", newline="") as file:
        rows = [[str(shapes / f"0{row}.png"), f"it is {COLOURS[row % 3]}", COLOURS[row % 3]] for row in range(6)]
        csv.writer(file).writerows([["image", "hypothesis", "label"], *rows])
    (metric, *_) = pipeline.evaluate(run.path, path, ["classification"], device="cpu")
    assert metric.n == 6


def test_a_run_and_a_siglip_are_spaces_too(trained, texts, shapes, tmp_path):
    run = transferred(trained.path, texts, tmp_path / "run", task="captions")
    words = ["a red square"]
    torch.testing.assert_close(run.model.embed(texts=words), trained.model.embed(texts=words))
    siglip = f"siglip:{save_siglip(tmp_path / 'siglip')}"
    assert transferred(siglip, texts, tmp_path / "other").model.can(accord.methods.abilities.Classifies)
    with pytest.raises(ConfigError, match="needs texts with a start and an end token"):
        transferred(siglip, texts, tmp_path / "third", task="captions")


def test_a_stopped_run_goes_on_to_the_same_bits(clip, texts, shapes, tmp_path, monkeypatch):
    options = {"pairs": shapes, "adapter": "cov", "settings": {"method.noise": 0.1, "training.checkpoint_every": 1}}
    whole = transferred(clip, texts, tmp_path / "whole", **options)
    after, steps = accord.methods.get_method("close").after_step, []

    def stop(self, step):
        after(self, step)
        steps.append(step)
        if len(steps) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(accord.methods.get_method("close"), "after_step", stop)
    with pytest.raises(BaseException):  # noqa: B017, PT011
        transferred(clip, texts, tmp_path / "part", **options)
    monkeypatch.undo()
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: tmp_path / "cache")
    resumed = pipeline.transfer(out=tmp_path / "part", resume=True, progress=False)
    state = resumed.model.method.state_dict()
    for name, value in whole.model.method.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_what_is_missing_is_a_sentence(clip, texts, shapes, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match="adapter = linear is measured on pairs"):
        transferred(clip, texts, out, adapter="linear")
    with pytest.raises(DataError, match=r"pairs: .* has text; expected rows with two of what is embedded: image, text"):
        transferred(clip, texts, out, pairs=texts)
    with pytest.raises(ConfigError, match="no task 'naming'"):
        transferred(clip, texts, out, task="naming")
    with pytest.raises(ConfigError, match="there is no run 'nowhere'"):
        transferred("nowhere", texts, out)
    with pytest.raises(ConfigError, match="say in which space"):
        pipeline.transfer()
    plain = tmp_path / "plain.csv"
    plain.write_text("text\n" + "a red square\n" * 6)
    with pytest.raises(ConfigError, match="method close needs labels of at least 2 classes"):
        transferred(clip, plain, out)
    with pytest.raises(ConfigError, match=r"method close needs input_text and answers, and plain\.csv has text"):
        transferred(clip, plain, out, task="answers")
    assert not out.exists()


def test_pictures_beside_the_texts_are_not_trained_on(clip, shapes, tmp_path):
    first = transferred(clip, shapes, tmp_path / "with")
    assert not list((tmp_path / "with").glob("*image*"))
    table = [line.split(",") for line in (shapes / "metadata.csv").read_text().splitlines()]
    blind = tmp_path / "blind.csv"
    blind.write_text("\n".join(",".join(line[1:]) for line in table))
    second = transferred(clip, blind, tmp_path / "without")
    heads = [dict(run.model.method.head.state_dict()) for run in (first, second)]
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
