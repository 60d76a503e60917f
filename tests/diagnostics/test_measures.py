"""Measures are found by their files, and say what they need and what they show."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from accord.diagnostics import embedding_diagnostics
from accord.diagnostics.measures import get_measure, get_measures, measure_names, measured
from accord.errors import ConfigError


@pytest.fixture
def space():
    torch.manual_seed(0)
    image = F.normalize(torch.randn(40, 8), dim=1)
    return {"image": image, "text": F.normalize(image + 1, dim=1)}


@pytest.mark.parametrize("name", measure_names())
def test_every_measure_declares_itself(name, space):
    measure = get_measure(name)
    assert measure.name == name
    assert measure.says
    assert measure.run(space)


def test_names_are_there_before_anything_heavy_is_imported():
    code = "import sys; from accord.diagnostics.measures import measure_names; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_later_number_replaces_its_namesake(space):
    names = [item.name for item in measured(get_measures(), space)]
    assert len(names) == len(set(names))
    closed = {item.name: item.value for item in get_measure("gap").run(space)}
    found = {item.name: item.value for item in measured(get_measures(), space)}
    assert found["image–text modality gap"] == closed["image–text modality gap"]


def test_the_report_shows_what_embeddings_say_without_the_gap_closed(space):
    shown = [measure for measure in get_measures() if measure.in_report]
    assert measured(shown, space) == embedding_diagnostics(space)


def test_one_modality_is_measured_alone_and_not_compared(space):
    alone = {"image": space["image"]}
    assert {item.name for item in measured(get_measures(), alone)} == {"image uniformity", "image effective rank"}
    with pytest.raises(ConfigError, match=r"measure gap does not fit: it compares 2 modalities; .* embeds image"):
        get_measure("gap").check(["image"])
    with pytest.raises(ConfigError, match="no measure 'gaps'; did you mean gap"):
        get_measure("gaps")
