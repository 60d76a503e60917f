"""Small methods of every kind go all the way: trained, taken up again, loaded, scored, reported."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from contract_abilities import CHECKS
from contract_case import TRAINING, Killed, killed_at, same, state_of

import accord
from accord.data.columns import Columns
from accord.data.loading.features import Features
from accord.errors import ConfigError
from accord.methods.abilities import Detects, Embeds, FindsMoments, Generates, Segments, Tracks
from accord.pipeline.config import RunConfig
from accord.pipeline.rows import held_out
from accord.pipeline.run import execute
from accord.pipeline.summary import next_steps
from tiny_bundles import save_clip

KINDS = {
    "untrained": Embeds,
    "generator": Generates,
    "painter": Generates,
    "segmenter": Segments,
    "detector": Detects,
    "tracker": Tracks,
    "finder": FindsMoments,
}
MEASURED = {  # toy -> a metric of each task that fits it, and what the report shows of it
    "untrained": (["top-1"], []),
    "segmenter": (["masks: mIoU", "segmentation: parts mIoU"], ["Pixels"]),
    "detector": (["box AP"], ["Things found"]),
    "tracker": (["box AP"], ["Things followed"]),
    "finder": (["mean IoU"], ["Moments"]),
    "generator": (["relative Fréchet distance"], ["Made"]),
    "painter": (["relative Fréchet distance"], ["Made"]),
}


@pytest.fixture(params=KINDS)
def toy(request, toys):
    return toys(request.param)


@pytest.fixture
def run(toy):
    """The folder of its run, trained once."""
    folder = toy.work / "run"
    if not folder.exists():
        execute(toy.run, folder, progress=False)
    return folder


def test_a_run_leaves_a_model_its_card_and_a_report(run, toy):
    assert toy.name in (run / "README.md").read_text()
    assert toy.name in (run / "report.html").read_text()
    assert json.loads((run / "metrics.json").read_text()) is not None
    lines = (run / "train.jsonl").read_text().splitlines() if (run / "train.jsonl").exists() else []
    assert bool(lines) == bool(toy.built().stages)


def test_what_was_saved_can_do_what_its_kind_does(run, toy):
    model, batch = accord.load(run), toy.batch()
    kind = KINDS[toy.name.removeprefix("toy_")]
    assert model.can(kind)
    with torch.inference_mode():
        CHECKS[kind](model.able(kind), batch)


def test_a_finished_run_is_taken_up_without_a_step(run, toy):
    before = (run / "model.safetensors").read_bytes()
    again = execute(toy.run, run, resume=True, progress=False)
    assert again.fitted.steps == 0
    assert (run / "model.safetensors").read_bytes() == before


def test_a_killed_training_goes_on_to_the_same_bits(toy):
    if not toy.built().stages:
        pytest.skip("it is not trained")
    trained, killed, resumed = toy.trained, toy.built(), toy.built()
    with pytest.raises(Killed), killed_at(killed, len(trained.lines) // 2 + 1):
        toy.fit(killed, "killed")
    assert toy.fit(resumed, "killed", resume=True) == trained.lines
    assert same(state_of(trained.method), state_of(resumed)) == []


def test_tasks_that_fit_it_score_it_and_show_it_in_the_report(run, toy):
    names, panels = MEASURED[toy.name.removeprefix("toy_")]
    metrics = {metric.name: metric.value for metric in accord.evaluate(run)}
    assert all(metrics[name] >= 0 for name in names)
    page = (run / "report.html").read_text()
    assert all(name in page for name in names)
    assert all(f">{panel}</h2>" in page for panel in panels)


@pytest.mark.parametrize("toy", ["detector"], indirect=True)
def test_where_no_task_fits_a_sentence_says_so(run, toy, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(toy.places[0] / "0.png", folder)
    sentence = r"nothing to measure: pictures has image and no labels, the model embeds nothing; name data"
    with pytest.raises(ConfigError, match=sentence):
        accord.evaluate(run, folder)


@pytest.mark.parametrize("toy", ["detector"], indirect=True)
def test_what_embeds_nothing_says_so_where_vectors_are_wanted(run, toy, tmp_path):
    sentence = "method toy_detector does not embed anything; methods that do: "
    with pytest.raises(ConfigError, match=sentence):
        accord.embed(run, toy.places[0], tmp_path / "vectors.parquet")
    with pytest.raises(ConfigError, match=sentence):
        accord.search(run, "a ball", toy.places[0])


@pytest.mark.parametrize("toy", ["detector"], indirect=True)
def test_an_evaluation_is_proposed_where_a_task_fits(run, toy):
    model = accord.load(run)
    prepared = held_out(model)
    plain = replace(prepared.test, columns=Columns(image="image"), labels=None)
    assert next_steps(model, prepared, run) == (f"accord evaluate {run}",)
    assert next_steps(model, replace(prepared, test=plain), run) == ()


@pytest.mark.parametrize("toy", ["generator"], indirect=True)
def test_a_bundle_judges_what_a_generator_makes(run, tmp_path):
    judge = f"clip:{save_clip(tmp_path / 'bundle')}"
    metrics = accord.evaluate(run, settings={"generation.encoder": judge})
    names = [metric.name for metric in metrics]
    assert names[0] == "relative Fréchet distance"
    assert names[-2:] == ["text agreement", "text agreement (held-out rows)"]


def test_training_brings_each_nearer_to_what_it_is_taught(toy):
    if not toy.built().stages:
        pytest.skip("it is not trained")
    lines = toy.fit(toy.built(), "longer", epochs=8, lr=1e-2)
    first, last = (sum(line["total"] for line in part) for part in (lines[:3], lines[-3:]))
    assert last < 0.9 * first


def test_pixels_are_there_beside_stored_features_and_where_no_encoder_reads(toys, monkeypatch):
    toy, seen = toys("painter"), []
    method = toy.built()
    monkeypatch.setattr(
        method, "loss", lambda batch, step: seen.append(batch) or type(method).loss(method, batch, step)
    )
    toy.fit(method, "watched", epochs=1)
    assert seen
    for batch in seen:
        rows = [toy.corpus.sample(int(row))["image"] for row in batch["index"]]
        colours = torch.tensor([row.resize((1, 1), 4).getpixel((0, 0)) for row in rows]) / 255
        assert isinstance(batch["image"], Features)
        assert batch["image_raw"].shape == batch["reference"].shape == (8, 3, 8, 8)
        torch.testing.assert_close(batch["image_raw"].mean(dim=(2, 3)), colours, atol=0.02, rtol=0)


def test_a_run_from_a_bundle_goes_the_same_way(toys, tmp_path):
    """CLIP goes on from towers, projections and scale that were trained elsewhere; then from where it was stopped."""
    rows, _ = toys("segmenter").places
    columns = dict.fromkeys(Columns.model_fields) | {"image": "image", "text": "text", "label": "label"}
    run = RunConfig.parse(
        {
            "data": {"source": str(rows), "columns": columns, "split": {"test": 0.25}},
            "method": {"name": "clip"},
            "bundle": f"clip:{save_clip(tmp_path / 'bundle')}",
            "training": {**TRAINING, "epochs": 2},
        }
    )
    execute(run, tmp_path / "run", progress=False)
    model = accord.load(tmp_path / "run")
    assert model.embed(texts=["a red ball"]).shape == (1, 24)
    assert "retrieval: text→image R@1" in [metric.name for metric in accord.evaluate(tmp_path / "run")]
    assert "clip" in (tmp_path / "run" / "report.html").read_text()
    again = execute(run, tmp_path / "run", resume=True, progress=False)
    assert again.fitted.steps == 0
    assert same(state_of(model.method), state_of(again.model.method)) == []
