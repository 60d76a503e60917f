"""Cards on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from accord.papers.catalogue import PaperCard, Setting


def card_table(cards: Iterable[PaperCard]) -> Table:
    """One line per card."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("method", style="cyan", no_wrap=True)
    table.add_column("paper", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("what it is for")
    for card in cards:
        table.add_row(card.slug, card.citation or card.kind, card.status, Text(card.use))
    return table


def card_page(card: PaperCard, settings: Sequence[Setting]) -> Group:
    """Everything on one card, with the method's settings."""
    heading = Text(card.title, style="bold")
    facts = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    facts.add_column(style="cyan", no_wrap=True)
    facts.add_column()
    for name, value in _facts(card):
        facts.add_row(name, Text(value))
    parts: list[RenderableType] = [heading, "", facts]
    parts += _section("Settings", [_settings_table(settings)] if settings else [])
    parts += _section("Traps", [_item(trap) for trap in card.traps])
    parts += _section("Claims", [_item(claim) for claim in card.claims])
    parts += _section("Example", [Padding(Text(card.example, style="green"), (0, 0, 0, 2))])
    return Group(*parts)


def _facts(card: PaperCard) -> list[tuple[str, str]]:
    facts = [
        ("paper", card.citation),
        ("read it at", card.url),
        ("for", card.use),
        ("takes", card.inputs),
        ("gives", card.gives),
        ("status", card.status),
        ("measured against", ", ".join(card.baselines)),
    ]
    return [(name, value) for name, value in facts if value]


def _section(title: str, body: list[RenderableType]) -> list[RenderableType]:
    return ["", Text(title, style="bold"), *body] if body else []


def _item(text: str) -> Padding:
    grid = Table.grid(padding=(0, 1))
    grid.add_row("•", Text(text))
    return Padding(grid, (0, 0, 0, 2))


def _settings_table(settings: Sequence[Setting]) -> Padding:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("setting", "default", "allowed", "meaning"):
        table.add_column(column, no_wrap=column == "setting")
    for setting in settings:
        parts = (setting.name, setting.default, setting.allowed, setting.description)
        table.add_row(*(Text(part) for part in parts))  # as text: brackets are no markup
    return Padding(table, (0, 0, 0, 2))
