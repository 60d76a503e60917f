"""``accord clean`` and ``accord clean apply`` on the command line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from accord.errors import ConfigError


@pytest.fixture
def calls(pipeline, monkeypatch, tmp_path) -> list:
    found = SimpleNamespace(
        path=tmp_path / "out", review=tmp_path / "out" / "review.html", sentences=lambda: ["9 rows judged, 2 doubted"]
    )
    done = SimpleNamespace(path=Path("new.csv"), rows=8, corrected=1, dropped=1, undecided=0, unjudged=2)
    pipeline.answers |= {"clean": found, "apply_decisions": done}
    for name in ("clean", "apply_decisions"):
        monkeypatch.setattr(pipeline, name, pipeline._recorder(name), raising=False)
    return pipeline.calls


def test_data_alone_are_enough(accord_cli, calls) -> None:
    result = accord_cli("clean", "photos.csv", "--text", "title")
    assert result.exit_code == 0, result.output
    (name, given, options) = calls[0]
    assert (name, given) == ("clean", ("photos.csv", None))
    assert options["columns"] == {"text": ["title"]}
    assert "9 rows judged, 2 doubted" in result.stdout
    assert "accord clean apply" in result.stdout


def test_apply_is_a_verb_of_its_own(accord_cli, calls, tmp_path) -> None:
    decisions = tmp_path / "decisions.json"
    decisions.write_text("{}")
    result = accord_cli("clean", "apply", tmp_path, decisions, "--out", "new.csv")
    assert result.exit_code == 0, result.output
    assert calls == [("apply_decisions", (tmp_path, decisions), {"out": Path("new.csv")})]
    assert "8 rows: 1 corrected, 1 dropped, 0 undecided" in result.stdout
    assert "2 of them were not judged" in result.stdout


def test_both_explain_themselves(accord_cli) -> None:
    clean, apply = accord_cli("clean", "--help"), accord_cli("clean", "apply", "--help")
    assert "clean [OPTIONS] {DATA}" in clean.output
    assert "clean apply [OPTIONS] {FOLDER}" in apply.output
    assert "accord clean apply runs/clean-emoji decisions.json" in apply.output


def test_a_method_gets_its_settings_and_an_unknown_run_is_wrong_usage(accord_cli, calls) -> None:
    assert accord_cli("clean", "photos", "--method", "capro", "--set", "training.epochs=2").exit_code == 0
    assert calls[0][2]["settings"] == {"training.epochs": 2}
    assert accord_cli("clean", "photos", "--run", "runs/none").exit_code == 2


def test_an_error_is_one_line(accord_cli, calls, pipeline) -> None:
    pipeline.error = ConfigError("there are no pairs and no labels to judge")
    result = accord_cli("clean", "photos")
    assert result.exit_code == 1
    assert "error: there are no pairs and no labels to judge" in result.output
