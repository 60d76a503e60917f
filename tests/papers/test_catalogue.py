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
    assert {card.slug for card in list_cards() if card.kind != "probe"} == set(registry.available())


@pytest.mark.parametrize("card", list_cards(), ids=lambda card: card.slug)
def test_cards_are_complete_and_their_example_is_of_the_method(card: catalogue.PaperCard) -> None:
    words = shlex.split(card.example)
    assert words[:2] == ["accord", "probe" if card.kind == "probe" else "train"]
    assert card.kind == "probe" or words[words.index("--method") + 1] == card.slug
    assert card.kind == "baseline" or (card.authors and card.year and card.venue and card.url and card.claims)
    assert card.kind != "paper" or len(card.recipe) > 40  # what training.optimizer, lr and the rest are in the paper
    assert all(get_card(slug) and slug != card.slug for slug in card.baselines)


@pytest.mark.parametrize("slug", ["cross-entropy", "Cross_Entropy", " cross_entropy "])
def test_names_are_forgiving(slug: str) -> None:
    assert get_card(slug).slug == "cross_entropy"


def test_unknown_card_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no card 'capr0'; did you mean capro\? There are: capro, cert"):
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
