from __future__ import annotations

import datetime

import pytest

from accord.papers.feeds import Entry, Feed
from accord.papers.store import Store
from accord.papers.trending import score, trending

TODAY = datetime.date(2024, 1, 31)


def test_votes_raise_a_paper_and_age_lowers_it() -> None:
    assert score(10, 1) > score(9, 1)
    assert score(10, 1) > score(10, 2)
    assert score(10, 0) / score(10, 2) == pytest.approx(2**1.5)


def test_the_order_is_by_score_then_by_day_over_pages(tmp_path) -> None:
    facts = [("old", 30, 100), ("new", 1, 20), ("none old", 9, 0), ("none new", 3, 0), ("tomorrow", -1, 1)]
    entries = [
        Entry.parse({"title": title, "date": TODAY - datetime.timedelta(days=age), "votes": votes})
        for title, age, votes in facts
    ]
    with Store(tmp_path / "s.sqlite") as store:
        store.add(Feed("f", "JSON", tuple(entries), ()))
        titles = [paper.title for paper, _ in trending(store, today=TODAY)]
        assert titles == ["new", "old", "tomorrow", "none new", "none old"]
        assert [paper.title for paper, _ in trending(store, 2, 3, TODAY)] == titles[3:]
