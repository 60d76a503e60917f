from __future__ import annotations

import shlex
from typing import Literal

import pytest
from pydantic import Field

from accord.config import Config
from accord.errors import ConfigError
from accord.methods import registry
from accord.papers import catalogue
from accord.papers.catalogue import get_card, list_cards, settings_of


class Inner(Config):
    width: int = Field(8, ge=1, le=64, description="units")


class Outer(Config):
    rate: float = Field(0.1, gt=0, lt=1, description="learning rate")
    kind: Literal["mean", "max"] = Field("mean", description="how to pool")
    sizes: tuple[int, ...] = Field((1, 2), description="sizes")
    on: bool = Field(True, description="switch")
    ema: float | None = Field(None, description="decay")
    inner: Inner = Inner()


class FakeMethod:
    Config = Outer


def test_every_registered_method_has_a_card() -> None:
    assert {card.slug for card in list_cards() if card.is_method} == set(registry.available())


@pytest.mark.parametrize("card", list_cards(), ids=lambda card: card.slug)
def test_cards_are_complete_and_their_example_is_of_the_method(card: catalogue.PaperCard) -> None:
    words = shlex.split(card.example)
    assert words[:2] == ([] if card.status == "planned" else ["accord", "probe" if card.kind == "probe" else "train"])
    assert not card.is_method or words[words.index("--method") + 1] == card.slug
    assert card.modalities
    assert card.tasks
    assert all(get_card(slug) and slug != card.slug for slug in card.baselines)


@pytest.mark.parametrize("card", [card for card in list_cards() if card.kind != "baseline"], ids=lambda card: card.slug)
def test_a_card_of_a_paper_says_where_it_is_from_and_how_it_works(card: catalogue.PaperCard) -> None:
    assert card.authors
    assert card.year
    assert card.venue
    assert card.url.startswith("https://")
    assert 100 < len(card.summary) < 600
    assert card.claims or card.kind == "survey" or card.status == "planned"
    assert card.kind != "paper" or card.status == "planned" or len(card.recipe) > 40  # the paper's optimiser and rates


def test_the_settings_of_a_card_without_a_method_are_none() -> None:
    others = [card.slug for card in list_cards() if not card.is_method]
    assert len(others) > 1
    assert [slug for slug in others if settings_of(slug)] == []


def test_a_card_without_a_command_has_to_be_planned_and_a_planned_one_has_none() -> None:
    facts = {"slug": "new", "title": "New", "use": "u", "inputs": "i", "gives": "g"}
    assert catalogue.PaperCard.parse({**facts, "status": "planned"}).example == ""
    for wrong in ({}, {"status": "planned", "example": "accord train x --method new"}):
        with pytest.raises(ConfigError, match="the card new needs an example, or the status planned"):
            catalogue.PaperCard.parse({**facts, **wrong})


@pytest.mark.parametrize("slug", ["cross-entropy", "Cross_Entropy", " cross_entropy "])
def test_names_are_forgiving(slug: str) -> None:
    assert get_card(slug).slug == "cross_entropy"


def test_unknown_card_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no card 'capr0'; did you mean capro\? There are: ape, brivis"):
        get_card("capr0")


def test_settings_are_read_from_the_config_of_the_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "get_method", lambda name: FakeMethod)
    rows = {setting.name: (setting.default, setting.allowed) for setting in settings_of("clip")}
    assert rows == {
        "rate": ("0.1", "> 0, < 1"),
        "kind": ("mean", "mean | max"),
        "sizes": ("[1, 2]", ""),
        "on": ("true", "true | false"),
        "ema": ("none", ""),
        "inner.width": ("8", "≥ 1, ≤ 64"),
    }
