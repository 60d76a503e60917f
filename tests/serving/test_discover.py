"""The page on which found classes are named, merged and sorted, and its routes for programs."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from accord.serving import ServeConfig, build_app
from serving.reviews import COLOURS, discovered, pictures
from serving.test_clean import waited

API = "/api/discover/runs/colours"
LOCAL = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes in 90 rows, of which one is known."""
    folder = tmp_path_factory.mktemp("discover")
    return discovered(folder / "runs" / "colours", pictures(folder / "photos", 90))


@pytest.fixture
def folder(made: Path, root: Path) -> Path:
    """The same below the root of a visitor."""
    folder = root / "colours"
    folder.mkdir()
    for file in made.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def classes(visitor: TestClient, **asked: object) -> dict[str, dict]:
    found = visitor.get(f"{API}/classes", params=asked)
    assert found.status_code == 200, found.text
    return {one["name"]: one for one in found.json()["classes"]}


def decide(visitor: TestClient, status: int = 200, **change: object) -> dict:
    """Decide on a class or on rows as they are now."""
    if "number" in change and "revision" not in change:
        revisions = {
            one["number"]: one["revision"] for show in ("all", "out") for one in classes(visitor, show=show).values()
        }
        change["revision"] = revisions.get(change["number"], 0)
    found = visitor.post(f"{API}/decisions", json=change)
    assert found.status_code == status, found.text
    return found.json()


def move(visitor: TestClient, rows: list[int], into: int | None, status: int = 200, revision: int = 0) -> dict:
    said = [{"row": row, "revision": revision} for row in rows]
    return decide(visitor, status, change="move", rows=said, into=into)


# ---- what is shown ---------------------------------------------------------------------------------------------------


def test_discoveries_are_listed(visitor, folder, root):
    (one,) = visitor.get("/api/discover").json()
    assert (one["key"], one["rows"], one["known"], one["new"]) == ("runs/colours", 90, 1, 2)
    assert "/discover/runs/colours" in visitor.get("/discover").text
    assert visitor.get("/discover/runs/none").status_code == 404
    (root / "foreign").mkdir()
    (root / "foreign" / "classes.json").write_text('["mine"]')
    assert len(visitor.get("/api/discover").json()) == 1
    assert visitor.get("/discover/runs/foreign").status_code == 404


def test_each_class_has_a_sheet_of_its_rows(visitor, folder):
    page = visitor.get("/discover/runs/colours").text
    assert [page.count(f">{name}</a>") for name in COLOURS] == [1, 1, 1]
    assert page.count("/picture/") == 3 * 12
    red = classes(visitor)["red"]
    assert (red["rows"], red["labelled"], red["new"]) == (30, 15, False)
    rows = visitor.get("/discover/runs/colours", params={"class": red["number"]}).text
    assert rows.count('type="checkbox"') == 30
    shown = visitor.get(re.search(r'src="(/discover/[^"]+/picture/\d+)"', page)[1])
    assert shown.content[8:12] == b"WEBP"


def test_classes_are_sorted_and_chosen(visitor, folder):
    assert list(classes(visitor, sort="name")) == sorted(COLOURS)
    assert set(classes(visitor, show="new")) == {"green", "blue"}
    assert set(classes(visitor, text="REE")) == {"green"}
    densities = [one["density"] for one in classes(visitor, sort="density").values()]
    assert densities == sorted(densities)
    decide(visitor, change="rename", number=classes(visitor)["blue"]["number"], name="sea")
    assert set(classes(visitor, show="changed")) == {"sea"}


def test_a_folder_of_an_earlier_version_is_shown_without_pictures(visitor, folder):
    about = json.loads((folder / "classes.json").read_text())
    (folder / "classes.json").write_text(
        json.dumps({key: about[key] for key in about if key not in ("source", "columns")})
    )
    page = visitor.get("/discover/runs/colours")
    assert (page.status_code, page.text.count("/picture/")) == (200, 0)


# ---- what is decided -------------------------------------------------------------------------------------------------


def test_a_class_is_renamed_and_called_so_everywhere(visitor, folder):
    number = classes(visitor)["blue"]["number"]
    state = decide(visitor, change="rename", number=number, name="  deep   sea ")
    assert state["undo"] == "call blue deep sea"
    assert classes(visitor)["deep sea"]["found_as"] == "blue"
    assert "already" in decide(visitor, 409, change="rename", number=number, name="red")["detail"]
    decide(visitor, change="rename", number=number, name="blue")
    assert "blue" in classes(visitor)
    decide(visitor, 404, change="rename", number=99, name="x", revision=0)


def test_merged_classes_are_one_until_that_is_undone(visitor, folder):
    numbers = {name: one["number"] for name, one in classes(visitor).items()}
    decide(visitor, change="merge", number=numbers["blue"], into=numbers["green"])
    assert {name: one["rows"] for name, one in classes(visitor).items()} == {"red": 30, "green": 60}
    decide(visitor, change="merge", number=numbers["green"], into=numbers["red"])
    assert {name: one["rows"] for name, one in classes(visitor).items()} == {"red": 90}
    assert (
        "is part of another"
        in decide(visitor, 409, change="merge", number=numbers["red"], into=numbers["blue"])["detail"]
    )
    assert "itself" in decide(visitor, 409, change="merge", number=numbers["red"], into=numbers["red"])["detail"]
    visitor.post(f"{API}/undo", json={})
    visitor.post(f"{API}/undo", json={})
    assert [one["rows"] for one in classes(visitor).values()] == [30, 30, 30]


