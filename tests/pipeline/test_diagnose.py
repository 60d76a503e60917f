from __future__ import annotations

import pytest
from PIL import Image

from accord import pipeline
from accord.errors import ConfigError


def test_the_gap_is_measured_on_held_out_rows_and_drawn(trained, tmp_path):
    found = {item.name: item.value for item in pipeline.diagnose(trained.path, figure=tmp_path / "gap.png")}
    assert 0 <= found["image–text modality gap"] <= 2
    assert found["image–text separability, centred"] <= 100
    assert "image uniformity" in found
    assert Image.open(tmp_path / "gap.png").width > 800


def test_other_data_can_be_diagnosed(trained, shapes):
    assert pipeline.diagnose(trained.path, shapes) != pipeline.diagnose(trained.path)


def test_no_number_is_told_twice(trained):
    names = [item.name for item in pipeline.diagnose(trained.path)]
    assert len(names) == len(set(names))


def test_measures_can_be_chosen_and_one_without_a_figure_draws_none(trained, tmp_path):
    names = [item.name for item in pipeline.diagnose(trained.path, measures=["spread"])]
    assert names[:2] == ["image uniformity", "image effective rank"]
    assert not any("–" in name for name in names)
    with pytest.raises(ConfigError, match="none of the measures spread has a figure; those: gap"):
        pipeline.diagnose(trained.path, figure=tmp_path / "gap.png", measures=["spread"])
