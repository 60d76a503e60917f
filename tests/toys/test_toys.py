"""Small methods of every kind go all the way: trained, taken up again, loaded, scored, reported."""

from __future__ import annotations

import json

import pytest
import torch
from contract_abilities import CHECKS
from contract_case import Killed, killed_at, same, state_of

import accord
from accord.errors import ConfigError
from accord.methods.abilities import Detects, Embeds, Generates, Segments, Tracks
from accord.pipeline.run import execute

KINDS = {"untrained": Embeds, "generator": Generates, "segmenter": Segments, "detector": Detects, "tracker": Tracks}


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
    model = accord.load(run)
    kind = KINDS[toy.name.removeprefix("toy_")]
    assert model.can(kind)
    with torch.inference_mode():
        CHECKS[kind](model.able(kind), toy.batch())


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


def test_it_is_scored_or_says_in_a_sentence_why_not(run, toy):
    try:
        metrics = accord.evaluate(run)
    except ConfigError as error:
        assert "there is nothing to measure" in str(error)
    else:
        assert all(metric.value == metric.value for metric in metrics)


def test_training_brings_each_nearer_to_what_it_is_taught(toy):
    if not toy.built().stages:
        pytest.skip("it is not trained")
    lines = toy.fit(toy.built(), "longer", epochs=20, lr=5e-3)
    first, last = (sum(line["total"] for line in part) for part in (lines[:6], lines[-6:]))
    assert last < 0.9 * first
