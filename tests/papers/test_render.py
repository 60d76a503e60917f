from __future__ import annotations

import itertools
import shlex

import pytest
from rich.console import Console

from accord.papers import render
from accord.papers.catalogue import PaperCard, Setting, get_card, list_cards, settings_of
from accord.papers.render import card_list, card_page
from accord.papers.verdicts import Verdict


def printed(renderable: object, width: int = 200) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_list_is_a_paragraph_per_card_at_any_width(width) -> None:
    lines = printed(card_list(list_cards()), width).splitlines()
    for card in list_cards():
        start = next(place for place, line in enumerate(lines) if line.startswith(f"{card.slug}  "))
        assert (card.citation or "baseline") in lines[start]
        paragraph = list(itertools.takewhile(lambda line: line.startswith("    "), lines[start + 1 :]))
        assert " ".join(" ".join(paragraph).split()) == " ".join(card.use.split())
        assert len(paragraph) <= 1 + len(card.use) // (0.7 * (min(width, 100) - 4))  # no narrow column
    assert max(map(len, lines)) <= min(width, 100)


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("slug", ["capro", "improved_vlp_baselines"])
def test_a_page_cuts_nothing_off_at_any_width(width, slug) -> None:
    card, settings = get_card(slug), settings_of(slug)
    text = printed(card_page(card, settings), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= min(width, 100)
    assert [setting.name for setting in settings if f"  {setting.name} " not in text] == []


@pytest.mark.parametrize("card", [card for card in list_cards() if card.example], ids=lambda card: card.slug)
def test_the_example_can_be_pasted_into_a_shell(card) -> None:
    text = printed(card_page(card, []), width=60)
    lines = text[text.rindex("Example") :].splitlines()[1:]
    assert all(line.rstrip().endswith("\\") for line in lines[:-1])
    assert shlex.split(" ".join(line.rstrip().removesuffix("\\") for line in lines)) == shlex.split(card.example)


def test_page_shows_facts_settings_traps_and_claims() -> None:
    card = get_card("capro")
    text = " ".join(printed(card_page(card, [Setting("temperature", "0.1", "> 0", "softmax")]), width=300).split())
    for part in (
        card.title,
        card.url,
        card.use,
        card.inputs,
        card.gives,
        card.recipe,
        *card.traps,
        *(claim.says for claim in card.claims),
    ):
        assert " ".join(part.split()) in text
    assert "temperature 0.1 softmax (> 0)" in text


def test_square_brackets_are_not_taken_for_markup() -> None:
    text = printed(card_page(get_card("clip"), [Setting("scale", "[0.9, 1]", "", "range [low, high]")]))
    assert "[0.9, 1]" in text
    assert "range [low, high]" in text


def test_what_was_found_stands_below_each_claim(monkeypatch) -> None:
    known = {
        "a/one": Verdict("One is higher.", "does not hold", "worse", "-1.6 [-2.8, -0.4] points", 10),
        "a/two": Verdict("Two is higher.", "holds", "better", "+2 [+1, +3] points", 5),
    }
    monkeypatch.setattr(render, "shipped_verdicts", lambda: known)
    claims = [{"says": "It is better.", "questions": ["a/one", "a/two", "a/three"]}, "It is faster."]
    card = PaperCard.parse({**get_card("clip").model_dump(), "claims": claims})
    text = printed(card_page(card, []), width=100)
    told = " ".join(text[text.index("It is better.") :].split())
    assert told.startswith(
        "It is better. does not hold (worse): -1.6 [-2.8, -0.4] points, seeds: 10 · a/one: One is higher. "
        "holds (better): +2 [+1, +3] points, seeds: 5 · a/two: Two is higher. not measured yet: a/three "
        "• It is faster. not measured: no claim asks for it"
    )


def test_a_claim_of_a_card_may_be_a_plain_sentence() -> None:
    card = PaperCard.parse({**get_card("clip").model_dump(), "claims": ["It is faster."]})
    assert (card.claims[0].says, card.claims[0].questions) == ("It is faster.", ())
