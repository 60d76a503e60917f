"""Who gets a digest by mail: asked for, confirmed by a link in a mail, and ended by another with one click.

Links carry tokens that the store's key signs. That of a confirmation also carries a random number, of which the store
keeps the hash alone; it is good for a week and once. Who ends a subscription is forgotten, with the address.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import sqlite3
import time
from dataclasses import dataclass
from typing import Literal

from accord.errors import ConfigError
from accord.papers.mail import Sender, check_address, check_topic, compose, rendered
from accord.papers.outbox import queue
from accord.papers.store import Store

Asked = Literal["mail queued", "asked lately", "subscribed already"]
_GOOD_FOR = 7 * 86_400.0  # seconds to confirm in
_BETWEEN = 3_600.0  # seconds between two confirmations for an address, so that nobody is flooded
_COLUMNS = "id, address, topic, every_days, state, issues, next_due"


@dataclass(frozen=True)
class Subscriber:
    """Somebody who gets a digest, or has been asked whether to.

    Args:
        id: their number.
        address: where it is sent.
        topic: what it is about; empty for everything.
        every_days: how often.
        state: "asked" or "active".
        issues: how many digests there were.
        next_due: when the next one is due, in seconds since 1970; None before the confirmation.
    """

    id: int
    address: str
    topic: str
    every_days: int
    state: Literal["asked", "active"]
    issues: int
    next_due: float | None


def subscribe(
    store: Store, address: str, sender: Sender, topic: str = "", every_days: int = 7, now: float | None = None
) -> Asked:
    """Ask an address whether it wants a digest; nothing else is sent to it before its confirmation.

    A page should answer the same whatever comes back, so that nobody learns who has subscribed.

    Args:
        store: where subscribers are kept.
        address: who.
        sender: from whom the mail is, and where its link leads.
        topic: what about; empty for everything.
        every_days: how often, 1 to 90.
        now: the time; None is now.

    Returns:
        "mail queued" (:func:`accord.papers.outbox.send_due` sends it), "asked lately" within an hour, or "subscribed
        already", in which cases there is no mail.

    Raises:
        ConfigError: address, topic or number of days cannot be.
    """
    address, topic = check_address(address), check_topic(topic)
    if not 1 <= every_days <= 90:
        raise ConfigError(f"a digest every {every_days} days: expected 1 to 90")
    now, key, nonce = time.time() if now is None else now, store.key(), secrets.token_urlsafe(24)
    with store.transaction() as db:
        known = db.execute("SELECT * FROM subscribers WHERE address = ?", (address,)).fetchone()
        if known and known["state"] == "active":
            return "subscribed already"
        if known and now - known["asked"] < _BETWEEN:
            return "asked lately"
        if known:
            db.execute("DELETE FROM subscribers WHERE id = ?", (known["id"],))
        values = (address, topic, every_days, "asked", _hash(nonce), now)
        number = db.execute(
            "INSERT INTO subscribers (address, topic, every_days, state, nonce_hash, asked) VALUES (?, ?, ?, ?, ?, ?)",
            values,
        ).lastrowid
        token = _signed(key, "c", str(number), nonce)
        told = {"topic": topic, "every_days": every_days, "token": token, "link": sender.link("confirm", token)}
        text, html = rendered("confirm", **told)
        name = f"confirm:{number}"
        queue(db, name, compose(sender, address, "Please confirm your digest of papers", text, html, key=name), now)
    return "mail queued"


def confirm(store: Store, token: str, now: float | None = None) -> Subscriber:
    """Begin a subscription by the token of its mail. Doing so twice is no error while it lasts.

    Raises:
        ConfigError: the token is not one that the store gave out, has lapsed, or the subscription was ended.
    """
    now = time.time() if now is None else now
    number, nonce = _read(store, "c", token)
    with store.transaction() as db:
        row = db.execute("SELECT * FROM subscribers WHERE id = ?", (number,)).fetchone()
        if row is None or not hmac.compare_digest(row["nonce_hash"], _hash(nonce)):
            raise ConfigError("there is nothing to confirm any more: subscribe again")
        if row["state"] == "asked":
            if now - row["asked"] > _GOOD_FOR:
                raise ConfigError("the confirmation came after more than a week: subscribe again")
            db.execute("UPDATE subscribers SET state = 'active', next_due = ? WHERE id = ?", (now, number))
        return _subscriber(db.execute(f"SELECT {_COLUMNS} FROM subscribers WHERE id = ?", (number,)).fetchone())


def unsubscribe(store: Store, token: str) -> bool:
    """End a subscription by the token of a mail and forget the address; mails that wait for it are not sent.

    Returns:
        Whether there was one. A page should answer the same in both cases.

    Raises:
        ConfigError: the token is not one that the store gave out.
    """
    return _end(store, "id = ?", _read(store, "u", token)[0])


def remove(store: Store, address: str) -> bool:
    """End the subscription of an address, as :func:`unsubscribe` does; for the owner of the store, not for pages.

    Raises:
        ConfigError: it is no address.
    """
    return _end(store, "address = ?", check_address(address))


def unsubscribe_token(store: Store, number: int) -> str:
    """The token by which a subscriber ends the subscription; the same in each of their mails."""
    return _signed(store.key(), "u", str(number), "")


def subscribers(store: Store, limit: int | None = None, offset: int = 0) -> list[Subscriber]:
    """All subscribers, those that have not confirmed among them."""
    query = f"SELECT {_COLUMNS} FROM subscribers ORDER BY id LIMIT ? OFFSET ?"
    return [_subscriber(row) for row in store.rows(query, -1 if limit is None else limit, offset)]


def due_subscribers(store: Store, now: float | None = None) -> list[Subscriber]:
    """Those for whom a digest is due."""
    query = f"SELECT {_COLUMNS} FROM subscribers WHERE state = 'active' AND next_due <= ? ORDER BY id"
    return [_subscriber(row) for row in store.rows(query, time.time() if now is None else now)]


def _end(store: Store, where: str, value: int | str) -> bool:
    with store.transaction() as db:
        row = db.execute(f"SELECT id FROM subscribers WHERE {where}", (value,)).fetchone()
        if row is None:
            return False
        db.execute("DELETE FROM subscribers WHERE id = ?", (row["id"],))
        keys = (f"confirm:{row['id']}", f"digest:{row['id']}:%")
        db.execute(
            "UPDATE outbox SET state = 'failed', message = NULL, error = 'unsubscribed'"
            " WHERE state IN ('pending', 'uncertain') AND (key = ? OR key LIKE ?)",
            keys,
        )
        db.execute("UPDATE outbox SET recipient = '' WHERE state != 'sending' AND (key = ? OR key LIKE ?)", keys)
    return True


def _subscriber(row: sqlite3.Row) -> Subscriber:
    return Subscriber(**dict(row))


def _signed(key: bytes, *parts: str) -> str:
    """Parts and their signature, with dots between; of characters that a link may hold."""
    plain = ".".join(parts)
    mark = hmac.new(key, plain.encode(), hashlib.sha256).digest()
    return f"{plain}.{base64.urlsafe_b64encode(mark).decode().rstrip('=')}"


def _read(store: Store, purpose: str, token: str) -> tuple[int, str]:
    """Number and nonce of a token.

    Raises:
        ConfigError: it was not signed by the store for that purpose.
    """
    parts = token.strip().split(".")
    good = len(parts) == 4 and parts[0] == purpose and parts[1].isascii() and parts[1].isdecimal() and token.isascii()
    if not good or not hmac.compare_digest(_signed(store.key(), *parts[:3]), token.strip()):
        raise ConfigError("the token is not one that was given out here: copy the whole of it, as the mail has it")
    return int(parts[1]), parts[2]


def _hash(nonce: str) -> str:
    return hashlib.sha256(nonce.encode()).hexdigest()
