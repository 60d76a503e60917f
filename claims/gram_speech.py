"""GRAM on stamps: a picture, its English caption, and its French caption read aloud.

The three repeat each other, where the views of ``claims/gram.py`` complement each other. The encoders are frozen
(EfficientNet, MiniLM, Whisper); a hidden layer and a projection of each are learnt, or a projection alone, as in a
plain run of the library. The caption is the anchor, and every concept occurs once.

1. Asked by a caption, picture and speech are found better by GRAM's volume than by the mean cosine after contrasts of
   the caption with each. It could fail because volumes do not see signs: a caption may lie opposite to its picture, and
   what frozen encoders know already points one way.
2. Picture and speech should come nearer to each other; caption and speech together should find the picture; tuples that
   lack a member should be found; rows should be told from rows with a foreign member.
3. The paper starts from a model of cosines: then GRAM should find more than contrasts of cosines. One with the mean
   direction of picture and speech looks at whole tuples too, and is the harder test; beside it, GRAM is a second term.
4. Tuples whose own members nearly coincide have a small volume with everything: the distance to their span should find
   more than the volume.

The pack must be there (``accord data get stamps``), and ``pip install accord[speech]``.

    accord claims run gram_speech
"""

from __future__ import annotations

from shared.triples import stamp_features
from shared.volumes import TUNING, Data, arms, question

from accord.claims import Claim

LAYER, LINEAR = (Data(stamp_features, hidden=hidden, dim=64) for hidden in (256, 0))
TEMPERATURES = {
    "GRAM": 0.4,
    "GRAM, every anchor": 0.8,
    "GRAM and cosine": 0.8,
    "GRAM after cosines": 0.8,
    "anchor cosines": 0.8,
    "all cosines": 0.8,
    "mean direction": 0.8,
}
LINEAR_TEMPERATURES = {"GRAM": 0.4, "GRAM and cosine": 0.8, "anchor cosines": 0.4, "mean direction": 0.8}
BY_DIRECTION = ("direction", "direction")

CLAIM = Claim(
    slug="gram_speech",
    kind_of_data="real",
    paper="Volumes find more than cosines with an anchor do in video, sound and text together, also for single "
    "directions between them, and best when training starts from a model of cosines.",
    arms=arms(LAYER, TEMPERATURES) | arms(LINEAR, LINEAR_TEMPERATURES, ", linear"),
    questions=[
        question(
            "anchor to tuple",
            "Asked by a caption, GRAM finds picture and speech by volume more often than contrasts of the caption with "
            "each do by the mean cosine.",
            "GRAM",
            "anchor cosines",
            "anchor to tuple",
        ),
        question(
            "anchor to tuple, linear",
            "It does so where only projections of the frozen encoders are learnt.",
            "GRAM, linear",
            "anchor cosines, linear",
            "anchor to tuple",
        ),
        question(
            "tuple to anchor",
            "Asked by picture and speech, GRAM finds the caption by volume more often than contrasts of the caption "
            "with each do by the mean cosine.",
            "GRAM",
            "anchor cosines",
            "tuple to anchor",
        ),
        question(
            "other to other",
            "Under GRAM picture and speech find each other more often than after contrasts with the caption.",
            "GRAM",
            "anchor cosines",
            "other to other",
        ),
        question(
            "two to the third",
            "With every modality as anchor, GRAM finds pictures by caption and speech, and speech by caption and "
            "picture, more often than contrasts of all pairs do.",
            "GRAM, every anchor",
            "all cosines",
            "two to the third",
        ),
        question(
            "incomplete",
            "Where a third of the tuples lacks the picture and a third the speech, GRAM finds them by volume more "
            "often than contrasts of the caption with each do by the mean cosine.",
            "GRAM",
            "anchor cosines",
            "anchor to incomplete tuple",
        ),
        question(
            "mixed rows",
            "Volumes under GRAM tell rows from rows with one foreign member better than mean cosines after contrasts "
            "of all pairs do.",
            "GRAM",
            "all cosines",
            "mixed rows",
        ),
        question(
            "after cosines",
            "Started from contrasts of the caption with each, GRAM finds picture and speech by volume more often than "
            "they do by the mean cosine after the same steps in all.",
            "GRAM after cosines",
            "anchor cosines",
            "anchor to tuple",
        ),
        question(
            "after cosines, direction",
            "So started, GRAM finds picture and speech more often than a contrast with their mean direction does.",
            "GRAM after cosines",
            "mean direction",
            "anchor to tuple",
            ("volume", "direction"),
        ),
        question(
            "hubs",
            "So started, GRAM finds more of them by the distance to their span than by volume.",
            "GRAM after cosines",
            "GRAM after cosines",
            "anchor to tuple",
            ("distance", "volume"),
        ),
        question(
            "with cosine",
            "Beside a contrast with the mean direction of picture and speech, GRAM's term finds more of them by that "
            "direction than the contrast alone.",
            "GRAM and cosine",
            "mean direction",
            "anchor to tuple",
            BY_DIRECTION,
        ),
        question(
            "with cosine, linear",
            "It does so where only projections of the frozen encoders are learnt.",
            "GRAM and cosine, linear",
            "mean direction, linear",
            "anchor to tuple",
            BY_DIRECTION,
        ),
    ],
    tuning=f"{TUNING} The mean direction was added after a first run. The logarithm of the volume, tried on the same "
    "seeds and temperatures, found no more than the volume.",
)
