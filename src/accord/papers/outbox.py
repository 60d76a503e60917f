"""Mails that wait to be sent, in the store, so that they outlive any process and none is sent twice.

A mail is *pending*; a process claims it (*sending*) before it says a word to the server, and notes the end: *sent*,
*failed*, or pending again after a refusal for now. A process that dies in between may have been heard or not, so that
its mail becomes *uncertain* and is sent again only when somebody asks for that. Claims lapse after ten minutes, those
of a process of this machine that is no more at once.
"""

from __future__ import annotations

import os
import secrets
import smtplib
import socket
import sqlite3
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Literal, get_args

from accord.errors import AccordError, ConfigError, no_such
from accord.papers.mail import PASSWORD, Server
from accord.papers.store import Store

State = Literal["pending", "sending", "sent", "failed", "uncertain"]
MOST_TRIES = 16  # with the waits below, about two days
_LEASE = 600.0  # seconds; a server is waited for less
_SHORTEST, _LONGEST = 60.0, 6 * 3600.0  # seconds between tries
_COLUMNS = "id, key, recipient, subject, state, tries, due, error, queued, ended"


@dataclass(frozen=True)
class Mail:
    """A mail of the outbox, without its text.

    Args:
        id: its number.
        key: what it is; there is one of each.
        recipient: to whom; empty when they have asked to be forgotten.
        subject: of what.
        state: "pending", "sending", "sent", "failed" or "uncertain".
        tries: how often it was claimed.
        due: when it is tried next, in seconds since 1970.
        error: what the server said last.
        queued: when it was put here.
        ended: when it was sent or given up.
    """

    id: int
    key: str
    recipient: str
    subject: str
    state: State
    tries: int
    due: float
    error: str
    queued: float
    ended: float | None


class MailServerError(AccordError):
    """The mail server cannot be reached or does not let us in; mails wait in the outbox."""


def queue(db: sqlite3.Connection, key: str, message: EmailMessage, now: float | None = None) -> bool:
    """Put a mail into the outbox, inside a transaction of the store; False where one of that key was there already."""
    now = time.time() if now is None else now
    sender, to = (message[name].addresses[0].addr_spec for name in ("From", "To"))
    done = db.execute(
        "INSERT OR IGNORE INTO outbox (key, sender, recipient, subject, message, state, due, queued)"
        " VALUES (?, ?, ?, ?, ?, 'pending', ?, ?)",
        (key, sender, to, str(message["Subject"]), message.as_bytes(), now, now),
    )
    return done.rowcount == 1


def mails(store: Store, state: str | None = None, limit: int = 50, offset: int = 0) -> list[Mail]:
    """Mails of the outbox, the latest first; lapsed claims are settled before.

    Args:
        store: where it is.
        state: only those.
        limit: how many.
        offset: how many are passed over before.

    Raises:
        ConfigError: there is no such state.
    """
    if state is not None and state not in get_args(State):
        raise ConfigError(no_such("state", state, get_args(State)))
    _settle(store, time.time())
    where, values = ("WHERE state = ?", [state]) if state else ("", [])
    query = f"SELECT {_COLUMNS} FROM outbox {where} ORDER BY id DESC LIMIT ? OFFSET ?"
    return [Mail(**row) for row in store.rows(query, *values, limit, offset)]


def send_due(store: Store, server: Server, *, only: str = "", now: float | None = None) -> list[Mail]:
    """Send what is pending and due; several processes may do so at once.

    Args:
        store: where the outbox is.
        server: who takes mails.
        only: the key of one mail; empty for all.
        now: the time that decides what is due; None is now.

    Returns:
        The mails that were tried, as they stand now.

    Raises:
        MailServerError: there is no connection, or the server refuses the user; mails stay pending, and are due later
            where the server was not reached.
    """
    _settle(store, time.time())
    tried: list[int] = []
    while _is_due(store, only, now):
        with _connected(store, server, only) as session:
            while claimed := _claim(store, only, now):
                tried.append(claimed["id"])
                if not _deliver(store, session, claimed):
                    break  # what the session is in after a refusal is not worth knowing
    if not tried:
        return []
    marks = ", ".join("?" * len(tried))
    return [Mail(**row) for row in store.rows(f"SELECT {_COLUMNS} FROM outbox WHERE id IN ({marks})", *tried)]


