"""The page on which doubted rows are decided on, and its routes for programs."""

from __future__ import annotations

import csv
import json
import re
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from accord.cleaning.table import read_clean, write_clean
from accord.errors import ConfigError
from accord.pipeline.cleaning import clean
from accord.serving import ServeConfig, build_app
from pipeline.test_clean import embedded
from serving.reviews import EVIL, KINDS, cleaned, many_doubts, pictures

API = "/api/clean/runs/photos"
LOCAL = "http://127.0.0.1:8000"


@pytest.fixture
def folder(root: Path) -> Path:
    """A cleaning in which 12 of 20 rows are doubted."""
    return cleaned(root / "photos", pictures(root.parent / "photos", 20), 12)


def decide(visitor: TestClient, decisions: dict[int, object], revision: int = 0, status: int = 200) -> dict:
    said = [{"row": row, "decision": word, "revision": revision} for row, word in decisions.items()]
    found = visitor.post(f"{API}/decisions", json={"decisions": said})
    assert found.status_code == status, found.text
    return found.json()


def saved(folder: Path) -> dict[str, object]:
    return json.loads((folder / "decided" / "decisions.json").read_text())["decisions"]


# ---- what is shown ---------------------------------------------------------------------------------------------------


def test_cleanings_are_listed_with_their_progress(visitor, folder):
    decide(visitor, {0: "accept", 1: "reject"})
    (one,) = visitor.get("/api/clean").json()
    assert (one["key"], one["rows"], one["doubted"], one["decided"]) == ("runs/photos", 20, 12, 2)
    page = visitor.get("/clean").text
    assert "/clean/runs/photos" in page


def test_without_a_cleaning_the_page_says_how_to_make_one(visitor):
    assert "accord clean DATA" in visitor.get("/clean").text
    assert visitor.get("/clean/runs/photos").status_code == 404
    assert visitor.get(f"{API}/rows").status_code == 404


def test_a_file_that_accord_did_not_write_is_no_cleaning(visitor, root, folder):
    (root / "foreign").mkdir()
    (root / "foreign" / "clean.parquet").write_bytes(b"PAR1 and something else")
    assert [one["key"] for one in visitor.get("/api/clean").json()] == ["runs/photos"]
    assert visitor.get("/clean/runs/foreign").status_code == 400


def test_doubted_rows_are_shown_with_reason_and_proposal_the_surest_first(visitor, folder):
    page = visitor.get("/clean/runs/photos").text
    assert re.findall(r'data-row="(\d+)"', page) == [str(row) for row in range(12)]
    assert "3 things speak for yellow" in page
    assert "Caption: <b>number 4</b>" in page
    assert EVIL not in page
    assert "&lt;script&gt;alert" in page


def test_rows_can_be_chosen(visitor, folder):
    def ids(**asked: object) -> list[int]:
        return [row["id"] for row in visitor.get(f"{API}/rows", params=asked).json()["rows"]]

    assert ids(reason=KINDS[1]) == [1, 3, 5, 7, 9, 11]
    assert ids(label="green") == [1, 4, 7, 10]
    assert ids(text="NUMBER 1") == [1, 10, 11]
    assert ids(text="7 things") == [7]
    assert ids(doubt=0.999) == [0, 1, 2]
    decide(visitor, {1: "reject"})
    assert ids(reason=KINDS[1], undecided=True) == [3, 5, 7, 9, 11]
    assert ids(reason="there is no such reason") == []


def test_no_row_is_skipped_when_decided_rows_leave_the_filter(visitor, folder):
    asked = {"undecided": True, "limit": 5}
    first = visitor.get(f"{API}/rows", params=asked).json()
    decide(visitor, {row["id"]: "accept" for row in first["rows"]})
    second = visitor.get(f"{API}/rows", params={**asked, "start": first["next"]}).json()
    assert [row["id"] for row in first["rows"] + second["rows"]] == list(range(10))
    assert (second["matching"], second["previous"]) == (7, None)


def test_pictures_are_made_anew_and_a_file_that_is_gone_shows_a_placeholder(visitor, folder):
    found = visitor.get("/clean/runs/photos/picture/3")
    assert found.headers["content-type"] == "image/webp"
    assert found.content[8:12] == b"WEBP"
    (folder.parent.parent / "photos" / "4.png").unlink()
    for row in (4, 999, -1):
        gone = visitor.get(f"/clean/runs/photos/picture/{row}")
        assert (gone.status_code, gone.headers["content-type"]) == (200, "image/svg+xml")


