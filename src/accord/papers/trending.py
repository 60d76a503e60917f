"""What is read most at the moment: votes, which count less the older a paper is.

The score is votes / (days + 2)^1.5, with the days since the first version: at equal votes a paper of today stands 2.8
times as high as one of two days ago, and 9.5 times as high as one of a week ago. Papers without votes come last, the
newest first.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from accord.papers.store import Paper, Store


def score(votes: int, days: float) -> float:
    """How high a paper stands.

    >>> score(votes=8, days=2), score(votes=8, days=14), score(votes=8, days=-1) == score(votes=8, days=0)
    (1.0, 0.125, True)
    """
    return votes / (max(days, 0.0) + 2) ** 1.5


def trending(
    store: Store, limit: int = 20, offset: int = 0, today: datetime.date | None = None
) -> list[tuple[Paper, float]]:
    """Papers with their scores, the highest first.

    Args:
        store: where they are.
        limit: how many.
        offset: how many are passed over before.
        today: the day from which age is counted; None is today.
    """
    return ranked(store.papers(), today)[offset : offset + limit]


def ranked(papers: Sequence[Paper], today: datetime.date | None = None) -> list[tuple[Paper, float]]:
    """Any papers with their scores, the highest first."""
    today = today or datetime.datetime.now(datetime.UTC).date()
    scored = [(paper, score(paper.votes, (today - paper.date).days)) for paper in papers]
    return sorted(scored, key=lambda item: (-item[1], -item[0].date.toordinal(), item[0].id))
