from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.evaluation.metric import Metric
from accord.report.charts import (
    Panel,
    comparison_axis,
    curve_panels,
    heatmap,
    padded,
    round_values,
    scatter,
    whisker,
)
from accord.report.summary import Arm, Comparison, Confusion

finite = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(finite, st.floats(1e-3, 1e6))
def test_ticks_lie_inside_the_range(low: float, width: float) -> None:
    ticks = round_values(low, low + width)
    assert 2 <= len(ticks) <= 9
    slack = 1e-6 * max(1, abs(low), width)
    assert all(low - slack <= tick <= low + width + slack for tick in ticks)


@given(st.lists(finite, min_size=1, max_size=9))
def test_padded_ranges_are_never_empty(values: list[float]) -> None:
    low, high = padded(values)
    assert low < min(values) <= max(values) < high


def test_stages_lie_end_to_end() -> None:
    (panel,) = curve_panels({"a/total": [(0, 1.0), (9, 0.5)], "b/total": [(0, 0.7), (9, 0.2)]})
    middle = (Panel.left + Panel.right) / 2
    assert panel.borders == [middle]
    assert panel.lines[1].dots[0][0] == middle
    assert panel.lines[1].dots[0][2] == "b, step 0: 0.7"


def test_long_curves_are_averaged_to_a_drawable_length() -> None:
    (panel,) = curve_panels({"train/total": [(step, 1.0) for step in range(5000)]})
    assert len(panel.lines[0].dots) <= 160
    assert panel.last == "1"


def test_terms_without_points_are_left_out() -> None:
    assert curve_panels({"train/total": []}) == []


def test_the_only_term_of_a_loss_is_not_drawn_twice() -> None:
    curves = {"train/total": [(0, 2.5), (1, 2.0)], "train/contrastive": [(0, 2.5), (1, 2.0)], "train/lr": [(0, 1.0)]}
    assert [panel.title for panel in curve_panels(curves)] == ["total", "learning rate"]


def test_a_single_logged_step_is_drawn() -> None:
    (panel,) = curve_panels({"train/total": [(0, 2.5)]})
    assert panel.lines[0].dots[0][2] == "train, step 0: 2.5"


@pytest.mark.parametrize("metric", [Metric("rank", 9, 8, 10, 50, 9, "rank"), Metric("x", math.nan, None, None, 5, 0)])
def test_no_whisker_for_what_is_not_a_share(metric: Metric) -> None:
    assert whisker(metric) is None


def test_chance_outside_the_axis_is_not_drawn() -> None:
    drawn = whisker(Metric("top-1", 50, 45, 55, 3.8, 99), low=40, high=60)
    assert drawn is not None
    assert (drawn.value, drawn.low, drawn.chance) == (50, 25, None)


def test_comparison_axis_holds_all_intervals_in_round_numbers() -> None:
    arms = tuple(Arm(str(value), (Metric("top-1", value, value - 4, value + 4, None, 5),)) for value in (46, 57))
    assert comparison_axis(Comparison(arms, seeds=5), "top-1") == (40, 70)


def test_comparison_axis_stays_within_shares() -> None:
    arm = Arm("all right", (Metric("top-1", 100, 100, 100, None, 5),))
    axis = comparison_axis(Comparison((arm,), seeds=5), "top-1")
    assert axis is not None
    assert axis[0] < axis[1] == 100


def test_heatmap_skips_empty_cells_and_shares_sum_to_one() -> None:
    cells = heatmap(Confusion(("cat", "dog"), [[3, 1], [0, 0]]))
    assert [(cell.x, cell.y, cell.share) for cell in cells] == [(0, 0, 0.75), (1, 0, 0.25)]
    assert cells[1].tooltip == "cat taken for dog: 1 of 4"


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=20))
def test_scatter_points_lie_in_the_picture(points: list[tuple[float, float]]) -> None:
    cloud = scatter({"image": points})
    assert all(-1 <= x <= cloud.width + 1 and -1 <= y <= cloud.height + 1 for x, y in cloud.groups["image"])