def test_a_source_that_is_gone_leaves_the_words(visitor, folder):
    (folder.parent.parent / "photos").rename(folder.parent.parent / "elsewhere")
    assert visitor.get("/clean/runs/photos").status_code == 200
    assert visitor.get("/clean/runs/photos/picture/3").headers["content-type"] == "image/svg+xml"
    (folder.parent.parent / "elsewhere").rename(folder.parent.parent / "photos")
    visitor.get("/clean/runs/photos")
    assert visitor.get("/clean/runs/photos/picture/3").headers["content-type"] == "image/webp"


def test_twenty_thousand_doubted_rows_stay_fast(visitor, root):
    many_doubts(root / "photos", 20_000)
    visitor.get("/clean/runs/photos")
    for asked in ({}, {"start": 15_000}, {"reason": KINDS[0], "undecided": True, "text": "caption 1"}):
        began = time.process_time()
        page = visitor.get("/clean/runs/photos", params=asked)
        assert time.process_time() - began < 1
        assert page.text.count("data-row=") == 50
    said = {"decision": "accept", "reason": KINDS[0], "doubt": 0.6, "expected": 8164}
    count = visitor.get(f"{API}/all", params={"reason": KINDS[0], "doubt": 0.6}).json()["rows"]
    began = time.process_time()
    assert visitor.post(f"{API}/all", json={**said, "expected": count}).json()["rows"] == count > 8000
    assert time.process_time() - began < 2
    assert visitor.post(f"{API}/undo", json={}).json()["decided"] == 0


# ---- what is decided -------------------------------------------------------------------------------------------------


def test_decisions_are_saved_at_once_as_the_static_page_saves_them(visitor, folder):
    said = decide(visitor, {0: "accept", 1: "reject", 2: "drop", 3: {"caption": "a cat"}})
    assert (said["decided"], said["doubted"], said["undo"]) == (4, 12, "decisions on 4 rows")
    assert saved(folder) == {"0": "accept", "1": "reject", "2": "drop", "3": {"caption": "a cat"}}
    held = json.loads((folder / "decided" / "decisions.json").read_text())
    assert held["fingerprint"] == read_clean(folder)[1]["fingerprint"]
    decide(visitor, {1: None}, revision=said["rows"][0]["revision"])
    assert set(saved(folder)) == {"0", "2", "3"}


def test_undo_goes_back_to_the_first_decision_also_after_a_restart(visitor, folder, root):
    for row, word in enumerate(("accept", "drop", "reject")):
        decide(visitor, {row: word})
    with TestClient(build_app(ServeConfig(runs=(root,))), base_url=LOCAL) as later:
        for left in (["0", "1"], ["0"], []):
            head = later.get(f"{API}/rows").json()["head"]
            state = later.post(f"{API}/undo", json={"head": head}).json()
            assert list(saved(folder)) == left
        assert state["undo"] is None
        assert later.post(f"{API}/undo", json={}).status_code == 409
        assert later.post(f"{API}/redo", json={}).json()["rows"] == [{"row": 0, "decision": "accept", "revision": 7}]
        assert saved(folder) == {"0": "accept"}


def test_of_two_tabs_the_slower_is_told(visitor, folder):
    decide(visitor, {5: "accept"})
    refused = decide(visitor, {5: "drop"}, status=409)
    assert "meanwhile" in refused["detail"]
    assert visitor.post(f"{API}/undo", json={"head": 0}).status_code == 409
    decide(visitor, {6: "drop"})
    assert saved(folder) == {"5": "accept", "6": "drop"}


def test_all_of_one_reason_are_accepted_as_one_step(visitor, folder):
    decide(visitor, {1: "reject"})
    asked = {"reason": KINDS[1], "doubt": 0.9}
    count = visitor.get(f"{API}/all", params=asked).json()["rows"]
    assert count == 4  # 3, 5, 7, 9; 1 is decided, 11 is not so sure
    late = visitor.post(f"{API}/all", json={**asked, "expected": 3})
    assert (late.status_code, "there are 4 such rows" in late.json()["detail"]) == (409, True)
    done = visitor.post(f"{API}/all", json={**asked, "expected": 4}).json()
    assert (done["rows"], done["steps"]["undo"]) == (4, f"accept 4 rows, {KINDS[1]}")
    assert saved(folder) == {"1": "reject", "3": "accept", "5": "accept", "7": "accept", "9": "accept"}
    visitor.post(f"{API}/undo", json={})
    assert saved(folder) == {"1": "reject"}


@pytest.mark.parametrize(
    ("row", "word", "status"),
    [
        (15, "accept", 404),
        (999, "drop", 404),
        (1, "keep", 422),
        (1, {"caption": ""}, 422),
        (1, {}, 409),
        (1, {"x": "y"}, 422),
    ],
)
def test_what_is_no_decision_is_refused(visitor, folder, row, word, status):
    decide(visitor, {row: word}, status=status)
    assert not (folder / "decided").exists()


