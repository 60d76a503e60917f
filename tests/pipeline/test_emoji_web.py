"""The shipped comparison is fair: its arms see their pictures in equally many stored variants of each view."""

from __future__ import annotations

from accord.pipeline.config import RunConfig, merged, read_config


def test_arms_with_one_view_and_with_two_have_equally_many_stored_copies_of_each():
    study = read_config("emoji-web")
    runs = [RunConfig.parse(merged(study["run"], arm["changes"])) for arm in study["arms"].values()]
    assert {run.training.cached_augmentations for run in runs} == {4}
