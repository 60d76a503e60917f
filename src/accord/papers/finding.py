"""Search over cards and imported papers: by meaning, where the packaged text encoder is installed, and by words.

Meaning is the cosine of MiniLM's vectors (extra ``weights``; nothing is downloaded for a search), words are BM25 over
names, titles and summaries (SQLite's full-text index, stemmed). The two orders are joined by reciprocal ranks (Cormack
et al., 2009), so that a name such as "SwAV" is found as well as a description.
"""

from __future__ import annotations

import datetime
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, get_args

from accord.errors import ConfigError, no_such
from accord.papers.catalogue import Modality, PaperCard, Purpose, Status, get_card, list_cards
from accord.papers.store import Paper, Store

FILTERS: dict[str, tuple[str, ...]] = {  # by what cards can be chosen, with all values
    "modality": get_args(Modality),
    "task": get_args(Purpose),
    "status": get_args(Status),
}
How = Literal["meaning and words", "meaning", "words"]
RELATED = 0.3  # cosine from which a text is about a topic; half of the cards lie below 0.25 for a topic of others
_JOINED = 60  # of reciprocal ranks: how little the first places differ


@dataclass(frozen=True)
class Item:
    """Something that can be found: a card, or an imported paper.

    Args:
        name: the card's slug, or ``paper:NUMBER``.
        title: its title.
        summary: a paragraph.
        date: by which it is ordered.
        card: the card, of a card.
        paper: the paper, of an imported one.
    """

    name: str
    title: str
    summary: str
    date: datetime.date
    card: PaperCard | None = None
    paper: Paper | None = None


@dataclass(frozen=True)
class Found:
    """One answer.

    Args:
        item: what was found.
        score: by which answers are ordered; of no meaning beside another search.
        cosine: nearness in meaning; None without the encoder.
        by_words: whether it holds a word that was asked for.
    """

    item: Item
    score: float
    cosine: float | None
    by_words: bool


@dataclass(frozen=True)
class Answer:
    """A page of answers.

    Args:
        how: what was searched with: "words" alone where the text encoder is not installed.
        total: how many answers there are on all pages.
        found: those of this page, the best first.
    """

    how: How
    total: int
    found: tuple[Found, ...]


def items(
    store: Store | None = None,
    modality: str | None = None,
    task: str | None = None,
    status: str | None = None,
    cards: bool = True,
) -> list[Item]:
    """Cards, and the papers of a store, the newest first. An imported paper has neither modality, task nor status.

    Args:
        store: where imported papers are; None for cards alone.
        modality: only what reads it, one of :data:`FILTERS`.
        task: only what is good for it, likewise.
        status: only what is implemented so far, likewise.
        cards: whether cards are among them.

    Raises:
        ConfigError: there is no such modality, task or status.

    Example:
        >>> [item.name for item in items(modality="graph")]
        ['adameow', 'meow']
    """
    for name, value in (("modality", modality), ("task", task), ("status", status)):
        if value is not None and value not in FILTERS[name]:
            raise ConfigError(no_such(name, value, FILTERS[name]))
    chosen = [_of_card(card) for card in list_cards() if cards and _fits(card, modality, task, status)]
    if store is not None and modality is task is status is None:
        chosen += [_of_paper(paper) for paper in store.papers()]
    return sorted(chosen, key=lambda item: item.date, reverse=True)


def find(query: str, among: Sequence[Item], limit: int = 10, offset: int = 0) -> Answer:
    """Search by a description or by words.

    Args:
        query: what is looked for.
        among: what is searched, see :func:`items`.
        limit: how many answers.
        offset: how many are passed over before.

    Raises:
        ConfigError: the query is empty.

    Example:
        >>> find("prototypes for noisy web labels", items(), limit=1).found[0].item.name
        'capro'
    """
    if not query.strip():
        raise ConfigError("nothing is asked for: give words, such as accord papers search 'noisy web labels'")
    return _page(rank(query, among), limit, offset)


