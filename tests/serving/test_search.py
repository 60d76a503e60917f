"""Searching in the application: questions, answers, what stays open, and what changes meanwhile."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import accord
from accord.data.corpus import open_corpus
from accord.searching.index import build_index
from accord.serving.asked import Asked
from accord.serving.searches import Searchable


def rows_of(answer: Any) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [hit["row"] for hit in answer.json()["hits"]]


def page_of(customer: Any, ask: Any, **asked: Any) -> str:
    """The page, when its index is open."""
    ask(text="a square", model=asked["model"], data=asked.get("data", ""))
    found = customer.get("/search", params=asked)
    assert found.status_code == 200
    return str(found.text)


def test_a_question_is_answered_as_by_the_model_itself(ask, floor):
    hits = ask(model="runs/words", text="a red square", k=5).json()["hits"]
    expected = accord.load(floor / "runs" / "words", "cpu").search("a red square", k=5)
    assert [(hit["row"], hit["label"]) for hit in hits] == [(hit.row, hit.label) for hit in expected]
    assert [hit["score"] for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-5)
    assert [hit["cosine"] for hit in hits] == pytest.approx([hit.cosine for hit in expected], abs=1e-5)
    first = ask(model="runs/words", text="a red square", k=5, candidates=0).json()["hits"]
    assert {hit["cosine"] for hit in first} == {None}


def test_before_there_is_an_index_a_page_says_how_far_it_is(customer, ask):
    first = customer.get("/search", params={"model": "runs/words"})
    assert first.status_code == 200
    polled = re.search(r'hx-get="(/search/progress[^"]*)"', first.text)
    assert polled
    ask(model="runs/words", text="a square")
    assert customer.get(polled[1]).headers["hx-refresh"] == "true"
    assert 'name="text"' in customer.get("/search", params={"model": "runs/words"}).text


def test_a_page_holds_its_question_in_every_address(customer, ask):
    found = page_of(customer, ask, model="runs/words", text="a red square", k=5, label="red")
    links = [link.replace("&amp;", "&") for link in re.findall(r'href="(/search\?[^"]*)"', found)]
    further = next(link for link in links if "page=2" in link)
    assert "text=a+red+square" in further
    assert "label=red" in further
    second = customer.get(further).text
    assert len(re.findall(r"<li><a class=.seen", second)) == 3  # of eight red ones
    assert not set(re.findall(r"aria-label=.Row (\d+)", found)) & set(re.findall(r"aria-label=.Row (\d+)", second))
    assert "data:image/webp;base64" in found


def test_words_that_are_the_name_of_a_file_are_words(ask, floor):
    model = accord.load(floor / "runs" / "words", "cpu")
    index = build_index(model.path, model, open_corpus(floor / "data", quiet=True), progress=False)
    for words in (str(floor / "data" / "00.png"), "/etc/passwd", "00.png", str(floor / "data")):
        expected = [hit.row for hit in index.search(model.embed(texts=[words])[0], "image", k=4)]
        found = ask(model="runs/words", data=str(floor / "data"), text=words, k=4, candidates=0)
        assert rows_of(found) == expected
        assert ask(model="runs/words", like=3, plus=[words], minus=[words]).status_code == 200


def test_a_file_finds_what_it_shows(customer, ask, floor):
    ask(model="runs/words", text="a square")
    content = (floor / "data" / "07.png").read_bytes()
    files = {"files": ("../../x.txt", content, "text/plain")}
    assert rows_of(customer.post("/api/search", params={"model": "runs/words", "k": 3}, files=files))[0] == 7
    kept = customer.post("/api/uploads", files={"file": ("seven.png", content)}).json()
    assert kept["kind"] == "image"
    assert rows_of(ask(model="runs/words", file=[kept["handle"]], k=3))[0] == 7
    seen = customer.get("/search/upload", params={"handle": kept["handle"]})
    assert Image.open(io.BytesIO(seen.content)).size == (32, 32)
    assert "seven.png" in page_of(customer, ask, model="runs/words", file=[kept["handle"]])
    refused = customer.post("/api/uploads", files={"file": ("cat.png", b"<html>")})
    assert refused.status_code == 400
    assert "cat.png holds none of" in refused.json()["detail"]


def test_the_form_takes_what_the_model_embeds(customer, ask):
    two, three = (page_of(customer, ask, model=f"runs/{name}") for name in ("words", "three"))
    assert ".wav" in three
    assert ".wav" not in two
    assert "recording" in three


def test_several_things_are_looked_for_together(customer, ask, shop_floor, floor):
    ask(model="runs/three", text="a square")
    sound = (shop_floor / "sounds" / "5.wav").read_bytes()
    handle = customer.post("/api/uploads", files={"file": ("5.wav", sound)}).json()["handle"]
    found = ask(model="runs/three", text="a blue square", file=[handle], k=6)
    model = accord.load(floor / "runs" / "three", "cpu")
    together = {"text": "a blue square", "audio": shop_floor / "sounds" / "5.wav"}
    assert rows_of(found) == [hit.row for hit in model.search(together=together, k=6)]
    again = ask(model="runs/three", file=[handle, handle], k=6)
    assert again.status_code == 200  # the same file once
    other = customer.post("/api/uploads", files={"file": ("6.wav", sound)}).json()["handle"]
    assert "two of the same kind" in ask(model="runs/three", file=[handle, other]).json()["detail"]


def test_rows_and_words_are_added_and_taken(ask, floor):
    model = accord.load(floor / "runs" / "words", "cpu")
    base = rows_of(ask(model="runs/words", like=0, k=4))
    assert 0 not in base
    assert base == [hit.row for hit in model.search(like="0", k=4)]
    found = rows_of(ask(model="runs/words", like=0, more=[1], less=[2], plus=["a green square"], strength=2, k=4))
    assert not {0, 1, 2} & set(found)
    expected = model.search(like="0", plus=[1, "a green square"], minus=[2], strength=2.0, k=4)
    assert found == [hit.row for hit in expected]


def test_only_rows_of_the_classes_wanted_are_answers(ask):
    hits = ask(model="runs/words", text="a red square", label=["green", "blue"], k=50).json()["hits"]
    assert {hit["label"] for hit in hits} == {"green", "blue"}
    assert len(hits) == 16
    everything = ask(model="runs/words", text="a red square", k=50).json()["hits"]
    assert [hit["row"] for hit in hits] == [hit["row"] for hit in everything if hit["label"] != "red"]
    refused = ask(model="runs/words", text="a red square", label=["purple"])
    assert refused.status_code == 400
    assert "no class 'purple'" in refused.json()["detail"]


@pytest.mark.parametrize(
    "asked",
    [
        {"model": "../../etc"},
        {"model": "/etc"},
        {"data": "/etc"},
        {"data": "../data"},
        {"like": 10**9},
        {"file": ["guessed"]},
        {"k": 200, "page": 900},
    ],
    ids=lambda asked: next(iter(asked.items())).__str__(),
)
def test_what_there_is_not_is_refused_in_a_sentence(ask, asked):
    usual = {} if {"like", "file"} & asked.keys() else {"text": "a square"}
    refused = ask(**{"model": "runs/words", **usual, **asked})
    assert refused.status_code == 400
    assert refused.json()["detail"]


def test_a_question_without_anything_is_refused_and_numbers_have_bounds(ask):
    assert ask(model="runs/words").status_code == 400
    for wrong in ({"k": 0}, {"like": -1}, {"like": 2**70}, {"strength": "nan"}, {"page": 0}, {"exact": "perhaps"}):
        assert ask(model="runs/words", text="a square", **wrong).status_code == 422


def test_a_row_is_shown_larger_and_plays_its_sound(customer, ask, shop_floor):
    ask(model="runs/three", text="a square")
    about = {"model": "runs/three", "row": 4}
    part = customer.get("/search/row", params=about, headers={"hx-request": "true"}).text
    assert "<audio" in part
    assert "a green square" in part
    assert "<nav" not in part
    assert "<nav" in customer.get("/search/row", params=about).text
    sound = customer.get("/search/media", params={**about, "field": "audio"})
    assert sound.content == (shop_floor / "sounds" / "4.wav").read_bytes()
    assert sound.headers["content-type"] == "audio/wav"
    assert customer.get("/search/media", params={**about, "field": "image"}).status_code == 404
    seen = customer.get("/search/picture", params={**about, "side": 16})
    assert Image.open(io.BytesIO(seen.content)).size == (16, 16)
    assert customer.get("/search/picture", params={**about, "row": 999}).status_code == 400


def grown(folder: Path, number: int) -> None:
    """One more picture in the data."""
    Image.new("RGB", (32, 32), (250, 250, number)).save(folder / f"{number:02}.png")
    with (folder / "metadata.csv").open("a") as file:
        file.write(f"{number:02}.png,a yellow square,yellow\n")


def test_what_another_process_makes_of_an_index_is_taken_over(customer, ask, floor):
    data = str(floor / "data")
    assert ask(model="runs/words", data=data, text="a square", k=100).json()["rows"] == 24
    grown(floor / "data", 24)
    assert ask(model="runs/words", data=data, text="a square", k=100).json()["rows"] == 24
    model = accord.load(floor / "runs" / "words", "cpu")
    build_index(model.path, model, open_corpus(data, quiet=True), progress=False)
    found = customer.get("/api/search", params={"model": "runs/words", "data": data, "text": "a square", "k": 100})
    assert found.status_code == 200  # at once
    assert 24 in rows_of(found)
    seen = customer.get("/search/picture", params={"model": "runs/words", "data": data, "row": 24})
    assert Image.open(io.BytesIO(seen.content)).getpixel((9, 9))[0] > 240
    assert ask(model="runs/words", data=data, text="a square", label=["yellow"]).json()["hits"][0]["row"] == 24


def test_changes_are_looked_for_when_a_visitor_asks(customer, ask, floor):
    data = str(floor / "data")
    ask(model="runs/words", data=data, text="a square")
    grown(floor / "data", 24)
    begun = customer.post("/search/update", params={"model": "runs/words", "data": data})
    assert begun.status_code == 200
    shop = customer.app.state.workshop
    shop.jobs.wait(shop.searches.job("runs/words", data).key, 60)
    assert ask(model="runs/words", data=data, text="a square").json()["rows"] == 25


def test_a_model_that_was_trained_again_is_asked_anew(customer, ask, floor):
    ask(model="runs/words", text="a square")
    shop = customer.app.state.workshop
    before = shop.searches.get("runs/words")
    assert isinstance(before, Searchable)
    weights = floor / "runs" / "words" / "model.safetensors"
    weights.write_bytes(weights.read_bytes())
    assert customer.get("/api/search", params={"model": "runs/words", "text": "a square"}).status_code == 202
    assert ask(model="runs/words", text="a square").status_code == 200
    assert shop.searches.get("runs/words") is not before


def test_an_index_that_cannot_be_opened_says_why_and_can_be_tried_again(ask, customer, floor):
    data = floor / "data"
    data.rename(floor / "elsewhere")
    refused = ask(model="runs/words", data=str(data), text="a square")
    assert refused.status_code == 400
    assert "data" in refused.json()["detail"]
    (floor / "elsewhere").rename(data)
    assert ask(model="runs/words", data=str(data), text="a square").status_code == 200


def test_runs_that_embed_nothing_are_not_offered(customer, floor):
    folder = floor / "runs" / "classes"
    folder.mkdir()
    (folder / "config.yaml").write_text("method: {name: macil_sd}\n")
    for name in ("splits.json", "model.safetensors"):
        (folder / name).write_text("{}")
    shop = customer.app.state.workshop
    assert "runs/classes" in shop.models.names()
    assert set(shop.searches.models()) == {"runs/words", "runs/three"}


def test_an_address_says_what_is_asked_and_nothing_else():
    asked = Asked(model="m", text="a b", more=[3], page=4)
    assert asked.address() == "/search?model=m&text=a+b&more=3"
    assert asked.address(page=5) == "/search?model=m&text=a+b&more=3&page=5"
    assert asked.with_one("less", 3) == "/search?model=m&text=a+b&less=3"
    assert asked.without("more", 3) == "/search?model=m&text=a+b"
    assert Asked(like=0).address() == "/search?like=0"
