from __future__ import annotations

from rich.console import Console

from accord.papers.catalogue import Setting, get_card, list_cards
from accord.papers.render import card_page, card_table


def printed(renderable: object, width: int = 200) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_list_has_one_line_per_card_at_full_width() -> None:
    text = printed(card_table(list_cards()), width=400)
    assert len(text.splitlines()) == len(list_cards()) + 1
    assert "Qin et al., NeurIPS 2023" in text


def test_page_shows_facts_settings_traps_and_claims() -> None:
    card = get_card("capro")
    text = " ".join(printed(card_page(card, [Setting("temperature", "0.1", "> 0", "softmax")]), width=300).split())
    for part in (card.title, card.url, card.use, card.inputs, card.gives, *card.traps, *card.claims, card.example):
        assert " ".join(part.split()) in text
    assert "temperature 0.1 > 0 softmax" in text


def test_square_brackets_are_not_taken_for_markup() -> None:
    text = printed(card_page(get_card("clip"), [Setting("scale", "[0.9, 1]", "", "range [low, high]")]))
    assert "[0.9, 1]" in text
    assert "range [low, high]" in text
