"""Explaining in the application: every way that a model has, and neighbours for all."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import accord
from accord.explaining import Explanation, Way
from accord.methods.abilities import Embeds
from accord.serving.pages import explain


def parts_of(customer: Any, ask: Any, **asked: Any) -> tuple[str, list[str]]:
    """The page, and the addresses of what it loads."""
    ask(text="a square", model=asked["model"])
    found = customer.get("/explain", params=asked)
    assert found.status_code == 200
    parts = re.findall(r'hx-get="(/explain/[^"]*)" hx-trigger="load"', found.text)
    return found.text, [part.replace("&amp;", "&") for part in parts]


def test_a_row_is_explained_in_the_ways_of_its_model(customer, ask):
    shown, parts = parts_of(customer, ask, model="runs/words", row=3, text="a red square")
    assert "Where each word is seen" in shown
    assert [re.search("way=([a-z]+)", part)[1] for part in parts if "way=" in part] == ["words"]
    words = customer.get(parts[0]).text
    assert "data:image/png;base64" in words
    assert re.findall(r"<tr><td>(\w+)</td>", words) == ["a", "red", "square"]


def test_without_words_a_row_is_explained_with_its_own(customer, ask):
    _, parts = parts_of(customer, ask, model="runs/words", row=4)
    assert "<td>green</td>" in customer.get(parts[0]).text


def test_the_nearest_prototypes_are_means_of_classes(customer, ask):
    _, parts = parts_of(customer, ask, model="runs/words", row=4)
    found = customer.get(parts[-1]).text
    assert re.findall(r"<tr><td>(\w+)</td><td[^>]*>8</td>", found)[0] == "green"


def test_neighbours_are_shown_of_every_model_with_how_near_its_texts_are(customer, ask, floor):
    _, parts = parts_of(customer, ask, model="runs/three", row=4, text="a red square")
    assert len(parts) == 1
    found = customer.get(parts[0]).text
    cosines = dict(re.findall(r"<tr><td>([^<]*)</td><td[^>]*>([^<]*)</td>", found))
    assert set(cosines) == {"a red square", "a green square"}
    assert len(set(re.findall(r"Row (\d+)", found))) == 6
    model = accord.load(floor / "runs" / "three", "cpu")
    hits = model.search(like="4", k=6)
    assert {int(row) for row in re.findall(r"Row (\d+)", found)} == {hit.row for hit in hits}


def test_a_file_is_explained_with_words(customer, ask, floor):
    content = (floor / "data" / "05.png").read_bytes()
    handle = customer.post("/api/uploads", files={"file": ("five.png", content)}).json()["handle"]
    shown, parts = parts_of(customer, ask, model="runs/words", file=handle, text="a blue square")
    assert "five.png" in shown
    assert "<td>blue</td>" in customer.get(parts[0]).text
    assert "Row 5" in customer.get(parts[-1]).text
    nothing = customer.get(parts[0].replace("a+blue+square", ""))
    assert "Give words above" in nothing.text


class Told(Explanation):
    """An explanation that says how many rows it saw."""

    def __init__(self, rows: int) -> None:
        self.seen = rows

    @property
    def columns(self) -> dict[str, str]:
        return {"rows": "right"}

    def rows(self) -> list[tuple[str, ...]]:
        return [(str(self.seen),)]

    def draw(self, path: str | Path) -> Path:
        Image.new("RGB", (8, 8)).save(path)
        return Path(path)


def test_a_new_way_appears_by_itself_and_may_look_into_the_data(customer, ask, monkeypatch):
    way = Way("told", "How many there are", Embeds, lambda model, item, text, rows, k: Told(len(rows)), reads_rows=True)
    monkeypatch.setattr(explain, "WAYS", (*explain.WAYS, way))
    shown, parts = parts_of(customer, ask, model="runs/three", row=1)
    assert "How many there are" in shown
    for _ in range(100):
        found = customer.get(parts[0]).text
        if "hx-trigger" not in found:
            break
        time.sleep(0.05)
    assert '<td class="right num">24</td>' in found


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/explain/way", {"way": "guessing", "row": 1}),
        ("/explain/way", {"way": "words"}),
        ("/explain/way", {"way": "words", "row": 999, "text": "a"}),
        ("/explain/neighbours", {}),
        ("/explain/neighbours", {"row": 999}),
        ("/explain/neighbours", {"file": "guessed"}),
    ],
)
def test_what_cannot_be_explained_is_said(customer, ask, path, asked):
    ask(model="runs/words", text="a square")
    refused = customer.get(path, params={"model": "runs/words", **asked}, headers={"hx-request": "true"})
    assert refused.status_code in (200, 400)
    assert 'class="notice"' in refused.text


def test_words_are_compared_by_cosine(floor):
    model = accord.load(floor / "runs" / "words", "cpu")
    own = model.embed(images=[coloured_red()])[0]
    found = dict(explain._cosines(model, 3 * own, ["a red square", "a blue square"]))
    expected = model.embed(texts=["a red square"])[0] @ own
    assert found["a red square"] == pytest.approx(float(expected), abs=1e-5)
    assert explain._cosines(model, torch.ones(3), ["a"]) == []


def coloured_red() -> Image.Image:
    return Image.new("RGB", (32, 32), (220, 30, 30))
