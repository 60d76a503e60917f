"""Runs: the table, one run, several side by side, one that is being trained, and the files that are given away."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

METRICS = {
    "knn: top-1": {"value": 51.0, "low": 46.0, "high": 55.0, "chance": 1.0, "n": 762, "unit": "%"},
    "knn: top-5": {"value": 72.0, "low": 68.0, "high": 76.0, "chance": 5.0, "n": 762, "unit": "%"},
    "retrieval: rsum": {"value": None, "low": None, "high": None, "chance": None, "n": 0, "unit": ""},
}

LINKS = '<a href="#results">Results</a><a href="#mistakes">Mistakes</a><a href="#a-&amp;-b">A &amp; B</a>'
REPORT = f'<h1>Report</h1><nav aria-label="Sections">{LINKS}</nav><script>alert(1)</script>'


def make_run(folder: Path, *, epochs: int = 3, finished: bool = True, **method: Any) -> Path:
    """A folder as training leaves it."""
    folder.mkdir(parents=True)
    config = {
        "data": {"source": "pack:emoji"},
        "method": {"name": "clip", **method},
        "training": {"epochs": epochs, "lr": 1e-3},
        "data_info": {"rows": 10},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "splits.json").write_text("{}")
    lines = [
        {"stage": "train", "epoch": 0, "step": step, "lr": 0.1, "total": 3.0 / step, "rows_per_second": 100.0}
        for step in range(1, 21)
    ]
    (folder / "train.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    standing = {"stage": "train", "number": 1, "stages": 1, "epoch": 2, "epochs": epochs, "step": 20, "steps": 40}
    (folder / "progress.json").write_text(json.dumps({**standing, "rows_per_second": 100.0, "seconds_left": 75.0}))
    (folder / "quarantine.jsonl").write_text('{"row": 7, "file": "bad.png", "reason": "not a picture"}\n')
    if finished:
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "metrics.json").write_text(json.dumps(METRICS))
        (folder / "report.html").write_text(REPORT)
        (folder / "next.txt").write_text("accord search runs/first 'a cat'\n")
    return folder


def own(folder: Path, process: int, machine: str = "") -> None:
    note = {"process": process, "machine": machine or socket.gethostname(), "since": "now"}
    (folder / ".owner").write_text(json.dumps(note))


@pytest.fixture
def first(root):
    return make_run(root / "first")


def test_a_folder_without_runs_says_how_to_make_one(visitor):
    assert "accord train" in visitor.get("/runs").text
    assert visitor.get("/api/runs").json() == []


def test_the_table_has_main_figures_with_intervals_and_chance(first, visitor):
    text = visitor.get("/runs").text
    for part in ("runs/first", "clip", "pack:emoji", "knn: top-1", "51.0 %", "[46.0, 55.0]", "chance 1.0", "finished"):
        assert part in text
    (run,) = visitor.get("/api/runs").json()
    assert (run["key"], run["method"], run["state"], run["epochs"]) == ("runs/first", "clip", "finished", 3)
    assert [number["name"] for number in run["headline"]] == ["knn: top-1", "retrieval: rsum"]
    assert run["headline"][1]["value"] is None


def test_runs_are_found_by_words_method_and_state(root, visitor):
    make_run(root / "first")
    make_run(root / "deep" / "second", name="swav", finished=False)

    def keys(query):
        return {run["key"] for run in visitor.get(f"/api/runs?{query}").json()}

    assert keys("words=emoji") == {"runs/first", "runs/deep/second"}
    assert keys("words=SECOND swav") == {"runs/deep/second"}
    assert keys("method=clip") == {"runs/first"}
    assert keys("state=interrupted") == {"runs/deep/second"}
    assert keys("words=nothing") == set()
    part = visitor.get("/runs?words=swav", headers={"hx-request": "true"}).text
    assert "runs/deep/second" in part
    assert "runs/first" not in part
    assert "<html" not in part


def test_runs_stand_in_the_order_that_was_asked_for(root, visitor):
    for name, epochs in (("one", 5), ("two", 1), ("three", 9)):
        make_run(root / name, epochs=epochs)
    make_run(root / "four", finished=False)

    def shown(query):
        text = visitor.get(f"/runs?{query}").text
        return sorted(("one", "two", "three", "four"), key=lambda name: text.index(f"/runs/runs/{name}"))

    assert shown("order=run&down=false") == ["four", "one", "three", "two"]
    assert shown("order=epochs&down=true") == ["three", "one", "four", "two"]
    assert shown("order=knn: top-1&down=false")[-1] == "four"  # which has no such number


def test_a_damaged_run_is_in_the_table_and_does_not_hide_the_others(root, first, visitor):
    (make_run(root / "second") / "metrics.json").write_text("{")
    text = visitor.get("/runs").text
    assert "runs/first" in text
    assert "metrics.json is damaged" in text
    assert visitor.get("/api/runs/runs/second/metrics").status_code == 400
    assert visitor.get("/runs/runs/second").status_code == 400


def test_a_run_shows_settings_numbers_curves_rows_left_out_files_and_what_comes_next(first, visitor):
    text = visitor.get("/runs/runs/first").text
    for part in ("knn", "total", "learning rate", "0.001", "bad.png", "not a picture", "model.safetensors"):
        assert part in text
    assert "accord search runs/first &#39;a cat&#39;" in text
    assert "files/report.html" in text
    assert "data_info" not in text
    detail = visitor.get("/api/runs/runs/first").json()
    assert detail["settings"]["training.lr"] == 0.001
    assert detail["files"]["model.safetensors"] == 7
    assert len(detail["metrics"]) == 3
    assert len(visitor.get("/api/runs/runs/first/metrics").json()) == 3


def test_curves_have_no_more_points_than_asked_for(first, visitor):
    found = visitor.get("/api/runs/runs/first/curves").json()
    assert found["train/total"][0] == [1, 3.0]
    assert len(found["train/total"]) == 20
    few = visitor.get("/api/runs/runs/first/curves?points=5").json()["train/total"]
    assert len(few) == 5
    assert few[0][0] == pytest.approx(2.5)
    assert visitor.get("/api/runs/runs/first/curves?points=0").status_code == 422


def test_a_run_at_work_says_how_far_it_is_until_it_has_ended(root, visitor):
    folder = make_run(root / "first", finished=False)
    own(folder, os.getpid())
    text = visitor.get("/runs/runs/first").text
    for part in ("training 50 %", "epoch 2 of 3", "step 20 of 40", "100 rows/s", "1 min 15 s left", "every 2s"):
        assert part in text
    live = visitor.get("/runs/runs/first/live")
    assert 'value="20" max="40"' in live.text
    assert visitor.get("/api/runs").json()[0]["share"] == 50.0
    (folder / "model.safetensors").write_bytes(b"weights")
    assert "measured on held-out rows" in visitor.get("/runs/runs/first/live").text
    (folder / ".owner").unlink()
    assert visitor.get("/runs/runs/first/live").headers["hx-refresh"] == "true"
    assert "every 2s" not in visitor.get("/runs/runs/first").text


def test_the_table_asks_again_for_the_state_of_what_is_at_work(root, visitor):
    folder = make_run(root / "first", finished=False)
    own(folder, os.getpid())
    make_run(root / "second")
    assert visitor.get("/runs").text.count("every 4s") == 1
    assert "every 4s" in visitor.get("/runs/runs/first/state").text
    assert "every 4s" not in visitor.get("/runs/runs/second/state").text


def test_a_damaged_log_or_configuration_is_told(root, visitor):
    (make_run(root / "first") / "train.jsonl").write_text('{"step": 1}\n[1]\n')
    assert visitor.get("/api/runs/runs/first/curves").status_code == 400
    (make_run(root / "second") / "config.yaml").write_text("method: clip\n")
    assert "config.yaml is damaged" in visitor.get("/api/runs/runs/second").json()["detail"]


def test_settings_that_json_cannot_say_are_words(root, visitor):
    make_run(root / "first", limit=float("inf"), sizes=[1, 2])
    settings = visitor.get("/api/runs/runs/first").json()["settings"]
    assert settings["method.limit"] == "inf"
    assert settings["method.sizes"] == [1, 2]


def test_a_killed_run_is_interrupted_and_says_how_to_go_on(root, visitor):
    folder = make_run(root / "first", finished=False)
    own(folder, 2**22 + 1)  # no process has that number
    text = visitor.get("/runs/runs/first").text
    assert "interrupted" in text
    assert f"accord train --resume --out {folder}" in text
    own(folder, 1, machine="another")  # of which nothing is known
    assert visitor.get("/api/runs").json()[0]["state"] == "training"


def test_runs_side_by_side_show_what_differs_and_their_curves(root, visitor):
    make_run(root / "first", temperature=0.1)
    make_run(root / "second", temperature=0.5)
    text = visitor.get("/runs/compare?key=runs/first&key=runs/second").text
    assert "method.temperature" in text
    assert "0.5" in text
    assert "method.name" not in text
    assert text.count('data-term="total"') == 1
    assert text.count('class="axis"') == 4


def test_a_comparison_needs_two_runs_that_there_are(first, visitor):
    assert visitor.get("/runs/compare").status_code == 400
    assert visitor.get("/runs/compare?key=runs/first&key=runs/first").status_code == 400
    assert visitor.get("/runs/compare?key=runs/first&key=runs/none").status_code == 404


def test_a_report_is_shown_in_a_cage(first, visitor):
    found = visitor.get("/runs/runs/first/files/report.html")
    assert found.headers["content-type"].startswith("text/html")
    policy = found.headers["content-security-policy"]
    caged = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"
    assert policy == f"{caged}; frame-ancestors 'self'"
    assert found.headers["x-frame-options"] == "SAMEORIGIN"


def test_what_a_report_shows_of_its_own_is_on_the_page(first, visitor):
    text = visitor.get("/runs/runs/first").text
    assert '<iframe class="report" name="report" src="/runs/runs/first/files/report.html#mistakes"' in text
    assert "sandbox></iframe>" in text
    assert "A &amp; B</a>" in text
    assert "report.html#results" not in text  # which the page has itself
    assert "alert(1)" not in text


def test_files_are_given_away_by_their_kind(first, visitor):
    weights = visitor.get("/runs/runs/first/files/model.safetensors")
    assert weights.content == b"weights"
    assert "attachment" in weights.headers["content-disposition"]
    assert visitor.get("/runs/runs/first/files/config.yaml").headers["content-type"].startswith("text/plain")
    (first / "checkpoints").mkdir()
    (first / "checkpoints" / "last.ckpt").touch()
    own(first, 1)
    for name in ("checkpoints/last.ckpt", ".owner", "none.json", "../second/config.yaml", "%2e%2e/x.json", "a%00.json"):
        assert visitor.get(f"/runs/runs/first/files/{name}").status_code == 404


def test_what_lies_outside_of_a_run_is_not_given_away_by_a_link(first, visitor, tmp_path):
    (tmp_path / "secret.json").write_text("{}")
    (first / "link.json").symlink_to(tmp_path / "secret.json")
    assert visitor.get("/runs/runs/first/files/link.json").status_code == 404


def test_there_is_no_run_of_another_name(first, visitor):
    for path in ("/runs/none", "/runs/runs/none/live", "/api/runs/runs/none", "/api/runs/x/curves"):
        assert visitor.get(path).status_code == 404


def test_a_comparison_is_shown_with_its_arms(root, visitor):
    folder = root / "study"
    folder.mkdir()
    record = {
        "title": "Emoji, twice",
        "seeds": 2,
        "seconds": 10.0,
        "values": {"clip": {"top-1": [50.0, 52.0]}, "cold": {"top-1": [40.0, 41.0]}},
        "chance": {"top-1": 1.0},
        "sentences": ["clip against cold: +10.5 points."],
    }
    (folder / "comparison.json").write_text(json.dumps(record))  # as older ones are
    text = visitor.get("/runs/runs/study").text
    for part in ("Emoji, twice", "+10.5 points", "51.0 %", "chance 1.0"):
        assert part in text
    arms = {"clip": {"role": "method", "note": ""}, "cold": {"role": "baseline", "note": "another temperature"}}
    (folder / "comparison.json").write_text(json.dumps({**record, "arms": arms, "shown": ["top-1"]}))
    text = visitor.get("/runs/runs/study").text
    assert "another temperature" in text
    assert '<tr class="method">' in text
    assert "runs/study" in visitor.get("/runs").text
