"""``accord papers`` from feed to mail, as somebody types it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email import message_from_bytes, policy

import pytest

from accord.papers import vectors
from mail_server import mail_server

FROM = ("--from", "papers@example.org")


@pytest.fixture(autouse=True)
def by_words(monkeypatch, tmp_path):
    monkeypatch.setattr(vectors, "encoder", lambda: None)
    monkeypatch.setattr("platformdirs.user_data_path", lambda name: tmp_path / "data" / name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def feed(tmp_path):
    today = datetime.now(UTC).date().isoformat()
    papers = [
        {"title": "Noisy [labels]", "abstract": "About labels.", "date": today, "upvotes": 5, "id": "2401.00001v1"},
        {"title": "Cheese", "abstract": "About cheese.", "date": today, "upvotes": 9},
        {"title": "No date"},
    ]
    path = tmp_path / "new.json"
    path.write_text(json.dumps(papers))
    return path


def test_a_feed_is_imported_listed_ranked_and_searched(accord_cli, feed, tmp_path) -> None:
    assert "nothing was imported yet" in accord_cli("papers", "list", "--feed").stdout
    first = accord_cli("papers", "import", feed)
    assert first.exit_code == 0
    assert "new: 2, updated: 0, unchanged: 0, left out: 1" in first.stdout
    assert str(tmp_path / "data" / "accord" / "papers.sqlite") in first.stdout.replace("\n", "")
    assert "left out: entry 3 (No date): it has no date" in first.output
    assert "unchanged: 2" in accord_cli("papers", "import", feed).stdout
    listed = accord_cli("papers", "list", "--feed", "--limit", 1).stdout
    assert "paper:2  Cheese" in listed
    assert "page 1 of 2, 2 papers" in listed
    ranked = accord_cli("papers", "trending").stdout
    assert ranked.index("Cheese") < ranked.index("Noisy [labels]")
    found = accord_cli("papers", "search", "cheese").stdout
    assert "paper:2  Cheese" in found
    assert 'by words; for a search by meaning: pip install "accord[weights]"' in found
    assert "paper:1" in accord_cli("papers", "similar", "label_matching", "--limit", 60).stdout


def test_a_search_makes_no_store(accord_cli, tmp_path) -> None:
    found = accord_cli("papers", "search", "prototypes for noisy web labels").stdout
    assert "capro" in found
    assert "NeurIPS 2023 · ready" in found
    assert not (tmp_path / "data").exists()


def test_cards_are_chosen_and_paged(accord_cli) -> None:
    planned = accord_cli("papers", "list", "--status", "planned", "--task", "generation").stdout
    assert "fancyvideo" in planned
    assert "(planned)" in planned
    assert "capro" not in planned
    pages = [
        accord_cli("papers", "list", "--modality", "graph", "--limit", 1, "--page", page).stdout for page in (1, 2, 3)
    ]
    assert ["\nmeow " in f"\n{page}" for page in pages] == [True, False, False]
    assert pages[2].strip() == ""
    wrong = accord_cli("papers", "list", "--modality", "smell")
    assert (wrong.exit_code, "no modality 'smell'; there are: image" in wrong.output) == (1, True)
    assert accord_cli("papers", "list", "--feed", "--task", "retrieval").exit_code == 2


def test_a_planned_card_is_shown_without_a_command(accord_cli) -> None:
    shown = accord_cli("papers", "show", "fancyvideo").stdout
    assert "status planned" in " ".join(shown.split())
    assert "Example" not in shown


def test_a_dry_run_writes_a_whole_mail_and_sends_nothing(accord_cli, feed, tmp_path) -> None:
    accord_cli("papers", "import", feed)
    done = accord_cli("papers", "digest", "--topic", "labels", "--to", "you@example.org", "--dry-run")
    assert (done.exit_code, done.stdout) == (0, "nothing was sent; the mail is digest.eml\n")
    mail = message_from_bytes((tmp_path / "digest.eml").read_bytes(), policy=policy.default)
    assert (mail["Subject"], mail["To"]) == ("1 new paper on labels", "you@example.org")
    assert "1. Noisy [labels]" in accord_cli("papers", "digest", "--topic", "labels").stdout


def test_a_digest_is_sent_once_a_day(accord_cli, feed) -> None:
    accord_cli("papers", "import", feed)
    with mail_server() as server:
        call = ("papers", "digest", "--to", "you@example.org", "--smtp", f"127.0.0.1:{server.port}", *FROM)
        assert "sent: you@example.org, 2 new papers" in accord_cli(*call).stdout
        assert "you@example.org has this digest already" in accord_cli(*call).stdout
        assert [(to, mail["From"]) for to, mail in server.taken] == [("you@example.org", "Accord <papers@example.org>")]
    assert "sent" in accord_cli("papers", "outbox").stdout


def test_from_subscription_to_the_end_of_it(accord_cli, feed) -> None:
    accord_cli("papers", "import", feed)
    with mail_server() as server:
        smtp = ("--smtp", f"127.0.0.1:{server.port}", *FROM)
        assert accord_cli("papers", "subscribe", "you@example.org", "--topic", "labels", *smtp).exit_code == 0
        assert "digests: 0" in accord_cli("papers", "digest", "--subscribers", *smtp).stdout
        text = server.taken[0][1].get_body(("plain",)).get_content()
        token = text.split("accord papers confirm ")[1].split()[0]
        assert "gets a digest on labels every 7 days" in accord_cli("papers", "confirm", token).stdout
        sent = accord_cli("papers", "digest", "--subscribers", *smtp)
        assert "digests: 1" in sent.stdout
        assert "sent: you@example.org, 1 new paper on labels" in sent.stdout
        text = server.taken[1][1].get_body(("plain",)).get_content()
        ending = text.split("accord papers unsubscribe ")[1].split()[0]
        assert accord_cli("papers", "unsubscribe", ending).stdout == "the subscription has ended\n"
        assert accord_cli("papers", "unsubscribe", "you@example.org").stdout == "there is no such subscription\n"
        assert len(server.taken) == 2


def test_a_server_that_is_away_leaves_the_mail_in_the_outbox(accord_cli, feed) -> None:
    accord_cli("papers", "import", feed)
    with mail_server() as server:
        port = server.port
    call = ("papers", "digest", "--to", "you@example.org", "--smtp", f"127.0.0.1:{port}", *FROM)
    away = accord_cli(*call)
    assert away.exit_code == 1
    assert "cannot be reached" in away.output
    assert "pending" in accord_cli("papers", "outbox", "--state", "pending").stdout


@pytest.mark.parametrize(
    ("call", "code", "said"),
    [
        (("digest", "--to", "you@example.org"), 2, "no mail server: give --smtp HOST:PORT, or set ACCORD_SMTP"),
        (("digest", "--to", "you@example.org", "--smtp", "localhost"), 2, "nobody to send from"),
        (("digest", "--subscribers", "--to", "a@b.org"), 2, "--subscribers have topics of their own"),
        (("digest", "--since", "soon"), 1, "expected a number of days or weeks"),
        (("subscribe", "nobody", "--smtp", "localhost", *FROM), 1, "'nobody' is no mail address"),
        (("subscribe", "a@b.org", "--smtp", "m.org", "--user", "me@b.org"), 1, "would travel in the clear"),
        (("confirm", "c.1.x.y"), 1, "not one that was given out here"),
        (("unsubscribe", "you"), 1, "not one that was given out here"),
        (("outbox", "--state", "lost"), 1, "no state 'lost'"),
        (("import", "none.json"), 2, "does not exist"),
    ],
)
def test_what_cannot_be_done_is_said(accord_cli, feed, call, code, said) -> None:
    accord_cli("papers", "import", feed)
    done = accord_cli("papers", *call)
    assert done.exit_code == code
    assert said in " ".join(done.output.replace("│", " ").split())
