"""Digests: what is in them, how they look, and that nobody is told of a paper twice."""

from __future__ import annotations

import datetime
from email import message_from_bytes, policy

import pytest

from accord.errors import ConfigError
from accord.papers import vectors
from accord.papers.digest import as_mail, as_text, choose, days, queue_digest, queue_due
from accord.papers.feeds import Entry, Feed
from accord.papers.mail import Sender, Server
from accord.papers.outbox import mails, send_due
from accord.papers.store import Store
from accord.papers.subscriptions import confirm, remove, subscribe, subscribers
from mail_server import mail_server

ME = Sender(address="papers@example.org", base_url="https://papers.example.org")
TODAY = datetime.date(2024, 1, 31)
NOW = datetime.datetime(2024, 1, 31, 12, tzinfo=datetime.UTC).timestamp()
DAY = 86_400.0


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "encoder", lambda: None)
    with Store(tmp_path / "s.sqlite") as opened:
        add(opened, ("Noisy labels <b>", 1, 8), ("Cheese & wine", 2, 9), ("Old noisy labels", 60, 99))
        yield opened


def add(store: Store, *papers: tuple[str, int, int], abstract: str = "First <i> line. " * 60) -> None:
    entries = [
        Entry.parse(
            {
                "title": title,
                "abstract": abstract,
                "authors": ("A B", "C D", "E F", "G H"),
                "date": TODAY - datetime.timedelta(days=age),
                "votes": votes,
                "url": "https://x.org/a?b=1&c=2",
            }
        )
        for title, age, votes in papers
    ]
    store.add(Feed("f", "JSON", tuple(entries), ()))


def join(store: Store, address: str, topic: str = "", every: int = 7) -> None:
    subscribe(store, address, ME, topic, every, now=NOW)
    raw = store.rows("SELECT message FROM outbox ORDER BY id DESC LIMIT 1")[0][0].decode().replace("=\r\n", "")
    confirm(store, raw.split("token=3D")[1].split()[0], now=NOW)


def test_a_digest_has_the_papers_of_its_days_on_its_topic(store) -> None:
    week = TODAY - datetime.timedelta(days=7)
    assert [paper.title for paper in choose(store, week, today=TODAY).papers] == ["Noisy labels <b>", "Cheese & wine"]
    on_topic = choose(store, week, "labels with noise", today=TODAY)
    assert [paper.title for paper in on_topic.papers] == ["Noisy labels <b>"]
    assert on_topic.subject == "1 new paper on labels with noise"
    cut = choose(store, week, most=1, today=TODAY)
    assert (len(cut.papers), cut.more, cut.subject) == (1, 1, "2 new papers")
    assert choose(store, week, "xylophones", today=TODAY).papers == ()


def test_by_meaning_a_topic_need_not_share_a_word(store, monkeypatch) -> None:
    monkeypatch.undo()
    if vectors.encoder() is None:
        pytest.skip("the extra weights is not installed")
    add(
        store,
        ("When annotators err", 1, 0),
        abstract="We estimate how often people name things wrongly, and correct it.",
    )
    found = choose(store, TODAY - datetime.timedelta(days=7), "mislabelled training data", today=TODAY)
    assert found.papers[0].title == "When annotators err"
    assert "Cheese & wine" not in [paper.title for paper in found.papers]


def test_the_mail_escapes_what_papers_say_and_shows_it_in_both_forms(store) -> None:
    digest = choose(store, TODAY - datetime.timedelta(days=7), "noisy", today=TODAY)
    raw = as_mail(digest, ME, "you@example.org", "k", token="u.1..x").as_bytes()
    mail = message_from_bytes(raw, policy=policy.default)
    text, html = (mail.get_body((kind,)).get_content().replace("\r\n", "\n") for kind in ("plain", "html"))
    assert "1. Noisy labels <b>" in text
    assert "\n   https://x.org/a?b=1&c=2\n" in text
    assert "   A B, C D, E F and 1 more; 2024-01-30; votes: 8\n" in text
    assert "Noisy labels &lt;b&gt;" in html
    assert 'href="https://x.org/a?b=1&amp;c=2"' in html
    assert "<b>" not in html
    assert "<i>" not in html
    assert "<style" not in html  # mail programs drop it: every style is in its element
    link = "https://papers.example.org/papers/unsubscribe?token=u.1..x"
    assert link in text
    assert mail["List-Unsubscribe"] == f"<{link}>"
    assert max(map(len, text.splitlines())) < 90


def test_without_a_site_the_mail_says_which_command_ends_it(store) -> None:
    digest = choose(store, TODAY, today=TODAY)
    mail = as_mail(digest, Sender(address="papers@example.org"), "you@example.org", "k", token="u.1..x")
    assert "accord papers unsubscribe u.1..x" in mail.get_body(("plain",)).get_content()
    assert mail["List-Unsubscribe"] is None
    assert "Nothing new." in as_text(digest)


def test_the_same_digest_to_the_same_address_is_queued_once(store) -> None:
    digest = choose(store, TODAY - datetime.timedelta(days=7), today=TODAY)
    keys = [queue_digest(store, digest, ME, to) for to in ("you@example.org", "You@example.org", "other@example.org")]
    assert [new for _, new in keys] == [True, False, True]
    with pytest.raises(ConfigError, match="is no mail address"):
        queue_digest(store, digest, ME, "you@example.org\nBcc: x@y.org")


def test_subscribers_get_what_is_new_to_them_when_it_is_time(store) -> None:
    join(store, "all@example.org")
    join(store, "labels@example.org", "labels")
    join(store, "none@example.org", "xylophones")
    assert [one.address for one in queue_due(store, ME, NOW)] == ["all@example.org", "labels@example.org"]
    assert queue_due(store, ME, NOW) == []
    add(store, ("More labels", 0, 1))
    assert queue_due(store, ME, NOW + DAY) == []  # it is not time yet
    assert [one.address for one in queue_due(store, ME, NOW + 7 * DAY)] == ["all@example.org", "labels@example.org"]
    kept = [mail for mail in mails(store) if mail.key.startswith("digest:")]
    assert [mail.subject for mail in reversed(kept)] == [
        "2 new papers",
        "1 new paper on labels",
        "1 new paper",
        "1 new paper on labels",
    ]
    assert [one.issues for one in subscribers(store)] == [2, 2, 0]


def test_two_processes_that_look_at_once_queue_one_digest(store, monkeypatch) -> None:
    join(store, "all@example.org")
    due = [one for one in subscribers(store) if one.state == "active"]
    monkeypatch.setattr("accord.papers.digest.due_subscribers", lambda *_: due)  # both have looked before either wrote
    assert len(queue_due(store, ME, NOW)) == 1
    store.db.execute("DELETE FROM told")
    assert queue_due(store, ME, NOW) == []


def test_a_digest_that_waits_is_not_sent_to_who_has_left(store) -> None:
    join(store, "all@example.org")
    with mail_server() as server:
        place = Server(host="127.0.0.1", port=server.port)
        send_due(store, place)
        queue_due(store, ME, NOW)
        remove(store, "all@example.org")
        assert send_due(store, place) == []
        assert [mail["Subject"] for _, mail in server.taken] == ["Please confirm your digest of papers"]


@pytest.mark.parametrize("bad", ["", "0d", "soon", "-1", "7h", "99999d"])
def test_a_time_that_is_none_is_refused(bad) -> None:
    with pytest.raises(ConfigError, match="expected a number of days or weeks"):
        days(bad)