def resend_uncertain(store: Store) -> int:
    """Make what is uncertain pending again, at the price that somebody may get it twice; says how many there were."""
    _settle(store, time.time())
    with store.transaction() as db:
        return db.execute(
            "UPDATE outbox SET state = 'pending', due = ?, error = '' WHERE state = 'uncertain'", (time.time(),)
        ).rowcount


def wait_before(tries: int) -> float:
    """Seconds before a mail that was tried so often is tried again.

    >>> wait_before(1), wait_before(4), wait_before(16)
    (60.0, 480.0, 21600.0)
    """
    return min(_SHORTEST * 2 ** (tries - 1), _LONGEST)


def _is_due(store: Store, only: str, now: float | None) -> bool:
    return bool(store.rows(f"SELECT 1 FROM outbox WHERE {_DUE} LIMIT 1", *_due(only, now)))


_DUE = "state = 'pending' AND due <= ? AND (? = '' OR key = ?)"


def _due(only: str, now: float | None) -> tuple[float, str, str]:
    return (time.time() if now is None else now, only, only)


def _claim(store: Store, only: str, now: float | None) -> sqlite3.Row | None:
    """Take one mail, so that nobody else does."""
    owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
    with store.transaction() as db:
        found = db.execute(f"SELECT id FROM outbox WHERE {_DUE} ORDER BY due, id LIMIT 1", _due(only, now)).fetchone()
        if found is None:
            return None
        db.execute(
            "UPDATE outbox SET state = 'sending', owner = ?, lease = ?, tries = tries + 1 WHERE id = ?",
            (owner, time.time() + _LEASE, found["id"]),
        )
        claimed: sqlite3.Row = db.execute("SELECT * FROM outbox WHERE id = ?", (found["id"],)).fetchone()
        return claimed


def _deliver(store: Store, session: smtplib.SMTP, mail: sqlite3.Row) -> bool:
    """Hand one claimed mail to the server and note the end; whether the session is good for another."""
    begun = False
    try:
        code, said = session.mail(mail["sender"])
        if code != 250:  # that is about us and no fault of the mail
            _again(store, mail, _words(code, said))
            raise MailServerError(
                f"the mail server takes nothing from {mail['sender']}: {_words(code, said)}; mails wait"
            )
        code, said = session.rcpt(mail["recipient"])
        if code not in (250, 251):
            return _refused(store, mail, code, said)
        begun = True
        code, said = session.data(mail["message"])
    except smtplib.SMTPDataError as error:  # it did not want to hear the text
        return _refused(store, mail, error.smtp_code, error.smtp_error)
    except (smtplib.SMTPException, OSError) as error:
        reason = f"the connection broke: {error}"
        if begun:
            _end(store, mail, "uncertain", f"{reason}; the server may have taken it")
        else:
            _again(store, mail, reason)
        return False
    if code != 250:
        return _refused(store, mail, code, said)
    _end(store, mail, "sent")
    return True


def _refused(store: Store, mail: sqlite3.Row, code: int, said: bytes | str) -> bool:
    """Note a refusal: of 4xx for now, else for good."""
    if 400 <= code < 500:
        _again(store, mail, _words(code, said))
    else:
        _end(store, mail, "failed", _words(code, said))
    return False


def _words(code: int, said: bytes | str) -> str:
    """A server's answer on one line."""
    words = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return f"{code} {' '.join(words.split())}"[:300]


