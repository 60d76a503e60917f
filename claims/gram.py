"""GRAM on three views of a digit: the volume of a row against contrasts of cosines.

The anchor is a distorted whole, the others are the upper and the lower rows. Every view has noise of its own, so that
together they show more than each; ``claims/gram_speech.py`` asks of modalities that repeat each other.

1. Asked by its anchor, a tuple is found better by GRAM's volume than by the mean cosine after contrasts of the anchor
   with each view. These also lose something by taking the tuple apart: one contrast of whole tuples by their mean
   cosine is a second baseline, and the distance to the span a second way to use the first.
2. In the other direction volume has nothing to add: the volume of the tuple itself is then the same for all answers.
3. As a score alone, volume is worse than the cosines that a model was trained for.
4. The other views should come nearer to each other. It could fail because a volume is as small when the anchor lies in
   the plane of the others, wherever they are in it.
5. The volume of a row tells whether all of it belongs together.

    accord claims run gram
"""

from __future__ import annotations

from shared.triples import NOISE, digit_views
from shared.volumes import TUNING, Data, arms, question

from accord.claims import Claim

TEMPERATURES = {
    "GRAM": 0.05,
    "GRAM, every anchor": 0.1,
    "GRAM and cosine": 0.1,
    "GRAM after cosines": 0.2,
    "anchor cosines": 0.2,
    "all cosines": 0.2,
    "joint cosine": 0.2,
}

CLAIM = Claim(
    slug="gram",
    paper="The volume that the vectors of a row span compares any number of modalities at once. As the logit of a "
    "contrast it finds more than cosines with an anchor do, and aligns the other modalities with each other too.",
    arms=arms(Data(digit_views, hidden=128, dim=32, noise=NOISE), TEMPERATURES),
    questions=[
        question(
            "anchor to tuple",
            "Asked by its anchor, GRAM finds a tuple by volume more often than contrasts of the anchor with each view "
            "do by the mean cosine.",
            "GRAM",
            "anchor cosines",
            "anchor to tuple",
        ),
        question(
            "distance",
            "It does so more often than they do by the distance to the span.",
            "GRAM",
            "anchor cosines",
            "anchor to tuple",
            ("volume", "distance"),
        ),
        question(
            "one contrast",
            "It does so more often than one contrast of whole tuples does by the mean cosine.",
            "GRAM",
            "joint cosine",
            "anchor to tuple",
        ),
        question(
            "after cosines",
            "So does GRAM that started from contrasts of the anchor with each view, with the same steps in all.",
            "GRAM after cosines",
            "joint cosine",
            "anchor to tuple",
        ),
        question(
            "with cosine",
            "So does GRAM with a term of cosines.",
            "GRAM and cosine",
            "joint cosine",
            "anchor to tuple",
        ),
        question(
            "tuple to anchor",
            "Asked by a tuple, GRAM finds its anchor by volume more often than contrasts of the anchor with each view "
            "do by the mean cosine.",
            "GRAM",
            "anchor cosines",
            "tuple to anchor",
        ),
        question(
            "score alone",
            "After contrasts of the anchor with each view, the mean cosine finds more tuples than the volume does.",
            "anchor cosines",
            "anchor cosines",
            "anchor to tuple",
            ("cosines", "volume"),
        ),
        question(
            "other to other",
            "Under GRAM the other views find each other more often than after contrasts of the anchor with each.",
            "GRAM",
            "anchor cosines",
            "other to other",
        ),
        question(
            "two to the third",
            "With every view as anchor, GRAM finds one of the others by anchor and remaining view more often than "
            "contrasts of all pairs do.",
            "GRAM, every anchor",
            "all cosines",
            "two to the third",
        ),
        question(
            "mixed rows",
            "Volumes under GRAM tell rows from rows with one view of another digit better than mean cosines after "
            "contrasts of all pairs do.",
            "GRAM",
            "all cosines",
            "mixed rows",
        ),
        question(
            "mixed rows, every anchor",
            "They do so with every view as anchor.",
            "GRAM, every anchor",
            "all cosines",
            "mixed rows",
        ),
    ],
    tuning=TUNING,
)
