"""Cards: what a method is for, what it takes, and what to watch out for.

A card is a YAML file in ``cards/``. It holds what a person has to write down; the settings and their defaults are
taken from the method's ``Config`` when asked for, so that they cannot drift apart. A method of another package may
bring its card by the entry point ``accord.cards``. Papers that are to come have a card too, with the status
``planned``: no method answers to their names yet.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Self, get_args, get_origin

import yaml
from pydantic import Field, model_validator
from pydantic.fields import FieldInfo

from accord.config import Config
from accord.errors import ConfigError, no_such
from accord.plugins import find_plugin, plugin_names

Modality = Literal["image", "text", "video", "audio", "sequence", "graph"]
Purpose = Literal[
    "retrieval",
    "classification",
    "zero-shot",
    "representation",
    "captioning",
    "question answering",
    "segmentation",
    "detection",
    "tracking",
    "grounding",
    "noisy labels",
    "discovery",
    "generation",
    "explanation",
    "diagnosis",
]
Status = Literal["ready", "partial", "planned"]

_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


class CardClaim(Config):
    """One thing that has to be true, and the questions that were put to it; a plain string is one without."""

    says: str = Field(description="the sentence")
    questions: tuple[str, ...] = Field((), description="the claims' questions that ask for it, such as capro/purity")

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"says": value} if isinstance(value, str) else value


class PaperCard(Config):
    """One method: its paper, its use and its traps."""

    slug: str = Field(description="short name; also the method's registry name, unless nothing is trained")
    title: str = Field(description="title of the paper, or what the baseline is")
    kind: Literal["paper", "baseline", "plugin", "probe", "survey"] = Field(
        "paper",
        description="a published method, a yardstick for one, a method of another package, a way to look at models, or "
        "an overview of several methods",
    )
    authors: str = Field("", description="first author et al.")
    author_count: int | None = Field(None, ge=1, description="how many authors there are")
    year: int | None = Field(None, description="year of publication")
    venue: str = Field("", description="where it was published")
    url: str = Field("", description="where to read the paper")
    code: str = Field("", description="where the authors' code lies")
    date: datetime.date | None = Field(None, description="day on which the paper was first shown")
    modalities: tuple[Modality, ...] = Field((), description="what it reads")
    tasks: tuple[Purpose, ...] = Field((), description="what it is good for, in words that the catalogue is sorted by")
    summary: str = Field("", description="how it works, in one paragraph")
    use: str = Field(description="what it is for, in words of someone who has data and a wish")
    inputs: str = Field(description="what a training row must hold")
    gives: str = Field(description="what the trained model can do")
    recipe: str = Field("", description="optimiser, rates and length of the paper's training; passed in, never assumed")
    status: Status = Field("ready", description="how much of it is implemented")
    example: str = Field("", description="a command that runs as printed; none while it is planned")
    baselines: tuple[str, ...] = Field((), description="slugs of what it is measured against")
    traps: tuple[str, ...] = Field((), description="what goes wrong silently, and what we do about it")
    claims: tuple[CardClaim, ...] = Field((), description="what has to be true for the method to be worth its cost")

    @property
    def citation(self) -> str:
        """Authors, venue and year on one line; empty for a baseline without a paper.

        >>> get_card("clip").citation
        'Radford et al., ICML 2021'
        """
        where = " ".join(part for part in (self.venue, str(self.year or "")) if part)
        return ", ".join(part for part in (self.authors, where) if part)

    @property
    def is_method(self) -> bool:
        """Whether a method of its name can be trained.

        >>> get_card("clip").is_method, get_card("ape").is_method, get_card("dynamic_reflections").is_method
        (True, False, False)
        """
        return self.status != "planned" and self.kind not in ("probe", "survey")

    @property
    def shown(self) -> datetime.date:
        """The day by which cards are ordered: the date, else the first of the year; long ago where neither is known.

        >>> get_card("clip").shown, get_card("cert").shown
        (datetime.date(2021, 2, 26), datetime.date(2020, 1, 1))
        """
        return self.date or datetime.date(self.year or datetime.MINYEAR, 1, 1)

    @model_validator(mode="after")
    def _can_be_tried(self) -> Self:
        if bool(self.example) == (self.status == "planned"):
            raise ValueError(f"the card {self.slug} needs an example, or the status planned and none")
        return self


@dataclass(frozen=True)
class Setting:
    """One setting of a method, as its ``Config`` declares it.

    Args:
        name: what to write after ``--set method.``.
        default: the default as text.
        allowed: range or choices as text, empty when anything of the type goes.
        description: one line.
    """

    name: str
    default: str
    allowed: str
    description: str


@cache
def _cards() -> dict[str, PaperCard]:
    folder = files("accord.papers") / "cards"
    texts = [entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    cards = [PaperCard.parse(yaml.safe_load(text)) for text in texts]
    return {card.slug: card for card in sorted(cards, key=lambda card: (card.kind == "baseline", card.slug))}


def list_cards() -> list[PaperCard]:
    """All cards: papers first, then baselines, then methods of other packages, each in alphabetical order.

    >>> [card.slug for card in list_cards() if card.kind == "paper"][:3]
    ['ape', 'brivis', 'camouflaged_diffusion_seg']
    """
    cards = _cards()
    return [*cards.values(), *(_plugin_card(name) for name in plugin_names("methods") if name not in cards)]


def get_card(slug: str) -> PaperCard:
    """The card called ``slug``; upper and lower case, ``-`` and ``_`` are the same.

    Raises:
        ConfigError: there is no such card; suggests the nearest and lists all.

    Example:
        >>> get_card("CLIP").venue
        'ICML'
        >>> get_card("capo")
        Traceback (most recent call last):
        accord.errors.ConfigError: no card 'capo'; did you mean capro? There are: ...
    """
    cards = _cards()
    wanted = _plain(slug)
    if wanted in cards:
        return cards[wanted]
    others = plugin_names("methods")
    found = next((name for name in others if _plain(name) == wanted), None)
    if found is None:
        raise ConfigError(no_such("card", slug, [*cards, *others]))
    return _plugin_card(found)


def _plain(slug: str) -> str:
    return slug.strip().lower().replace("-", "_")


def _plugin_card(name: str) -> PaperCard:
    """The card that a method's package brings, or one that says that it brings none."""
    plain = PaperCard(
        slug=name,
        title=f"{name}, a method of another package",
        kind="plugin",
        use="Its package has no card for it.",
        inputs="see its package",
        gives="see its package",
        example=f"accord train YOUR_FOLDER --method {name}",
    )
    try:
        card = find_plugin("cards", name)
        if card is None:
            return plain
        return PaperCard.parse(
            {"kind": "plugin", **card, "slug": name} if isinstance(card, Mapping) else card, at="card"
        )
    except ConfigError as error:  # the others have to be readable all the same
        return plain.model_copy(update={"use": str(error)})


