"""Cards on the terminal, readable from 60 columns on; wider ones do not make longer lines than a book has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from accord.papers.catalogue import CardClaim, PaperCard, Setting
from accord.papers.verdicts import UNMEASURED, shipped_verdicts

_WIDEST = 100  # columns of text
_CLAIMS = "Claims, and what measuring them gave (more: accord claims list, docs/claims.md)"
_STYLES = {"holds": "green", "does not hold": "bold red"}
_COMMAND = 54  # columns after which a command goes on in the next line


def card_list(cards: Iterable[PaperCard]) -> Group:
    """A line and a paragraph per card: name, paper, and what it is for."""
    parts: list[RenderableType] = []
    for card in cards:
        source = card.citation or card.kind
        status = "" if card.status == "ready" else f" ({card.status})"
        parts.append(Text.assemble((card.slug, "bold cyan"), (f"  {source}{status}", "dim")))
        parts.append(Constrain(Padding(Text(card.use), (0, 0, 0, 4)), _WIDEST))
    return Group(*parts)


def card_page(card: PaperCard, settings: Sequence[Setting]) -> Constrain:
    """Everything on one card, with the method's settings."""
    heading = Text(card.title, style="bold")
    facts = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    facts.add_column(style="cyan", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(card):
        facts.add_row(name, Text(value))
    parts: list[RenderableType] = [heading, "", facts]
    parts += _section("Settings", [_settings_table(settings)] if settings else [])
    parts += _section("Traps", [_item(trap) for trap in card.traps])
    parts += _section(_CLAIMS, [_item(_with_verdicts(claim)) for claim in card.claims])
    example: list[RenderableType] = (
        [Padding(Text(_in_lines(card.example), style="green"), (0, 0, 0, 2))] if card.example else []
    )
    parts += _section("Example", example)
    return Constrain(Group(*parts), _WIDEST)


def _facts(card: PaperCard) -> list[tuple[str, str]]:
    facts = [
        ("paper", card.citation),
        ("read it at", card.url),
        ("its code", card.code),
        ("for", card.use),
        ("how", card.summary),
        ("takes", card.inputs),
        ("gives", card.gives),
        ("the paper trains", card.recipe),
        ("status", card.status),
        ("measured against", ", ".join(card.baselines)),
    ]
    return [(name, value) for name, value in facts if value]


def _section(title: str, body: list[RenderableType]) -> list[RenderableType]:
    return ["", Text(title, style="bold"), *body] if body else []


def _with_verdicts(claim: CardClaim) -> Text:
    """The sentence, and below it the answer to each question that was put to it."""
    lines, known = [Text(claim.says)], shipped_verdicts()
    for question in claim.questions:
        if found := known.get(question):
            asked = (f" · {question}: {found.statement}", "dim")
            lines.append(Text.assemble((str(found), _STYLES.get(found.answer, "")), asked))
    if missing := [question for question in claim.questions if question not in known]:
        lines.append(Text(f"{UNMEASURED}: {'; '.join(missing)}", style="dim"))
    if not claim.questions:
        lines.append(Text("not measured: no claim asks for it", style="dim"))
    return Text("\n").join(lines)


def _item(text: str | Text) -> Padding:
    grid = Table.grid(padding=(0, 1))
    grid.add_row("•", Text(text) if isinstance(text, str) else text)
    return Padding(grid, (0, 0, 0, 2))


def _settings_table(settings: Sequence[Setting]) -> Padding:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("setting", no_wrap=True)
    table.add_column("default", overflow="fold")
    table.add_column("meaning, and what is allowed")
    for setting in settings:
        allowed = Text(f" ({_together(setting.allowed)})" if setting.allowed else "", style="dim")
        # as text: brackets are no markup
        table.add_row(Text(setting.name), Text(setting.default), Text(setting.description) + allowed)
    return Padding(table, (0, 0, 0, 2))


def _together(allowed: str) -> str:
    """A range whose bounds no line break takes from their signs."""
    return re.sub("([≥≤><]) ", "\\1\N{NO-BREAK SPACE}", allowed)


def _in_lines(command: str) -> str:
    r"""A command that a shell takes as it stands, in lines that fit a narrow terminal.

    >>> print(_in_lines("accord train pack:emoji --method clip --epochs 3 --out runs/clip"))
    accord train pack:emoji --method clip --epochs 3 \
      --out runs/clip
    """
    lines = [""]
    words = [shlex.quote(word) for word in shlex.split(command)]
    for number, word in enumerate(words):
        follower = words[number + 1 : number + 2] if word.startswith("-") else []  # an option and its value
        if lines[-1] and len(" ".join([lines[-1], word, *follower])) > _COMMAND:
            lines.append(f"  {word}")
        else:
            lines[-1] = f"{lines[-1]} {word}".lstrip() if len(lines) == 1 else f"{lines[-1]} {word}"
    return " \\\n".join(lines)
