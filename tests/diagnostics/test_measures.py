"""Measures are found by their files, and say what they need and what they show."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from accord.diagnostics import Factor, Space, embedding_diagnostics
from accord.diagnostics.measures import get_measure, get_measures, measure_names, measured
from accord.errors import ConfigError


@pytest.fixture
def space():
    torch.manual_seed(0)
    image = F.normalize(torch.randn(40, 8), dim=1)
    vectors = {"image": image, "text": F.normalize(image + 1, dim=1)}
    kinds = Factor.of(["cat", "dog"] * 20, "kind")
    return Space(vectors, kinds, {"size": Factor.of([1, 2, 2, 1] * 10, "size")})


@pytest.mark.parametrize("name", measure_names())
def test_every_measure_declares_itself(name, space):
    measure = get_measure(name)
    assert measure.name == name
    assert measure.says
    assert measure.draws
    found = measure.run(space)
    assert found.numbers
    assert all(number.meaning and number.n for number in found.numbers)


def test_names_are_there_before_anything_heavy_is_imported():
    code = "import sys; from accord.diagnostics.measures import measure_names; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_later_number_replaces_its_namesake(space):
    names = [item.name for item in measured(get_measures(), space).numbers]
    assert len(names) == len(set(names))
    closed = {item.name: item.value for item in get_measure("gap").run(space).numbers}
    found = {item.name: item.value for item in measured(get_measures(), space).numbers}
    assert found["image–text modality gap"] == closed["image–text modality gap"]


def test_the_report_shows_what_embeddings_say_without_the_gap_closed(space):
    shown = [measure for measure in get_measures() if measure.in_report]
    assert measured(shown, space).numbers == embedding_diagnostics(space.vectors)


def test_one_modality_is_measured_alone_and_not_compared(space):
    alone = Space({"image": space.vectors["image"]})
    found = measured(get_measures(), alone).numbers
    assert {item.name for item in found} == {"image uniformity", "image effective rank"}
    with pytest.raises(ConfigError, match=r"measure gap does not fit: two modalities of one size .* vectors of image"):
        get_measure("gap").check(alone)
    with pytest.raises(ConfigError, match="no measure 'gaps'; did you mean gap"):
        get_measure("gaps")


def test_modalities_of_different_size_are_not_compared(space):
    unlike = Space({"image": torch.eye(6), "text": torch.eye(6, 9)})
    assert get_measure("pairs").lacks(unlike)
    assert len(measured(get_measures(), unlike).panels) == 1


@pytest.mark.parametrize(
    ("classes", "groups", "says"),
    [
        (None, None, "the rows have no labels, or several each: name a column that holds one with --label COL"),
        (Factor(np.zeros(4, dtype=np.int64), ("cat",)), None, "the rows have labels of 1 class"),
        (Factor(np.arange(4), tuple("abcd")), None, "no class has two rows"),
        (Factor(np.array([0, 0, 1, 1]), ("a", "b")), np.array(["x", "x", "y", "y"]), "two rows of different groups"),
    ],
)
def test_what_rows_lack_for_classes_is_said(classes, groups, says):
    for name in ("classes", "purity"):
        with pytest.raises(ConfigError, match=f"measure {name} does not fit: .*{says}"):
            get_measure(name).check(Space({"image": torch.eye(4)}, classes, groups=groups))
