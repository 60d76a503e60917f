from __future__ import annotations

from accord.papers import get_card, list_cards
from accord.papers.catalogue import PaperCard
from accord.papers.headline import headline
from accord.papers.verdicts import Verdict


def test_the_first_measured_question_is_told_whether_it_holds_or_not() -> None:
    claims = [{"says": "It is fast."}, {"says": "It is better.", "questions": ["a/none", "a/one", "a/two"]}]
    card = PaperCard.parse({**get_card("clip").model_dump(), "claims": claims})
    known = {
        "a/one": Verdict("One.", "does not hold", "worse", "-1 [-2, -0.5] points", 5),
        "a/two": Verdict("Two.", "holds", "better", "+2 [+1, +3] points", 5),
    }
    found = headline(card, known)
    assert found is not None
    assert (found.says, found.question, found.verdict) == ("It is better.", "a/one", known["a/one"])
    assert (found.holds, found.measured) == (1, 2)


def test_a_card_of_which_nothing_was_measured_has_no_headline() -> None:
    assert headline(get_card("clip"), {}) is None
    assert all(headline(card) is None for card in list_cards() if card.status == "planned")
