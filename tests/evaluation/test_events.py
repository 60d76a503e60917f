"""Scores of steps against the seconds in which something happens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from answering import Answering, measured, model_of, prepared, rows_of, shown
from sklearn.metrics import auc, precision_recall_curve

from accord.errors import ConfigError
from accord.evaluation.ranked import curve_points, pr_auc, pr_metric
from accord.methods.abilities import ScoresMoments, Timeline


class Watcher(Answering, ScoresMoments):
    event = "fight"

    def score_moments(self, batch):
        return self.answers(batch)


def line(scores, seconds=1.0):
    edges = seconds * torch.arange(len(scores) + 1.0)
    found = torch.tensor(scores)
    return Timeline(torch.stack([edges[:-1], edges[1:]], dim=1), found, {"sequence": 1 - found})


@pytest.fixture
def rows(tmp_path):
    """An event in the second and third second, none, and a row of which nothing is said."""
    said = [
        {"moments": [[1, 3]], "duration": 4.0},
        {"moments": [], "duration": 4.0},
        {"moments": None, "duration": 4.0},
    ]
    return prepared(rows_of(tmp_path, said))


def right(row):
    return line([0.1, 0.9, 0.8, 0.1] if row == 0 else [0.2, 0.3, 0.1, 0.1])


def test_frames_of_events_that_score_highest_give_all_and_the_others_next_to_nothing(rows):
    metrics = measured("events", model_of(Watcher, right), rows, frames=4)
    assert metrics["AP"].value == 100
    assert metrics["AP"].chance == 25
    assert metrics["AP"].n == 2 * 4 * 4
    assert metrics["AP of sequence"].value < 25


def test_a_frame_is_true_by_its_own_middle(tmp_path):
    rows = prepared(rows_of(tmp_path, [{"moments": [[0.5, 1.0]], "duration": 2.0}]))
    metrics = measured("events", model_of(Watcher, lambda row: line([0.9, 0.1])), rows, frames=2)
    assert metrics["AP"].chance == 25
    assert metrics["AP"].value == pytest.approx(75)  # from precision 1 at recall 0 to ½ at recall 1


def test_recordings_are_drawn_as_wholes(tmp_path):
    """Each alone gives the same: no draw changes it."""
    both = [{"moments": [[1, 3]], "duration": 4.0}] * 5
    metric = measured(
        "events", model_of(Watcher, lambda row: line([0.6, 0.9, 0.5, 0.1])), prepared(rows_of(tmp_path, both))
    )
    assert metric["AP"].low == pytest.approx(metric["AP"].value) == pytest.approx(metric["AP"].high)


def test_crops_of_a_recording_are_averaged_as_probabilities(tmp_path):
    said = [{"moments": [[1, 2]], "duration": 2.0, "group": "a"}, {"moments": [[1, 2]], "duration": 2.0, "group": "a"}]
    rows = prepared(rows_of(tmp_path, said))
    model = model_of(Watcher, lambda row: line([0.7, 0.6] if row else [0.1, 0.9]))
    whole = measured("events", model, rows, frames=1)["AP"]
    means = measured("events", model, rows, frames=1, crops=True)["AP"]
    assert (whole.n, means.n) == (4, 2)
    assert whole.value < means.value == 100


def test_the_report_shows_precision_over_recall(rows):
    (curve,) = shown("events", model_of(Watcher, right), rows)
    assert curve.lines["all streams"][0] == (0, 100)
    assert max(recall for recall, precision in curve.lines["all streams"] if precision == 100) == 100


def test_rows_without_an_event_are_no_number(tmp_path):
    rows = prepared(rows_of(tmp_path, [{"moments": [], "duration": 4.0}]))
    assert np.isnan(measured("events", model_of(Watcher, right), rows)["AP"].value)
    assert shown("events", model_of(Watcher, right), rows) == []


def test_it_says_what_it_needs(tmp_path):
    with pytest.raises(ConfigError, match=r"needs rows with moments and duration; .* --moments COL"):
        measured("events", model_of(Watcher, right), prepared(rows_of(tmp_path, [{}])))


@pytest.mark.parametrize(("items", "levels"), [(40, 2), (60, 7), (200, 1000)])
def test_the_area_is_that_of_scikit_learn_also_where_scores_are_equal(items, levels):
    random = np.random.default_rng(items)
    labels, scores = random.random(items) < 0.3, random.integers(levels, size=items) / levels
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert pr_auc(labels, scores) == pytest.approx(auc(recall, precision))
    assert curve_points(labels, scores)[-1] == (100, pytest.approx(100 * labels.mean()))


def test_the_interval_is_over_groups():
    random = np.random.default_rng(0)
    labels, scores = random.random(400) < 0.3, random.random(400)
    alone = pr_metric("AP", labels, scores, np.arange(400))
    together = pr_metric("AP", np.repeat(labels, 5), np.repeat(scores, 5), np.repeat(np.arange(400), 5))
    assert together.value == pytest.approx(alone.value)
    assert together.low == pytest.approx(alone.low, abs=2)
    assert together.high == pytest.approx(alone.high, abs=2)
