"""GRAM on three views of a digit: the volume of a row against contrasts of cosines.

The anchor is a distorted whole, the others are the upper and the lower rows. Every view has noise of its own, so that
together they show more than each; ``claims/gram_speech.py`` asks of modalities that repeat each other. The ceiling is
what contrasts of cosines find where views have no noise.

1. Asked by its anchor, a tuple is found better by GRAM's volume than by the mean cosine after contrasts of the anchor
   with each view. The gain may come from elsewhere than the volume: from a better rule than the mean cosine, such as
   the distance to the span, or from looking at whole tuples, as a contrast with their mean direction does too.
2. In the other direction volume has nothing to add: the volume of the tuple itself is then the same for all answers.
   Between two views it is the sine of their angle. Where nothing should come out, something would be wrong.
3. As a score alone, volume is worse than the cosines that a model was trained for.
4. The other views should come nearer to each other. It could fail because a volume is as small when the anchor lies in
   the plane of the others, wherever they are in it.
5. Without the factor that makes hubs, the distance to the span should find more than the volume.
6. Tuples that lack a view should be found among those that do not; the volume of a row should tell whether all of it
   belongs together.

    accord claims tune gram && accord claims run gram
"""

from __future__ import annotations

from functools import partial

from shared.triples import NOISE, digit_views
from shared.volumes import TUNE, TUNING, Data, arms, ceiling, question, scales

from accord.claims import Claim

DIGITS = Data(digit_views, hidden=128, dim=32, noise=NOISE)
CLEAN = Data(partial(digit_views, noise=0.0), hidden=128, dim=32)

CLAIM = Claim(
    slug="gram",
    kind_of_data="composed",
    paper="The volume that the vectors of a row span compares any number of modalities at once. As the logit of a "
    "contrast it finds more than cosines with an anchor do, and aligns the other modalities with each other too.",
    arms={**arms(DIGITS), "no noise": ceiling(CLEAN, "anchor cosines on views without noise")},
    seeds=12,
    scales=scales("no noise"),
    tune=TUNE,
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
            "It does so more often than a contrast with the mean direction of tuples does.",
            "GRAM",
            "mean direction",
            "anchor to tuple",
            ("volume", "direction"),
        ),
        question(
            "from scratch",
            "Without the warm start, too, it does so more often than contrasts of the anchor with each view do by the "
            "mean cosine.",
            "GRAM from scratch",
            "anchor cosines",
            "anchor to tuple",
        ),
        question(
            "warm start",
            "It does so more often with the warm start than without.",
            "GRAM",
            "GRAM from scratch",
            "anchor to tuple",
            ("volume", "volume"),
        ),
        question(
            "tuple to anchor",
            "Asked by a tuple, GRAM finds its anchor by volume as often as contrasts of the anchor with each view do "
            "by the mean cosine.",
            "GRAM",
            "anchor cosines",
            "tuple to anchor",
            expects="equivalent",
        ),
        question(
            "two views",
            "Between two views, where the volume is the sine of an angle, GRAM finds as much as a contrast of cosines.",
            "GRAM, two",
            "cosines, two",
            "one to one",
            expects="equivalent",
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
            "hubs",
            "Trained and asked by the distance to the span, GRAM finds more tuples than by volume.",
            "GRAM by distance",
            "GRAM",
            "anchor to tuple",
            ("distance", "volume"),
        ),
        question(
            "incomplete",
            "Where a third of the tuples lacks the one view and a third the other, GRAM finds them by volume more "
            "often than contrasts of the anchor with each view do by the mean cosine.",
            "GRAM",
            "anchor cosines",
            "anchor to incomplete tuple",
        ),
        question(
            "other to other",
            "Under GRAM the other views find each other more often than after contrasts of the anchor with each.",
            "GRAM",
            "anchor cosines",
            "other to other",
            ("cosines", "cosines"),
        ),
        question(
            "mixed rows",
            "Volumes under GRAM with every view as anchor tell rows from rows with one view of another digit better "
            "than mean cosines after contrasts of all pairs do.",
            "GRAM, every anchor",
            "all cosines",
            "mixed rows",
        ),
    ],
    tuning=TUNING,
)