def _again(store: Store, mail: sqlite3.Row, reason: str) -> None:
    if mail["tries"] >= MOST_TRIES:
        _end(store, mail, "failed", f"given up after {mail['tries']} tries: {reason}")
        return
    with store.transaction() as db:
        db.execute(
            "UPDATE outbox SET state = 'pending', due = ?, error = ? WHERE id = ? AND owner = ?",
            (time.time() + wait_before(mail["tries"]), reason, mail["id"], mail["owner"]),
        )


def _end(store: Store, mail: sqlite3.Row, state: State, error: str = "") -> None:
    kept = mail["message"] if state == "uncertain" else None  # a mail may hold a token: it stays no longer than needed
    with store.transaction() as db:
        db.execute(
            "UPDATE outbox SET state = ?, message = ?, error = ?, ended = ? WHERE id = ? AND owner = ?",
            (state, kept, error, time.time(), mail["id"], mail["owner"]),
        )


def _settle(store: Store, now: float) -> None:
    """Give up claims of processes that have ended or that took too long."""
    claims = store.rows("SELECT id, owner, lease FROM outbox WHERE state = 'sending'")
    lapsed = [(row["id"], row["owner"]) for row in claims if row["lease"] < now or _is_gone(row["owner"])]
    if not lapsed:
        return
    reason = "whoever sent it ended before the server's answer was noted; it may have been sent"
    with store.transaction() as db:
        for number, owner in lapsed:
            db.execute(
                "UPDATE outbox SET state = 'uncertain', error = ?, ended = ? WHERE id = ? AND owner = ?"
                " AND state = 'sending'",
                (reason, now, number, owner),
            )


def _is_gone(owner: str) -> bool:
    """Whether it was a process of this machine that is no more."""
    host, number, _ = owner.rsplit(":", 2)
    if host != socket.gethostname() or os.name != "posix":
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@contextmanager
def _connected(store: Store, server: Server, only: str) -> Iterator[smtplib.SMTP]:
    """A session with the server.

    Raises:
        MailServerError: there is none.
    """
    place = f"{server.host}:{server.port}"
    try:
        session = _opened(server)
    except OSError as error:  # refused, unknown, too slow; smtplib's errors are of it
        if isinstance(error, smtplib.SMTPAuthenticationError | smtplib.SMTPNotSupportedError):
            raise MailServerError(f"{place} does not let {server.user or 'us'} in: {error}; mails wait") from error
        _put_off(store, only, str(error))
        raise MailServerError(
            f"{place} cannot be reached: {error}; mails wait in the outbox and are tried again later"
        ) from error
    try:
        yield session
    finally:
        with suppress(smtplib.SMTPException, OSError):
            session.quit()


def _opened(server: Server) -> smtplib.SMTP:
    safe = ssl.create_default_context()
    if server.port == 465:
        session: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=server.timeout, context=safe)
    else:
        session = smtplib.SMTP(server.host, server.port, timeout=server.timeout)
    try:
        if server.starttls:
            session.starttls(context=safe)
        session.ehlo_or_helo_if_needed()
        if server.user:
            session.login(server.user, _password(server.user))
    except BaseException:
        session.close()
        raise
    return session


def _password(user: str) -> str:
    if PASSWORD not in os.environ:
        raise ConfigError(f"no password for {user}: put it into the environment variable {PASSWORD}")
    return os.environ[PASSWORD]


def _put_off(store: Store, only: str, reason: str) -> None:
    """Let all that was due wait, longer each time."""
    now = time.time()
    with store.transaction() as db:
        for row in db.execute(f"SELECT id, tries FROM outbox WHERE {_DUE}", _due(only, None)).fetchall():
            tries = row["tries"] + 1
            facts = (tries, now + wait_before(tries), reason, row["id"])
            db.execute("UPDATE outbox SET tries = ?, due = ?, error = ? WHERE id = ?", facts)
        db.execute(
            "UPDATE outbox SET state = 'failed', message = NULL, ended = ? WHERE state = 'pending' AND tries >= ?",
            (now, MOST_TRIES),
        )
