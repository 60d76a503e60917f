"""What the package knows of measured claims."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from accord.claims.load import claim_files
from accord.claims.record import read_records
from accord.papers.verdicts import Verdict, shipped_verdicts, verdicts_of

ROOT = Path(__file__).parents[2]
RECORD = {
    "format": 2,
    "slug": "toy",
    "seeds": [1, 2, 3],
    "commit": "abc",
    "kind_of_data": "real",
    "arms": {"one": {"values": {"top-1": [3.0, 4.0, 5.0]}}, "both": {"of": ["one"]}},
    "questions": [
        {
            "name": "gain",
            "statement": "It gains.",
            "answer": "holds",
            "verdict": "better",
            "metric": "top-1",
            "effect": 2.0,
            "low": 1.0,
            "high": 3.0,
            "unit": "points",
        }
    ],
}


@pytest.fixture
def tool() -> ModuleType:
    """``tools/verdicts.py``."""
    spec = importlib.util.spec_from_file_location("verdicts_tool", ROOT / "tools" / "verdicts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_record_is_told_in_short() -> None:
    expected = Verdict("It gains.", "holds", "better", "+2 [+1, +3] points", 3, "real", "abc")
    assert verdicts_of(RECORD) == {"toy/gain": expected}


def test_the_package_and_the_readme_say_what_the_records_say(tool) -> None:
    remedy = "run tools/verdicts.py"
    assert tool.SUMMARY.read_text(encoding="utf-8") == tool.summary(), remedy
    readme = tool.README.read_text(encoding="utf-8")
    assert readme == tool.with_results(readme), remedy
    assert dict(shipped_verdicts()) == tool.found()


def test_the_readme_has_one_statement_of_every_claim(tool) -> None:
    assert tool.FRONT.keys() == claim_files(ROOT / "claims").keys(), "name a question of it in FRONT"
    measured = {record["slug"] for record in read_records(tool.RESULTS)}
    assert {f"{slug}/{tool.FRONT[slug]}" for slug in measured} <= tool.found().keys()


@pytest.mark.parametrize("records", ["none", "one", "an older one"])
def test_the_readme_is_made_from_whatever_records_there_are(tool, tmp_path, monkeypatch, records) -> None:
    monkeypatch.setattr(tool, "RESULTS", tmp_path)
    monkeypatch.setattr(tool, "DEMO", "toy")
    monkeypatch.setattr(tool, "FRONT", {"toy": "gain"})
    record = dict(RECORD) if records == "one" else {key: RECORD[key] for key in ("slug", "seeds", "arms", "questions")}
    if records != "none":
        (tmp_path / "toy.json").write_text(json.dumps(record))
    before = tool.README.read_text(encoding="utf-8")
    text = tool.with_results(before)
    assert tool.with_results(text) == text
    assert ("| one | 4.0 ± 2.5 |" in text) == (records != "none")
    assert ("- It gains. **holds**: +2 [+1, +3] points" in text) == (records == "one")
    assert ("| `toy` | It gains. | **holds** | +2 [+1, +3] points | 1 hold |" in text) == (records == "one")
    assert ("No claim has been measured by this version yet." in text) == (records != "one")
    assert text.partition("## Installing")[2] == before.partition("## Installing")[2]
