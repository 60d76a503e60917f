"""The cards, the pages and the package say of each claim what was found; they and the claims do not fall apart."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from accord.claims.declare import KINDS_OF_DATA
from accord.claims.load import claim_files, loaded
from accord.claims.table import anchor
from accord.papers import list_cards

ROOT = Path(__file__).parents[2]
CLAIMS = ROOT / "claims"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
LINKS = [
    *((card.slug, question) for card in list_cards() for claim in card.claims for question in claim.questions),
    *((path.stem, name) for path in PAGES for name in re.findall(r"\{claim:(.+?)\}", path.read_text("utf-8"))),
]


@pytest.mark.parametrize("slug", claim_files(CLAIMS))
def test_every_link_of_a_card_or_page_leads_to_a_question(slug) -> None:
    with loaded(slug, CLAIMS) as claim:
        asked = {f"{slug}/{question.name}" for question in claim.questions}
    linked = {question for _, question in LINKS if question.startswith(f"{slug}/")}
    assert linked - asked == set(), "cards and pages name questions that the claim does not ask"
    assert len({anchor(name) for name in asked}) == len(asked)
    assert claim.kind_of_data in KINDS_OF_DATA


def test_every_link_names_a_claim() -> None:
    assert {question.partition("/")[0] for _, question in LINKS} - set(claim_files(CLAIMS)) == set()


def test_every_paper_has_been_put_to_the_test() -> None:
    silent = [card.slug for card in list_cards() if card.kind == "paper" and not any(c.questions for c in card.claims)]
    assert [slug for slug in silent if slug in claim_files(CLAIMS)] == []


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "methods").glob("*.md")), ids=lambda path: path.stem)
def test_a_method_page_shows_the_verdicts_and_has_no_figure_without_a_record(path) -> None:
    text = path.read_text(encoding="utf-8")
    assert f"<!-- made from: verdicts of {path.stem} -->" in text
    prose = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S).replace("95 % interval", "interval")
    assert re.findall(r"\d[\d.,]* ?(?:%|points|per cent|percent)", prose) == [], "quote it: {claim:SLUG/QUESTION}"
