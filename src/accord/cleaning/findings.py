"""What was found of each row: what its pair, its label and a method that judged it say, put together and in words.

A row is as clean as the worst that is known of it. What is doubted is said with its reason; what would be right instead
is proposed only where it fits clearly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from accord.cleaning.evidence import Floats, probability
from accord.cleaning.labels import LabelJudge
from accord.cleaning.pairs import PairJudge
from accord.data.modalities import get_modality

_NAMED = 3  # things that are named in a reason


@dataclass(frozen=True)
class Finding:
    """Why a row is doubted, and what would be right.

    Args:
        reason: in words.
        kinds: what kinds of reasons there are: words that rows with like reasons share.
        label: the class that would be right; empty for none.
        caption: position of the row whose captions would be right; None for none.
        nearest: position of the nearest row that is believed; None for none.
    """

    reason: str
    kinds: tuple[str, ...] = ()
    label: str = ""
    caption: int | None = None
    nearest: int | None = None


@dataclass(frozen=True)
class Aspect:
    """One thing that was judged of some rows.

    Args:
        what: in words, such as ``image and text``.
        rows: ``(M,)`` positions of the rows.
        log_odds: ``(M,)`` that they are right.
        explain: the finding of one of these rows, by its place among them.
        share: estimated share of wrong ones.
        telling: False where nothing tells right from wrong; the aspect then counts for nothing.
    """

    what: str
    rows: NDArray[np.int64]
    log_odds: Floats
    explain: Callable[[int], Finding]
    share: float
    telling: bool = True


@dataclass(frozen=True)
class Findings:
    """What was found of all rows.

    Args:
        score: ``(N,)`` probability that all is right, higher is cleaner; NaN where nothing could be judged.
        doubted: ``(N,)``.
        found: position -> finding, of the doubted rows.
        shares: what was judged -> estimated share of wrong rows; NaN where that cannot be told.
    """

    score: Floats
    doubted: NDArray[np.bool_]
    found: dict[int, Finding] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)


def put_together(count: int, aspects: Sequence[Aspect]) -> Findings:
    """What all aspects say of ``count`` rows.

    Example:
        >>> pair = Aspect("pair", np.arange(2), np.array([3.0, -3.0]), lambda place: Finding(f"row {place}"), 0.5)
        >>> put_together(2, [pair]).found
        {1: Finding(reason='row 1', kinds=(), label='', caption=None, nearest=None)}
    """
    worst = np.full(count, np.inf)
    found: dict[int, list[tuple[float, Finding]]] = {}
    for aspect in (one for one in aspects if one.telling):
        worst[aspect.rows] = np.minimum(worst[aspect.rows], aspect.log_odds)
        for place in np.flatnonzero(aspect.log_odds < 0):
            said = (float(aspect.log_odds[place]), aspect.explain(int(place)))
            found.setdefault(int(aspect.rows[place]), []).append(said)
    merged = {row: _merged([one for _, one in sorted(said, key=lambda one: one[0])]) for row, said in found.items()}
    shares = {one.what: one.share if one.telling else float("nan") for one in aspects}
    score = np.where(np.isinf(worst), np.nan, probability(np.where(np.isinf(worst), 0, worst)))
    return Findings(score, worst < 0, merged, shares)


def _merged(said: Sequence[Finding]) -> Finding:
    """Several findings of a row as one, the surest doubt first."""
    return Finding(
        reason="; ".join(dict.fromkeys(one.reason for one in said)),
        kinds=tuple(dict.fromkeys(kind for one in said for kind in one.kinds)),
        label=next((one.label for one in said if one.label), ""),
        caption=next((one.caption for one in said if one.caption is not None), None),
        nearest=next((one.nearest for one in said if one.nearest is not None), None),
    )


def pair_aspect(
    judge: PairJudge,
    names: tuple[str, str],
    rows: NDArray[np.int64],
    texts: Sequence[Sequence[str]],
    ids: NDArray[np.int64],
) -> Aspect:
    """The pairs of two modalities as an aspect.

    Args:
        judge: of the rows.
        names: of the modalities; the second is ``text`` where there are captions.
        rows: ``(M,)`` positions of the judged rows among all.
        texts: captions of the judged rows.
        ids: their numbers in the source.
    """
    doubted = np.flatnonzero(judge.log_odds < 0) if judge.telling else np.zeros(0, np.int64)
    partner, sure, clean = judge.partners(doubted)
    counts, among = judge.fits_better(doubted)
    place = {int(row): where for where, row in enumerate(doubted)}
    (one, ones), (other, _) = map(_called, names)
    captioned = names[1] == "text"

    def words(row: int) -> str:
        return f"“{texts[row][0]}”" if captioned and texts[row] else f"row {ids[row]}"

    def explain(row: int) -> Finding:
        better = int(counts[place[row]])
        apart = f"{one} and {other} have little to do with each other"
        kinds = [f"its {other} fits other {ones} better" if better else apart]
        said = [f"its {other} fits {better:,} of {among:,} other {ones} better" if better else apart]
        like = list(dict.fromkeys(words(int(near)) for near in judge.like(row)))[:_NAMED]
        if captioned and like:
            said.append(f"{ones} like it are called {', '.join(like)}")
        twin = judge.contradicts(row)
        if twin is not None:
            said.append(f"the same {one} stands in row {ids[twin]} with {words(twin)}")
            kinds.append(f"the same {one} stands with another {other}")
        match = int(partner[place[row]])
        proposed = captioned and match >= 0 and sure[place[row]] and texts[match] and texts[match] != texts[row]
        near = int(clean[place[row]])
        nearest = int(rows[near]) if near >= 0 else None
        caption = int(rows[match]) if proposed else None
        return Finding("; ".join(said), tuple(kinds), caption=caption, nearest=nearest)

    return Aspect(" and ".join(names), rows, judge.log_odds, explain, judge.share, judge.telling)


def label_aspect(judge: LabelJudge, rows: NDArray[np.int64], classes: Sequence[str], ids: NDArray[np.int64]) -> Aspect:
    """Labels as an aspect; the arguments are those of :func:`pair_aspect`."""
    labels = judge.labels.numpy()

    def explain(row: int) -> Finding:
        votes, asked = judge.votes(row)
        own, best = classes[labels[row]], classes[judge.best[row]]
        said = [f"{votes} of {asked} rows like it are labelled {own}", f"most speaks for {best}"]
        kinds = ["another label fits better"]
        twin = judge.contradicts(row)
        if twin is not None:
            said.append(f"the same thing stands in row {ids[twin]} as {classes[labels[twin]]}")
            kinds.append("the same thing stands with another label")
        near = judge.like(row, int(judge.best[row]))
        nearest = None if near is None else int(rows[near])
        return Finding("; ".join(said), tuple(kinds), label=best if judge.sure[row] else "", nearest=nearest)

    return Aspect("labels", rows, judge.log_odds, explain, judge.share, judge.telling)


def _called(modality: str) -> tuple[str, str]:
    """What a thing of a modality is called, and several."""
    if modality == "text":
        return "caption", "captions"
    kind = get_modality(modality)
    return kind.item, kind.items
