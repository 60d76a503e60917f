"""What the documentation's hook puts into pages."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from accord.claims.overview import Line
from accord.papers.catalogue import get_card
from accord.papers.verdicts import UNMEASURED

pytest.importorskip("mkdocs")
ROOT = Path(__file__).parent.parent
FOUND = {"answer": "does not hold", "verdict": "worse", "effect": -1.6, "low": -2.8, "high": -0.4, "unit": "points"}
LINES = {
    "swav/queue": Line("swav", "queue", "A queue helps.", "real", FOUND, 5, "abc", ""),
    "swav/smoothness": Line("swav", "smoothness", "ε matters.", "real", None, 5, "", UNMEASURED),
    "swav/old": Line("swav", "old", "So it was.", "real", FOUND, 5, "abc", "stale (declaration)"),
}


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``docs/hooks.py``, which knows of three questions."""
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "lines", lambda: LINES)
    return module


def filled(hooks: ModuleType, markdown: str, uri: str = "methods/swav.md") -> str:
    return hooks.on_page_markdown(markdown, page=SimpleNamespace(file=SimpleNamespace(src_uri=uri)))


def test_a_sentence_quotes_what_was_found_with_a_link(hooks) -> None:
    assert filled(hooks, "A queue: {claim:swav/queue}.") == (
        'A queue: [<span class="verdict fails">does not hold</span> (worse) -1.6 [-2.8, -0.4] points, seeds: 5]'
        "(../claims.md#swav-queue)."
    )
    assert "](claims.md#swav-queue)" in filled(hooks, "{claim:swav/queue}", "evaluation.md")


def test_what_was_not_measured_or_is_stale_says_so(hooks) -> None:
    assert f">{UNMEASURED}</span>](../claims.md#swav-smoothness)" in filled(hooks, "{claim:swav/smoothness}")
    assert "seeds: 5, stale](" in filled(hooks, "{claim:swav/old}")


def test_a_question_that_no_claim_asks_stops_the_build(hooks) -> None:
    with pytest.raises(Exception, match="no claim asks 'swav/moon'; accord claims list --check lists all questions"):
        filled(hooks, "{claim:swav/moon}")


def test_a_page_lists_the_claims_of_a_card_with_verdicts(hooks, monkeypatch) -> None:
    claims = [{"says": "Queues help.", "questions": ["swav/queue", "swav/smoothness"]}, "It is fast."]
    card = hooks.PaperCard.parse({**get_card("swav").model_dump(), "claims": claims})
    monkeypatch.setattr(hooks, "list_cards", lambda: [card])
    first, queue, smoothness, last = filled(hooks, "<!-- made from: verdicts of swav -->").splitlines()
    assert first == "- Queues help."
    assert queue.startswith("    - [<span")
    assert queue.endswith(" A queue helps.")
    assert UNMEASURED in smoothness
    assert last == "- It is fast. *Not measured: no claim asks for it.*"


def test_a_page_shows_a_benchmark_or_says_that_it_was_not_measured(hooks, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(hooks, "MEASURED", tmp_path)
    assert filled(hooks, "<!-- made from: benchmark of speed -->") == (
        "*Not measured yet: `python benchmarks/speed.py` does it.*"
    )
    record = {
        "benchmark": "speed",
        "machine": {"cores": 2},
        "versions": {"torch": "2"},
        "rows": [{"what": "a", "s": 1.5}],
    }
    (tmp_path / "speed.json").write_text(json.dumps(record))
    shown = filled(hooks, "<!-- made from: benchmark of speed -->")
    assert "| a | 1.5 |" in shown
    assert "cores: 2" in shown
    assert "##" not in shown


def test_the_import_of_every_dependency_was_measured(hooks) -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert "made from: import of" in text
    assert "made from: import of" not in filled(hooks, text, "dependencies.md")
