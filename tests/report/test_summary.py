from __future__ import annotations

import io

import pytest
from PIL import Image

from accord.evaluation.metric import Metric
from accord.report import Arm, Comparison, Confusion, Noise, NoisyPair, Picture, RunSummary


@pytest.mark.parametrize(
    ("judged", "true", "grade"),
    [
        ("computer", "computer", "good"),
        (None, "computer", "good"),
        ("tool", "computer", "half"),
        ("computer", "animal", "bad"),
        (None, "animal", "bad"),
        ("computer", None, "unknown"),
    ],
)
def test_verdict_compares_judgement_with_truth(judged: str | None, true: str | None, grade: str) -> None:
    assert NoisyPair(None, "a mouse", "animal", judged, true).verdict[0] == grade


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "LA"])
def test_pictures_of_any_mode_become_thumbnails(mode: str) -> None:
    picture = Picture.of(Image.new(mode, (300, 150)), "nothing", side=64)
    assert Image.open(io.BytesIO(picture.data)).size == (64, 32)


def test_transparency_is_kept() -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert Image.open(io.BytesIO(Picture.of(image, "air").data)).mode == "RGBA"


def test_worst_confusions_come_most_frequent_first() -> None:
    worst = Confusion(("a", "b", "c"), [[1, 1, 3], [2, 0, 0], [0, 0, 0]]).worst(limit=2)
    assert worst == [("a", "c", 3, 60.0), ("b", "a", 2, 100.0)]


def test_comparison_without_metrics_has_no_names() -> None:
    assert Comparison((Arm("clip", ()),), seeds=1).names == []


def test_a_comparison_puts_the_means_of_its_method_on_top() -> None:
    mean, one = Metric("top-1", 50.0, 40.0, 60.0, None, 5), Metric("top-1", 55.0, None, None, None, 99)
    comparison = Comparison((Arm("plain", (one,)), Arm("capro", (mean,), "method")), seeds=5)
    assert RunSummary("A study", "capro", metrics=(one,), comparison=comparison).headline == (mean,)


def test_figures_on_judged_rows_are_no_headline() -> None:
    judged = Metric("judged noisy: precision", 80.0, None, None, None, 9)
    top = Metric("top-1", 55.0, None, None, None, 99)
    run = RunSummary("A run", "capro", metrics=(top, judged), noise=Noise(9, 1, 1, (judged,)))
    assert run.headline == (top,)