def similar(name: str, among: Sequence[Item], limit: int = 5, offset: int = 0) -> Answer:
    """What is nearest to a card, or to an imported paper.

    Args:
        name: a slug, or ``paper:NUMBER`` of one that is in ``among``.
        among: what is searched, see :func:`items`.
        limit: how many answers.
        offset: how many are passed over before.

    Raises:
        ConfigError: there is no such card or paper.

    Example:
        >>> similar("simcse", items(), limit=1).found[0].item.name
        'simcse_supervised'
    """
    own = next((item for item in among if item.name == name), None)
    if own is None and name.startswith("paper:"):
        raise ConfigError(f"no imported paper {name!r}; accord papers list --feed lists them")
    own = own or _of_card(get_card(name))
    others = [item for item in among if item.name != own.name]
    return _page(rank(_text(own), others, alone=True), limit, offset)


def rank(query: str, among: Sequence[Item], alone: bool = False) -> tuple[How, list[Found]]:
    """All that fits a query, the best first: by meaning everything does, by words what holds one of them.

    Args:
        query: what is looked for.
        among: what is searched.
        alone: whether meaning decides alone where there is an encoder: a whole summary shares a word with everything.
    """
    cosines = _cosines(query, [_text(item) if alone else f"{_name(item)}: {_text(item)}" for item in among])
    by_words = [] if alone and cosines is not None else _by_words(query, among)
    places = {row: 1 / (_JOINED + place) for place, row in enumerate(by_words)}
    if cosines is None:
        return "words", [Found(among[row], score, None, True) for row, score in places.items()]
    for place, row in enumerate(sorted(range(len(among)), key=lambda row: -cosines[row])):
        places[row] = places.get(row, 0.0) + 1 / (_JOINED + place)
    worded = set(by_words)
    found = [Found(among[row], score, cosines[row], row in worded) for row, score in places.items()]
    return "meaning" if alone else "meaning and words", sorted(found, key=lambda one: -one.score)


def about(topic: str, among: Sequence[Item]) -> tuple[How, list[Found]]:
    """What is about a topic, the best first: near it in meaning, or, without the encoder, holding a word of it."""
    how, found = rank(topic, among)
    return how, [one for one in found if one.cosine is None or one.cosine >= RELATED]


def _page(ranked: tuple[How, list[Found]], limit: int, offset: int) -> Answer:
    how, found = ranked
    return Answer(how, len(found), tuple(found[offset : offset + limit]))


def _fits(card: PaperCard, modality: str | None, task: str | None, status: str | None) -> bool:
    asked = ((modality, card.modalities), (task, card.tasks), (status, (card.status,)))
    return all(value is None or value in has for value, has in asked)


def _of_card(card: PaperCard) -> Item:
    return Item(card.slug, card.title, " ".join(filter(None, (card.summary, card.use))), card.shown, card=card)


def _of_paper(paper: Paper) -> Item:
    return Item(f"paper:{paper.id}", paper.title, paper.abstract, paper.date, paper=paper)


def _text(item: Item) -> str:
    return f"{item.title}. {item.summary}"


def _name(item: Item) -> str:
    """A card's name in words; a paper has none."""
    return item.name.replace("_", " ") if item.card else ""


def _by_words(query: str, among: Sequence[Item]) -> list[int]:
    """Rows that hold a word of the query, the best first."""
    from accord.data.augmenting.text_views import STOP_WORDS

    words = dict.fromkeys(re.findall(r"\w+", query.replace("_", " ").lower()))
    asked = " OR ".join(f'"{word}"' for word in words if word not in STOP_WORDS)
    if not asked:
        return []
    lines = [(row, _name(item), item.title, item.summary) for row, item in enumerate(among)]
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE VIRTUAL TABLE told USING fts5 (name, title, summary, tokenize = 'porter unicode61')")
        db.executemany("INSERT INTO told (rowid, name, title, summary) VALUES (?, ?, ?, ?)", lines)
        order = "bm25(told, 9.0, 3.0, 1.0), rowid"  # what a name or a title holds counts more
        return [row for (row,) in db.execute(f"SELECT rowid FROM told WHERE told MATCH ? ORDER BY {order}", (asked,))]


def _cosines(query: str, texts: Sequence[str]) -> list[float] | None:
    """Nearness of each text to the query; None without the encoder."""
    from accord.papers.vectors import encoder, kept_vectors  # imports torch: only when something is looked for

    embed = encoder()
    if embed is None:
        return None
    if not texts:
        return []
    return [float(cosine) for cosine in kept_vectors(texts, embed) @ embed([query])[0]]
