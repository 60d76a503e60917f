"""The shipped comparison is fair: its arms see their pictures equally often and in equally many stored variants."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accord.pipeline.config import RunConfig, merged, read_config

TRIALS = Path(__file__).parents[2] / "claims" / "tuning" / "emoji_web.json"


def test_arms_make_equally_many_passes_over_the_rows():
    study = read_config("emoji-web")
    passes = []
    for arm in study["arms"].values():
        run = RunConfig.parse(merged(study["run"], arm["changes"]))
        staged = [value for name, value in run.method.items() if name.endswith("_epochs")]
        passes.append(sum(staged) if staged else run.training.epochs)
    assert set(passes) == {28}


@pytest.mark.skipif(not TRIALS.is_file(), reason="settings were not searched for yet: accord claims tune emoji_web")
def test_settings_are_those_that_the_logged_trials_chose():
    study, log = read_config("emoji-web"), json.loads(TRIALS.read_text(encoding="utf-8"))
    for name, arm in study["arms"].items():
        shipped = merged(study["run"], arm["changes"])
        assert merged(shipped, log["arms"][name]["chosen"]) == shipped, name


def test_arms_with_one_view_and_with_two_have_equally_many_stored_copies_of_each():
    study = read_config("emoji-web")
    runs = [RunConfig.parse(merged(study["run"], arm["changes"])) for arm in study["arms"].values()]
    assert {run.training.cached_augmentations for run in runs} == {4}