def test_a_correction_needs_a_column_that_can_say_it(visitor, root):
    folder = many_doubts(root / "photos", 3)
    table, about = read_clean(folder)
    write_clean(folder, table, {**about, "columns": {"image": ["file"], "label": ["label"]}})
    refused = decide(visitor, {1: {"caption": "a cat"}}, status=409)
    assert "no column" in refused["detail"]
    decide(visitor, {1: {"label": "cat"}})


def test_decisions_belong_to_what_was_judged(visitor, folder, root):
    decide(visitor, {1: "reject"})
    cleaned(folder, root.parent / "photos", 6)
    assert visitor.get(f"{API}/rows").json()["decided"] == 0
    cleaned(folder, root.parent / "photos", 12)
    assert visitor.get(f"{API}/rows").json()["decided"] == 1


# ---- the table, and another cleaning ---------------------------------------------------------------------------


def waited(visitor: TestClient, part: str) -> str:
    """What takes the place of a part that waits."""
    while address := re.search(r'hx-get="([^"]+)"', part):
        time.sleep(0.05)
        part = visitor.get(address[1].replace("&amp;", "&")).text
    return part


def test_the_corrected_table_is_written_below_the_folder(visitor, folder, root):
    decide(visitor, {0: "accept", 1: "drop", 2: {"label": "pink"}})
    begun = visitor.post("/clean/runs/photos/apply", data={"name": "cleaned.csv"})
    said = waited(visitor, begun.text)
    assert "19 rows: 2 corrected, 1 dropped, 9 undecided" in said
    rows = list(csv.DictReader((folder / "cleaned.csv").open()))
    assert [row["label"] for row in rows[:2]] == ["yellow", "pink"]
    again = waited(visitor, visitor.post("/clean/runs/photos/apply", data={"name": "cleaned.csv"}).text)
    assert "is there already" in again


@pytest.mark.parametrize("name", ["../out.csv", "/etc/out.csv", "a/b.csv", ".hidden.csv", "clean.parquet", "x.txt"])
def test_no_name_leads_out_of_the_folder_or_over_another_file(visitor, folder, name):
    before = (folder / "clean.parquet").read_bytes()
    found = visitor.post("/clean/runs/photos/apply", data={"name": name})
    said = waited(visitor, found.text)
    assert found.status_code == 400 or "notice" in said
    assert (folder / "clean.parquet").read_bytes() == before
    assert not list(folder.parent.glob("*.csv"))


def test_another_cleaning_is_begun_on_the_page(root):
    path = embedded(root.parent / "vectors.parquet")
    with TestClient(build_app(ServeConfig(runs=(root,), data=(str(path),))), base_url=LOCAL) as visitor:
        page = visitor.get("/clean").text
        assert f'value="data:{path}"' in page
        begun = visitor.post("/clean", data={"data": f"data:{path}", "name": "vectors"})
        assert 'href="/clean/runs/vectors"' in waited(visitor, begun.text)
        assert visitor.get("/api/clean").json()[0]["source"] == str(path)
        taken = visitor.post("/clean", data={"data": f"data:{path}", "name": "vectors"})
        assert (taken.status_code, "is there already" in taken.text) == (400, True)
        for wrong in ({"data": "/etc/passwd"}, {"name": "../x"}, {"model": "/etc"}):
            said = {"data": f"data:{path}", "name": "other", **wrong}
            assert visitor.post("/clean", data=said).status_code == 400
    assert sorted(each.name for each in root.iterdir()) == ["vectors"]


def test_decisions_do_not_stand_in_the_way_of_the_same_cleaning(visitor, root):
    path = embedded(root.parent / "vectors.parquet")
    found = clean(path, out=root / "photos")
    row = next(row["id"] for row in found.table.to_pylist() if row["doubted"])
    decide(visitor, {row: "reject"})
    clean(path, out=root / "photos")
    assert saved(root / "photos") == {str(row): "reject"}
    (root / "photos" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"it holds notes\.txt\)"):
        clean(path, out=root / "photos")


def test_a_decision_that_was_cut_short_is_told_and_can_be_made_again(visitor, folder, root):
    decide(visitor, {1: "reject"})
    (journal,) = (folder / "decided").glob("*.jsonl")
    with journal.open("a") as file:
        file.write('{"n": 2, "what": "drop on r')
    with TestClient(build_app(ServeConfig(runs=(root,))), base_url=LOCAL) as later:
        assert "was cut short" in later.get("/clean/runs/photos").text
        decide(later, {2: "drop"})
        assert saved(folder) == {"1": "reject", "2": "drop"}
