"""The page of papers: cards and imported papers are found, told and subscribed to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from accord.papers.catalogue import list_cards
from accord.papers.outbox import mails
from accord.papers.store import Store
from accord.serving import ServeConfig, build_app

LOCAL = "http://127.0.0.1:8000"
FEED = [
    {"id": "2601.00001", "title": "Owls that count", "abstract": "We count owls in the dark.", "date": "2026-01-02"},
    {
        "id": "2601.00002",
        "title": "Quiet prototypes",
        "abstract": "Prototypes from noise.",
        "date": "2026-01-03",
        "upvotes": 9,
    },
    {"title": ""},
]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the visitor's papers are."""
    return tmp_path / "papers.sqlite"


@pytest.fixture
def reader(root: Path, store: Path) -> Iterator[TestClient]:
    """A visitor of an application that offers digests."""
    config = ServeConfig(runs=(root,), papers=store, mail_from="digest@example.org")
    with TestClient(build_app(config), base_url=LOCAL) as client:
        yield client


def imported(reader: TestClient, feed: object = FEED) -> str:
    """What the page says of an import."""
    return reader.post("/papers/import", files={"feed": ("feed.json", json.dumps(feed))}).text


def names(reader: TestClient, **asked: object) -> list[str]:
    """What the list holds, in order."""
    return [paper["name"] for paper in reader.get("/api/papers", params=asked).json()["papers"]]


def test_looking_makes_no_store(reader, store):
    assert reader.get("/papers").status_code == 200
    assert not store.exists()


def test_a_description_finds_the_method(reader):
    assert names(reader, q="prototypes for noisy web labels")[0] == "capro"
    assert "prototypes for noisy web labels" in reader.get("/papers?q=prototypes+for+noisy+web+labels").text


def test_filters_leave_what_they_say(reader):
    found = reader.get("/api/papers", params={"modality": "graph", "status": "ready"}).json()
    assert {"meow", "adameow"} <= {paper["name"] for paper in found["papers"]}
    assert all("graph" in paper["modalities"] and paper["status"] == "ready" for paper in found["papers"])
    assert found["total"] == sum("graph" in card.modalities and card.status == "ready" for card in list_cards())


def test_pages_of_the_list_hold_every_paper_once(reader):
    total = reader.get("/api/papers").json()["total"]
    pages = [names(reader, page=number) for number in range(1, total // 24 + 2)]
    assert sorted(name for page in pages for name in page) == sorted(card.slug for card in list_cards())


@pytest.mark.parametrize("card", list_cards(), ids=lambda card: card.slug)
def test_every_card_has_a_page_that_says_how_to_try_it(reader, card):
    found = reader.get(f"/papers/{card.slug}")
    assert found.status_code == 200
    assert ("Try it" in found.text) == (card.status != "planned")


def test_a_page_loads_what_is_near_to_a_paper_when_it_is_there(reader):
    assert 'hx-get="/papers/capro/near"' in reader.get("/papers/capro").text
    assert reader.get("/papers/capro/near").text.count("<li>") >= 3
    assert reader.get("/papers/nothing/near").status_code == 404


def test_an_imported_feed_is_among_the_papers_and_what_is_broken_is_told(reader):
    told = imported(reader)
    assert "2 new" in told
    assert "1 broken" in told
    assert names(reader)[:2] == ["paper:2", "paper:1"]  # newer than every card
    assert names(reader, order="trending") == ["paper:2", "paper:1"]
    assert "2 known already" in imported(reader)
    assert "We count owls" in reader.get("/papers/paper:1").text


def test_a_paper_is_shown_as_text_whatever_it_says(reader):
    imported(
        reader,
        [{"title": "<script>alert(1)</script>", "abstract": "<img src=x>", "date": "2026-01-02", "id": "2601.9"}],
    )
    for path in ("/papers", "/papers/paper:1"):
        assert "<script>alert" not in reader.get(path).text
        assert "<img" not in reader.get(path).text


@pytest.mark.parametrize("name", ["nothing", "paper:7", "paper:x", "..%2f..%2fetc"])
def test_what_there_is_not_is_not_found(reader, name):
    assert reader.get(f"/papers/{name}").status_code == 404
    assert reader.get(f"/api/papers/{name}").status_code == 404


def test_a_subscription_is_asked_for_confirmed_and_ended(reader, store):
    asked = {"address": "you@example.org", "topic": "noisy labels", "every_days": 7}
    first, again = (reader.post("/papers/subscribe", data=asked) for _ in range(2))
    assert first.text == again.text  # nobody learns who has subscribed
    with Store(store) as opened:
        (mail,) = mails(opened)
        message = opened.rows("SELECT message FROM outbox")[0]["message"]
    body = message_from_bytes(message, policy=policy.default).get_body(("plain",))
    assert body is not None
    text = body.get_content()
    link = re.search(r"/papers/confirm\?token=[\w.-]+", text)
    assert link, text
    assert "Yes, send it" in reader.get(link[0]).text
    assert "every 7 days" in reader.post(link[0]).text
    assert mail.key.startswith("confirm:")


def test_a_visitor_who_gives_one_address_after_another_is_told_to_wait(reader, store):
    answers = [reader.post("/papers/subscribe", data={"address": f"a{n}@example.org"}).status_code for n in range(12)]
    assert answers == [200] * 10 + [429] * 2
    with Store(store) as opened:
        assert len(mails(opened)) == 10


def test_a_proof_that_nobody_gave_ends_nothing(reader):
    for page in ("confirm", "unsubscribe"):
        assert reader.post(f"/papers/{page}?token=u.1.forged").status_code == 400


def test_without_a_sender_the_page_says_how_to_have_one(visitor):
    assert "--mail-from" in visitor.get("/papers/subscribe").text
    assert visitor.post("/papers/subscribe", data={"address": "you@example.org"}).status_code == 409
