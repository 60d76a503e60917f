"""Effects as small drawings."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from accord.claims.names import COLOURS
from accord.claims.plot import WIDTH, effect_plot

QUESTION: dict[str, Any] = {
    "answer": "holds",
    "effect": 3.0,
    "low": 2.0,
    "high": 4.0,
    "unit": "points",
    "margin": 0.0,
    "smallest": 1.0,
    "every": False,
    "higher": True,
    "baseline_values": [50.0, 52.0],
    "floor": {"value": 41.0},
    "ceiling": {"value": 61.0},
}


def drawn(**changes: Any) -> ElementTree.Element:
    return ElementTree.fromstring(effect_plot({**QUESTION, **changes}))


def upright(svg: ElementTree.Element) -> list[float]:
    """Where the margin, the floor and the ceiling are."""
    return [float(path.attrib["d"][1:].split()[0]) for path in svg.findall("path") if "V" in path.attrib["d"]]


def test_everything_is_in_its_place() -> None:
    svg = drawn()
    margin, floor, ceiling = upright(svg)
    place = {value: floor + (value + 10) / 20 * (ceiling - floor) for value in (0, 2, 3, 4)}  # -10 to 10 about 51
    assert margin == pytest.approx(place[0], abs=0.1)
    assert float(svg.find("circle").attrib["cx"]) == pytest.approx(place[3], abs=0.1)
    bar = next(path.attrib["d"] for path in svg.findall("path") if "H" in path.attrib["d"])
    assert [float(end) for end in bar[1:].replace(" 9H", " ").split()] == pytest.approx([place[2], place[4]], abs=0.1)
    band = svg.find("rect").attrib
    assert float(band["x"]) + float(band["width"]) / 2 == pytest.approx(margin, abs=0.1)
    assert 0 < floor < ceiling < WIDTH


def test_where_lower_is_better_a_lower_ceiling_is_an_advantage() -> None:
    _, floor, ceiling = upright(drawn(higher=False, floor={"value": 61.0}, ceiling={"value": 41.0}))
    assert floor < ceiling


def test_what_is_not_there_is_not_drawn() -> None:
    svg = drawn(low=None, high=None, floor=None, ceiling=None, every=True, smallest=0.0)
    assert len(upright(svg)) == 1
    assert svg.find("rect") is None
    assert "interval" not in svg.find("title").text
    assert svg.find("title").text == "+3 points"


def test_an_effect_that_does_not_differ_from_its_margin_is_drawn() -> None:
    assert drawn(effect=0.0, low=0.0, high=0.0, smallest=0.0, every=True, floor=None).find("circle") is not None


@pytest.mark.parametrize("answer", COLOURS)
def test_colours_tell_answers_apart_and_words_say_the_rest(answer) -> None:
    svg = drawn(answer=answer)
    assert svg.find("circle").attrib["fill"] == COLOURS[answer]
    assert svg.find("title").text == "+3 [+2, +4] points; too small to matter: ±1; floor 41, ceiling 61"


def test_a_drawing_fits_the_cell_of_a_markdown_table() -> None:
    assert not {"|", "\n"} & set(effect_plot(QUESTION))