def settings_of(slug: str) -> list[Setting]:
    """The settings of the method ``slug`` with their defaults, read from its ``Config``; none where nothing is trained.

    A card that is planned, a survey or a way to look at models has no settings.

    Nested configurations are written with dots, as ``--set method.NAME=VALUE`` takes them.

    Raises:
        ConfigError: there is no such card.

    Example:
        >>> [setting.default for setting in settings_of("clip") if setting.name == "temperature"]
        ['0.07']
    """
    from accord.methods.registry import get_method  # imports torch: only when a card is asked for its settings

    card = get_card(slug)
    return list(_settings(get_method(card.slug).Config, prefix="")) if card.is_method else []


def _settings(config: type[Config], prefix: str) -> Iterator[Setting]:
    for name, field in config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            yield from _settings(field.annotation, f"{prefix}{name}.")
        else:
            default = _as_text(field.get_default(call_default_factory=True))
            yield Setting(f"{prefix}{name}", default, _allowed(field), field.description or "")


def _as_text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_as_text(item) for item in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _allowed(field: FieldInfo) -> str:
    """Range or choices of a field: ``"> 0, ≤ 1"`` or ``"mean | max"``."""
    if get_origin(field.annotation) is Literal:
        return " | ".join(_as_text(choice) for choice in get_args(field.annotation))
    if field.annotation is bool:
        return "true | false"
    bounds = (
        f"{sign} {_as_text(getattr(rule, name))}"
        for rule in field.metadata
        for name, sign in _BOUNDS.items()
        if getattr(rule, name, None) is not None
    )
    return ", ".join(bounds)
