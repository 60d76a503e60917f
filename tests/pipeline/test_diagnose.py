from __future__ import annotations

from PIL import Image

from accord import pipeline


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
