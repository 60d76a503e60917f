"""Papers, answers of a search and mails on the terminal, in which nothing is markup."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from accord.papers.finding import Answer, Found
from accord.papers.headline import headline
from accord.papers.outbox import Mail
from accord.papers.store import Paper

_WIDEST = 100  # columns of text
_SUMMARY = 300  # characters of an abstract


def paper_list(papers: Iterable[tuple[Paper, str]]) -> Group:
    """Title, authors, day and votes of papers, each with a remark, such as its score."""
    return Group(*(part for paper, remark in papers for part in _paper(paper, remark)))


def answer_page(answer: Answer) -> Group:
    """What a search found, cards and papers alike, and what was searched with."""
    parts: list[RenderableType] = [part for found in answer.found for part in _found(found)]
    how = f"by {answer.how}"
    if answer.how == "words":
        how += '; for a search by meaning: pip install "accord[weights]"'
    return Group(*parts, Text(how, style="dim"))


def mail_table(mails: Sequence[Mail]) -> Table:
    """Mails of the outbox, a line each."""
    table = Table(box=SIMPLE_HEAD)
    for name in ("mail", "to", "subject", "state", "tries", "since or next", "what was said"):
        table.add_column(name, overflow="fold")
    for mail in mails:
        time = mail.due if mail.state == "pending" else mail.ended or mail.queued
        shown = datetime.datetime.fromtimestamp(time).strftime("%Y-%m-%d %H:%M")
        line = (str(mail.id), mail.recipient, mail.subject, mail.state, str(mail.tries), shown, mail.error)
        table.add_row(*map(Text, line))
    return table


def _paper(paper: Paper, remark: str) -> list[RenderableType]:
    names = ", ".join(paper.authors[:3]) + (f" and {len(paper.authors) - 3} more" if len(paper.authors) > 3 else "")
    votes = f"votes: {paper.votes}" if paper.votes else ""
    facts = " · ".join(part for part in (names, str(paper.date), votes, remark, paper.url) if part)
    title = Text.assemble((f"paper:{paper.id}", "bold cyan"), f"  {paper.title}")
    return [Constrain(title, _WIDEST), _below(Text(facts, style="dim"))]


def _found(found: Found) -> list[RenderableType]:
    item, card = found.item, found.item.card
    nearness = "" if found.cosine is None else f"cosine {found.cosine:.2f}"
    if item.paper:
        return [*_paper(item.paper, nearness), _below(Text(_short(item.summary)))]
    assert card is not None  # an item is of one of them
    source = " · ".join(part for part in (card.citation or card.kind, card.status, nearness) if part)
    parts: list[RenderableType] = [
        Constrain(Text.assemble((card.slug, "bold cyan"), f"  {card.title}"), _WIDEST),
        _below(Text(source, style="dim")),
        _below(Text(_short(card.summary or card.use))),
    ]
    if told := headline(card):
        parts.append(_below(Text(f"{told.says} {told.verdict}", style="dim")))
    return parts


def _short(text: str) -> str:
    return text if len(text) <= _SUMMARY else text[:_SUMMARY].rsplit(" ", 1)[0] + " …"


def _below(text: Text) -> Constrain:
    return Constrain(Padding(text, (0, 0, 0, 4)), _WIDEST)
