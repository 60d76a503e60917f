"""Digests: the papers of the last days on a topic, as a mail to one address or to all who have subscribed."""

from __future__ import annotations

import datetime
import hashlib
import re
import time
from dataclasses import dataclass
from email.message import EmailMessage

from accord.errors import ConfigError
from accord.papers.finding import about, items
from accord.papers.mail import Sender, check_address, check_topic, compose, rendered
from accord.papers.outbox import queue
from accord.papers.store import Paper, Store
from accord.papers.subscriptions import Subscriber, due_subscribers, unsubscribe_token
from accord.papers.trending import ranked

MOST = 20  # papers of a digest
_LATE = 7  # days by which a paper may reach the store later than it appeared, and still be told to subscribers
_GRACE = 6 * 3_600.0  # seconds by which a digest may come early, so that a daily clock does not drift
_UNITS = {"d": 1, "w": 7}


@dataclass(frozen=True)
class Digest:
    """What a digest tells.

    Args:
        topic: what it is about; empty for everything.
        since: from which day on papers are told.
        until: the last day.
        papers: the best first.
        more: how many more there were.
    """

    topic: str
    since: datetime.date
    until: datetime.date
    papers: tuple[Paper, ...]
    more: int

    @property
    def subject(self) -> str:
        """The line above the mail."""
        count = len(self.papers) + self.more
        papers = f"{count} new paper{'' if count == 1 else 's'}"
        return f"{papers} on {self.topic}" if self.topic else papers


def days(text: str) -> int:
    """A number of days as people write it.

    Raises:
        ConfigError: it is none.

    Example:
        >>> days("7d"), days("2w"), days("1")
        (7, 14, 1)
    """
    found = re.fullmatch(r"\s*(\d{1,4})\s*([dw]?)\s*", text.lower())
    if found is None or int(found[1]) == 0:
        raise ConfigError(f"{text!r}: expected a number of days or weeks, such as 7d or 2w")
    return int(found[1]) * _UNITS[found[2] or "d"]


def choose(
    store: Store,
    since: datetime.date,
    topic: str = "",
    most: int = MOST,
    today: datetime.date | None = None,
    told: frozenset[int] = frozenset(),
) -> Digest:
    """The papers of a time that are about a topic, the nearest first; without a topic as they are trending.

    Args:
        store: where papers are.
        since: the first day.
        topic: what about; empty for everything.
        most: how many at most.
        today: the last day; None is today.
        told: numbers of papers to leave out.
    """
    today = today or datetime.datetime.now(datetime.UTC).date()
    topic = check_topic(topic)
    fresh = [item for item in items(store, cards=False) if since <= item.date <= today]
    fresh = [item for item in fresh if item.paper and item.paper.id not in told]
    if topic:
        chosen = [one.item.paper for one in about(topic, fresh)[1] if one.item.paper]
    else:
        chosen = [paper for paper, _ in ranked([item.paper for item in fresh if item.paper], today)]
    return Digest(topic, since, today, tuple(chosen[:most]), len(chosen[most:]))


def as_mail(digest: Digest, sender: Sender, to: str, key: str, token: str = "") -> EmailMessage:
    """A digest as text and HTML.

    Args:
        digest: what it tells.
        sender: from whom.
        to: a checked address.
        key: what the mail is.
        token: by which the reader ends the subscription; empty where there is none.
    """
    link = sender.link("unsubscribe", token) if token else ""
    text, html = rendered("digest", digest=digest, token=token, link=link)
    return compose(sender, to, digest.subject, text, html, key=key, unsubscribe=link)


def as_text(digest: Digest) -> str:
    """A digest for the terminal."""
    return rendered("digest", digest=digest, token="", link="")[0]


def queue_digest(store: Store, digest: Digest, sender: Sender, to: str) -> tuple[str, bool]:
    """Put a digest for one address into the outbox.

    Returns:
        The key of the mail, and whether it is new: the same digest is queued once a day.

    Raises:
        ConfigError: the address is none.
    """
    to = check_address(to)
    what = "\n".join((to.lower(), digest.topic, digest.since.isoformat(), digest.until.isoformat()))
    key = f"once:{hashlib.sha256(what.encode()).hexdigest()[:32]}"
    message = as_mail(digest, sender, to, key)
    with store.transaction() as db:
        return key, queue(db, key, message)


def queue_due(store: Store, sender: Sender, now: float | None = None) -> list[Subscriber]:
    """Put a digest into the outbox for each subscriber for whom one is due and there is something new.

    Nobody is told of a paper twice. Where there is nothing to tell there is no mail, and it stays due.

    Returns:
        Those who get one.
    """
    now = time.time() if now is None else now
    today = datetime.datetime.fromtimestamp(now, datetime.UTC).date()
    return [one for one in due_subscribers(store, now) if _queue_for(store, sender, one, today, now)]


def _queue_for(store: Store, sender: Sender, who: Subscriber, today: datetime.date, now: float) -> bool:
    told = frozenset(row[0] for row in store.rows("SELECT paper FROM told WHERE subscriber = ?", who.id))
    since = today - datetime.timedelta(days=who.every_days + _LATE)
    digest = choose(store, since, who.topic, today=today, told=told)
    if not digest.papers:
        return False
    key = f"digest:{who.id}:{who.issues + 1}"  # two processes at once make the same key, of which one is taken
    message = as_mail(digest, sender, who.address, key, unsubscribe_token(store, who.id))
    with store.transaction() as db:
        still = db.execute("SELECT 1 FROM subscribers WHERE id = ? AND state = 'active'", (who.id,)).fetchone()
        if still is None or not queue(db, key, message, now):
            return False
        due = now + who.every_days * 86_400 - _GRACE
        db.execute("UPDATE subscribers SET issues = issues + 1, next_due = ? WHERE id = ?", (due, who.id))
        lines = [(who.id, paper.id) for paper in digest.papers]
        db.executemany("INSERT OR IGNORE INTO told SELECT ?, id FROM papers WHERE id = ?", lines)
    return True
