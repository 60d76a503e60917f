"""Subscriptions: asked for, confirmed, ended; and what nobody can do with links that are not theirs."""

from __future__ import annotations

import pytest

from accord.errors import ConfigError
from accord.papers.mail import Sender
from accord.papers.outbox import mails
from accord.papers.store import Store
from accord.papers.subscriptions import (
    confirm,
    due_subscribers,
    remove,
    subscribe,
    subscribers,
    unsubscribe,
    unsubscribe_token,
)

ME = Sender(address="papers@example.org", base_url="https://papers.example.org")
NOW, HOUR, DAY = 1_700_000_000.0, 3_600.0, 86_400.0


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "s.sqlite") as opened:
        yield opened


def token_of(store: Store) -> str:
    """The token of the newest mail."""
    raw = store.rows("SELECT message FROM outbox ORDER BY id DESC LIMIT 1")[0][0].decode().replace("=\r\n", "")
    return raw.split("token=3D")[1].split()[0]


def joined(store: Store, address: str = "you@example.org", topic: str = "noisy labels"):
    subscribe(store, address, ME, topic, 7, now=NOW)
    return confirm(store, token_of(store), now=NOW + 5)


def test_nobody_gets_a_digest_before_confirming(store) -> None:
    assert subscribe(store, "you@example.org", ME, "noisy labels", 2, now=NOW) == "mail queued"
    assert [one.state for one in subscribers(store)] == ["asked"]
    assert due_subscribers(store, NOW + 9 * DAY) == []
    one = confirm(store, token_of(store), now=NOW + DAY)
    assert (one.address, one.topic, one.every_days, one.state) == ("you@example.org", "noisy labels", 2, "active")
    assert due_subscribers(store, NOW + DAY) == [one]
    assert confirm(store, token_of(store), now=NOW + 99 * DAY) == one  # a second click


def test_the_token_of_a_confirmation_is_not_in_the_table(store) -> None:
    subscribe(store, "you@example.org", ME, now=NOW)
    nonce = token_of(store).split(".")[2]
    kept = store.rows("SELECT nonce_hash FROM subscribers")[0][0]
    assert nonce not in kept
    assert len(kept) == 64


def test_a_confirmation_lapses_after_a_week(store) -> None:
    subscribe(store, "you@example.org", ME, now=NOW)
    with pytest.raises(ConfigError, match="after more than a week: subscribe again"):
        confirm(store, token_of(store), now=NOW + 8 * DAY)


def test_an_address_is_asked_once_an_hour_and_not_when_it_has_subscribed(store) -> None:
    subscribe(store, "you@example.org", ME, now=NOW)
    assert subscribe(store, "YOU@example.org", ME, now=NOW + 60) == "asked lately"
    old = token_of(store)
    assert subscribe(store, "you@example.org", ME, "other", now=NOW + 2 * HOUR) == "mail queued"
    with pytest.raises(ConfigError, match="nothing to confirm any more"):
        confirm(store, old, now=NOW + 2 * HOUR)
    assert confirm(store, token_of(store), now=NOW + 2 * HOUR).topic == "other"
    assert subscribe(store, "you@example.org", ME, now=NOW + DAY) == "subscribed already"
    assert len(mails(store)) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda token: "",
        lambda token: token[:-1],
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: token.replace("c.1.", "c.2."),
        lambda token: token.replace("c.", "u.", 1),
        lambda token: token + ".x",
        lambda token: "c.1.é.ü",
        lambda token: "c.²." + token.split(".", 2)[2],
    ],
)
def test_a_token_that_was_changed_confirms_nothing(store, change) -> None:
    subscribe(store, "you@example.org", ME, now=NOW)
    with pytest.raises(ConfigError, match="not one that was given out here"):
        confirm(store, change(token_of(store)), now=NOW)
    assert subscribers(store)[0].state == "asked"


def test_a_token_of_another_store_is_none(store, tmp_path) -> None:
    one = joined(store)
    with Store(tmp_path / "other.sqlite") as other:
        joined(other)
        with pytest.raises(ConfigError, match="not one that was given out here"):
            unsubscribe(store, unsubscribe_token(other, one.id))


@pytest.mark.parametrize("by", ["token", "address"])
def test_who_ends_a_subscription_is_forgotten(store, by) -> None:
    one = joined(store)
    token = unsubscribe_token(store, one.id)
    assert unsubscribe(store, token) if by == "token" else remove(store, "You@Example.org")
    assert subscribers(store) == []
    assert [(mail.recipient, mail.state, mail.error) for mail in mails(store)] == [("", "failed", "unsubscribed")]
    assert not unsubscribe(store, token)  # a second click


def test_a_page_cannot_end_a_subscription_by_an_address(store) -> None:
    joined(store)
    with pytest.raises(ConfigError, match="not one that was given out here"):
        unsubscribe(store, "you@example.org")


def test_an_old_link_ends_nobody_elses_subscription(store) -> None:
    old = unsubscribe_token(store, joined(store).id)
    confirmation = token_of(store) if mails(store, "pending") else ""
    unsubscribe(store, old)
    other = joined(store, "other@example.org")
    assert not unsubscribe(store, old)
    assert subscribers(store) == [other]
    if confirmation:
        with pytest.raises(ConfigError, match="nothing to confirm any more"):
            confirm(store, confirmation, now=NOW)


@pytest.mark.parametrize(
    ("address", "topic", "every", "said"),
    [
        ("you@example.org\r\nBcc: all@example.org", "", 7, "is no mail address"),
        ("you@example.org", "a\nBcc: all@example.org", 7, "words on one line"),
        ("you@example.org", "", 0, "expected 1 to 90"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_kept(store, address, topic, every, said) -> None:
    with pytest.raises(ConfigError, match=said):
        subscribe(store, address, ME, topic, every)
    assert subscribers(store) == []
    assert mails(store) == []
