"""Moments of sentences among the spans that were found."""

from __future__ import annotations

import pytest
import torch
from answering import Finder, measured, model_of, prepared, rows_of, shown

from accord.errors import ConfigError
from accord.methods.abilities import Moments

SENTENCES = {"moment_text": ["it runs", "it rests"], "duration": 10.0}


def spans(*sentences):
    found = torch.tensor(sentences, dtype=torch.float32)  # (S, M, 2)
    return Moments(found, torch.linspace(1, 0, found.shape[1]).expand(found.shape[:2]))


@pytest.fixture
def rows(tmp_path):
    """Two sentences, none, and a row of which nothing is said."""
    said = [
        {"moments": [[0, 4], [6, 10]], **SENTENCES},
        {"moments": [], "moment_text": [], "duration": 10.0},
        {"moments": None, "moment_text": None, "duration": 10.0},
    ]
    return prepared(rows_of(tmp_path, said))


def answer(row):
    # the first overlaps by 3/4 at once, the second by 1/4 at first, and fully in the second guess
    return (
        spans([[1, 4], [0, 10]], [[9, 10], [6, 10]]) if row == 0 else Moments(torch.zeros(0, 2, 2), torch.zeros(0, 2))
    )


def test_recall_counts_sentences_whose_moment_is_among_the_first_spans(rows):
    metrics = measured("moments", model_of(Finder, answer), rows)
    assert {name: metric.value for name, metric in metrics.items()} == {
        "R@1 IoU 0.3": 50,
        "R@1 IoU 0.5": 50,
        "R@1 IoU 0.7": 50,
        "R@5 IoU 0.3": 100,
        "R@5 IoU 0.5": 100,
        "R@5 IoU 0.7": 100,
        "mean IoU": 50,
    }
    assert metrics["mean IoU"].n == 2


def test_places_and_overlaps_can_be_set(rows):
    metrics = measured("moments", model_of(Finder, answer), rows, at=[2], thresholds=[0.2, 0.9])
    assert [(name, metric.value) for name, metric in metrics.items()] == [
        ("R@2 IoU 0.2", 100),
        ("R@2 IoU 0.9", 50),
        ("mean IoU", 50),
    ]


def test_the_report_shows_recall_over_the_overlap_asked_for(rows):
    (curve,) = shown("moments", model_of(Finder, answer), rows)
    assert curve.lines["the likeliest"][4] == (pytest.approx(0.25), 100)
    assert curve.lines["the likeliest"][-1] == (pytest.approx(0.95), 0)
    assert curve.lines["among the first 5"][-1] == (pytest.approx(0.95), 50)


def test_other_options_are_answered_by_a_pass_of_their_own(rows):
    asked = []
    model = model_of(Finder, lambda row: asked.append(row) or answer(row))
    measured("moments", model, rows, at=[1])
    once = len(asked)
    assert measured("moments", model, rows, at=[2], thresholds=[0.9])["R@2 IoU 0.9"].value == 50
    assert len(asked) == 2 * once
    shown("moments", model, rows, at=[2])
    assert len(asked) == 2 * once


def test_sentences_of_a_row_are_drawn_together(tmp_path):
    """Each row has one that is found and one that is not: no draw of rows changes the share."""
    both = [{"moments": [[0, 4], [6, 10]], **SENTENCES}] * 6
    model = model_of(Finder, lambda row: spans([[0, 4]], [[0, 1]]))
    metric = measured("moments", model, prepared(rows_of(tmp_path, both)))["mean IoU"]
    assert (metric.low, metric.value, metric.high) == (50, 50, 50)


def test_no_sentence_is_no_number(tmp_path):
    silent = prepared(rows_of(tmp_path, [{"moments": [[0, 4]], **SENTENCES, "moment_text": ["a"]}]))
    model = model_of(Finder, lambda row: answer(1))
    nothing = prepared(silent.test.select([]))
    assert measured("moments", model, nothing)["mean IoU"].n == 0
    assert shown("moments", model, nothing) == []


def test_it_says_what_it_needs(tmp_path):
    with pytest.raises(ConfigError, match=r"needs rows with moments and moment_text; .* --moments COL"):
        measured("moments", model_of(Finder, answer), prepared(rows_of(tmp_path, [{}])))
    row = {"moments": [[0, 4]], "duration": 10.0}
    with pytest.raises(ConfigError, match=r"name the column with --moment-text COL"):
        measured("moments", model_of(Finder, answer), prepared(rows_of(tmp_path, [row])))
