"""GRAM on three views of a digit: the volume of a row against contrasts of cosines.

The anchor is a distorted whole, the others are the upper and the lower rows. Every view has noise of its own, so that
together they show more than each; ``claims/gram_speech.py`` asks of modalities that repeat each other.

1. Asked by its anchor, a tuple is found better by GRAM's volume than by the mean cosine after contrasts of the anchor
   with each view. The gain may come from elsewhere than the volume: from looking at whole tuples, which one contrast by
   their mean cosine does as well, or from a better rule than the mean cosine, such as the distance to the span or the
   cosine with the mean direction of the tuple. All of these are asked about. GRAM's gradient is small between vectors
   at right angles, as at the start: two statements are about longer training.
2. In the other direction volume has nothing to add: the volume of the tuple itself is then the same for all answers.
3. As a score alone, volume is worse than the cosines that a model was trained for.
4. The other views should come nearer to each other. It could fail because a volume is as small when the anchor lies in
   the plane of the others, wherever they are in it.
5. The volume of a row tells whether all of it belongs together.

    accord claims run gram
"""

from __future__ import annotations

from shared.triples import NOISE, digit_views
from shared.volumes import EPOCHS, TUNING, Data, arms, question

from accord.claims import Claim

TEMPERATURES = {
    "GRAM": 0.05,
    "GRAM, every anchor": 0.1,
    "GRAM and cosine": 0.1,
    "GRAM after cosines": 0.2,
    "anchor cosines": 0.2,
    "all cosines": 0.2,
    "joint cosine": 0.2,
    "mean direction": 0.2,
}
DIGITS = Data(digit_views, hidden=128, dim=32, noise=NOISE)
LONGER, LONGER_TEMPERATURES = 3 * EPOCHS, {"GRAM": 0.05, "anchor cosines": 0.2, "mean direction": 0.2}

CLAIM = Claim(
    slug="gram",
    kind_of_data="composed",
    paper="The volume that the vectors of a row span compares any number of modalities at once. As the logit of a "
    "contrast it finds more than cosines with an anchor do, and aligns the other modalities with each other too.",
    arms=arms(DIGITS, TEMPERATURES) | arms(DIGITS, LONGER_TEMPERATURES, ", longer", LONGER),
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
            "direction",
            "It does so more often than they do by the cosine with the mean direction of the tuple.",
            "GRAM",
            "anchor cosines",
            "anchor to tuple",
            ("volume", "direction"),
        ),
        question(
            "longer",
            "It does so, by volume against the mean cosine, after three times the steps.",
            "GRAM, longer",
            "anchor cosines, longer",
            "anchor to tuple",
        ),
        question(
            "longer, direction",
            "It does so after three times the steps against a contrast with the mean direction of tuples.",
            "GRAM, longer",
            "mean direction, longer",
            "anchor to tuple",
            ("volume", "direction"),
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
            "Started from contrasts of the anchor with each view, GRAM finds a tuple by volume more often than they do "
            "by the mean cosine after the same steps in all.",
            "GRAM after cosines",
            "anchor cosines",
            "anchor to tuple",
        ),
        question(
            "after cosines, direction",
            "So started, GRAM finds a tuple more often than a contrast with the mean direction of tuples does.",
            "GRAM after cosines",
            "mean direction",
            "anchor to tuple",
            ("volume", "direction"),
        ),
        question(
            "with cosine",
            "Beside a contrast with the mean direction of tuples, GRAM's term finds more than that contrast alone.",
            "GRAM and cosine",
            "mean direction",
            "anchor to tuple",
            ("volume", "direction"),
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
    tuning=f"{TUNING} The mean direction and longer training were added after a first run. The logarithm of the "
    "volume, tried on the same seeds and temperatures, found no more than the volume.",
)
