"""The one measured answer that stands on a card's face, chosen from what became of the card's claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accord.papers.catalogue import PaperCard
from accord.papers.verdicts import Verdict, shipped_verdicts


@dataclass(frozen=True)
class Headline:
    """What measuring a card's claims gave, in short.

    Args:
        says: the claim that the card makes.
        question: the name of the question that was put to it, such as ``capro/purity``.
        verdict: its answer, with effect and interval; also when it does not hold.
        holds: how many of the card's measured questions hold.
        measured: how many were measured.
    """

    says: str
    question: str
    verdict: Verdict
    holds: int
    measured: int


def headline(card: PaperCard, known: Mapping[str, Verdict] | None = None) -> Headline | None:
    """The answer to the first of the card's questions that was measured, good or bad; None where none was.

    The first is taken, and not the best: a card states its main claim first, and what did not hold is not passed over.

    Args:
        card: the card.
        known: name of a question -> answer; None takes those that come with the package.

    Example:
        >>> from accord.papers.catalogue import get_card
        >>> found = headline(get_card("capro"))
        >>> found.question, found.verdict.answer
        ('capro/purity', 'holds')
        >>> headline(get_card("ape")) is None
        True
    """
    known = shipped_verdicts() if known is None else known
    asked = [(claim.says, name) for claim in card.claims for name in claim.questions if name in known]
    if not asked:
        return None
    holds = sum(known[name].answer == "holds" for _, name in asked)
    says, question = asked[0]
    return Headline(says, question, known[question], holds, len(asked))