def test_a_name_that_was_given_away_is_not_there_twice(visitor, folder):
    numbers = {name: one["number"] for name, one in classes(visitor).items()}
    decide(visitor, change="merge", number=numbers["blue"], into=numbers["green"])
    decide(visitor, change="rename", number=numbers["red"], name="blue")
    assert "already" in decide(visitor, 409, change="merge", number=numbers["blue"], into=None)["detail"]
    decide(visitor, change="rename", number=numbers["red"], name="red")
    decide(visitor, change="merge", number=numbers["blue"], into=None)
    assert len(classes(visitor)) == 3


def test_rows_of_what_is_no_class_have_none(visitor, folder):
    number = classes(visitor)["blue"]["number"]
    decide(visitor, change="mark", number=number, real=False)
    assert set(classes(visitor)) == {"red", "green"}
    assert set(classes(visitor, show="out")) == {"blue"}
    assert "30 rows have no class" in visitor.get("/discover/runs/colours").text
    assert "no class" in move(visitor, [100], number, status=409)["detail"]
    decide(visitor, change="mark", number=number, real=True)
    assert classes(visitor)["blue"]["rows"] == 30


def test_rows_are_moved_and_go_with_their_class(visitor, folder):
    numbers = {name: one["number"] for name, one in classes(visitor).items()}
    state = move(visitor, [100, 103], numbers["green"])
    assert state["undo"] == "move 2 rows to green"
    assert {name: one["rows"] for name, one in classes(visitor).items()} == {"red": 28, "green": 32, "blue": 30}
    rows = visitor.get(f"{API}/rows", params={"number": numbers["green"]}).json()
    assert [row["id"] for row in rows["rows"][-2:]] == [100, 103]  # their distance is not known
    assert rows["rows"][-1]["margin"] is None
    decide(visitor, change="merge", number=numbers["green"], into=numbers["blue"])
    assert classes(visitor)["blue"]["rows"] == 62
    assert "decided on row:100" in move(visitor, [100], numbers["red"], status=409)["detail"]
    assert "no row 7" in move(visitor, [7], numbers["red"], status=404)["detail"]


def test_of_two_tabs_the_slower_is_told(visitor, folder):
    number = classes(visitor)["blue"]["number"]
    decide(visitor, change="rename", number=number, name="sea", revision=0)
    assert "meanwhile" in decide(visitor, 409, change="mark", number=number, real=False, revision=0)["detail"]
    assert set(classes(visitor)) == {"red", "green", "sea"}


def test_undo_goes_back_to_the_first_decision_also_after_a_restart(visitor, folder, root):
    number = classes(visitor)["blue"]["number"]
    decide(visitor, change="rename", number=number, name="sea")
    move(visitor, [100], number)
    decide(visitor, change="mark", number=number, real=False)
    with TestClient(build_app(ServeConfig(runs=(root,))), base_url=LOCAL) as later:
        states = [later.post(f"{API}/undo", json={}).json() for _ in range(3)]
        assert [state["undo"] for state in states] == ["move row 100 to sea", "call blue sea", None]
        assert {name: one["rows"] for name, one in classes(later).items()} == {"red": 30, "green": 30, "blue": 30}
        assert later.post(f"{API}/redo", json={}).json()["undo"] == "call blue sea"
        assert "sea" in classes(later)


# ---- the table, and another discovery --------------------------------------------------------------------------------


def test_rows_are_written_with_the_classes_that_they_have_now(visitor, folder):
    numbers = {name: one["number"] for name, one in classes(visitor).items()}
    decide(visitor, change="rename", number=numbers["green"], name="leaf")
    decide(visitor, change="mark", number=numbers["blue"], real=False)
    move(visitor, [100], numbers["green"])
    said = waited(visitor, visitor.post("/discover/runs/colours/export", data={"name": "corrected.parquet"}).text)
    assert "90 rows, 31 of them in another class" in said
    old, new = (pq.read_table(folder / f"{name}.parquet") for name in ("discovered", "corrected"))
    assert new.schema.equals(old.schema)
    rows = {row["id"]: row for row in new.to_pylist()}
    assert (rows[100]["class"], rows[100]["margin"], rows[100]["new"]) == ("leaf", None, True)
    assert (rows[101]["class"], rows[101]["margin"]) == ("leaf", old["margin"][1].as_py())
    assert (rows[102]["class"], rows[102]["new"], rows[102]["next"]) == (None, None, None)
    assert rows[103]["next"] in (None, "leaf")
    for _ in range(2):  # an export may be replaced
        waited(visitor, visitor.post("/discover/runs/colours/export", data={"name": "corrected.csv"}).text)
    listed = list(csv.DictReader((folder / "corrected.csv").open()))
    assert [row["class"] for row in listed[:3]] == ["leaf", "leaf", ""]
    assert listed[0]["captions"] == "red"


@pytest.mark.parametrize("name", ["../out.csv", "discovered.parquet", "classes.csv", "out.txt", ".x.csv"])
def test_no_name_leads_out_of_the_folder_or_over_another_file(visitor, folder, name):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    found = visitor.post("/discover/runs/colours/export", data={"name": name})
    said = waited(visitor, found.text)
    assert found.status_code == 400 or "notice" in said
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before
    assert not list(folder.parent.glob("*.csv"))


def test_another_discovery_is_begun_on_the_page(made, root):
    data = str(made.parent.parent / "vectors.parquet")
    with TestClient(build_app(ServeConfig(runs=(root,), data=(data,))), base_url=LOCAL) as visitor:
        begun = visitor.post("/discover", data={"data": f"data:{data}", "name": "again", "labelled": "colour"})
        assert 'href="/discover/runs/again"' in waited(visitor, begun.text)
        assert visitor.get("/api/discover").json()[0]["known"] == 1
        wrong = visitor.post("/discover", data={"data": f"data:{data}", "name": "other", "labelled": "shape"})
        assert "shape" in waited(visitor, wrong.text)
