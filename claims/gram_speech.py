"""GRAM on stamps: a picture, its English caption, and its French caption read aloud.

The three repeat each other, where the views of ``claims/gram.py`` complement each other. The encoders are frozen
(EfficientNet, MiniLM, Whisper); a hidden layer and a projection of each are learnt. The caption is the anchor, and
every concept occurs once. The ceiling is what contrasts of cosines find when the test rows were among those for
training.

1. Asked by a caption, picture and speech are found better by GRAM's volume than by the mean cosine after contrasts of
   the caption with each. It could fail because volumes do not see signs: a caption may lie opposite to its picture, and
   what frozen encoders know already points one way. A contrast with the mean direction of picture and speech looks at
   whole tuples too, and is the harder test.
2. Between caption and picture alone the volume is the sine of their angle, and nothing should come out.
3. Picture and speech should come nearer to each other; tuples that lack a member should be found; rows should be told
   from rows with a foreign member.
4. Tuples whose own members nearly coincide have a small volume with everything: the distance to their span should find
   more than the volume.

The pack must be there (``accord data get stamps``), and ``pip install accord[speech]``.

    accord claims tune gram_speech && accord claims run gram_speech
"""

from __future__ import annotations

from shared.triples import stamp_features, stamps_seen
from shared.volumes import TUNE, TUNING, Data, arms, ceiling, question, scales

from accord.claims import Claim

STAMPS, SEEN = (Data(rows, hidden=256, dim=64) for rows in (stamp_features, stamps_seen))

CLAIM = Claim(
    slug="gram_speech",
    kind_of_data="real",
    paper="Volumes find more than cosines with an anchor do in video, sound and text together, also for single "
    "directions between them, and best when training starts from a model of cosines.",
    arms={**arms(STAMPS), "seen": ceiling(SEEN, "anchor cosines trained on the test rows as well")},
    seeds=16,
    scales=scales("seen"),
    tune=TUNE,
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
            "direction",
            "It does so more often than a contrast with the mean direction of picture and speech does.",
            "GRAM",
            "mean direction",
            "anchor to tuple",
            ("volume", "direction"),
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
            "Asked by picture and speech, GRAM finds the caption by volume more often than contrasts of the caption "
            "with each do by the mean cosine.",
            "GRAM",
            "anchor cosines",
            "tuple to anchor",
        ),
        question(
            "two modalities",
            "Between captions and pictures alone, where the volume is the sine of an angle, GRAM finds as much as a "
            "contrast of cosines.",
            "GRAM, two",
            "cosines, two",
            "one to one",
            expects="equivalent",
        ),
        question(
            "hubs",
            "Trained and asked by the distance to the span, GRAM finds more than by volume.",
            "GRAM by distance",
            "GRAM",
            "anchor to tuple",
            ("distance", "volume"),
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
            "other to other",
            "Under GRAM picture and speech find each other more often than after contrasts with the caption.",
            "GRAM",
            "anchor cosines",
            "other to other",
            ("cosines", "cosines"),
        ),
        question(
            "mixed rows",
            "Volumes under GRAM with every modality as anchor tell rows from rows with one foreign member better than "
            "mean cosines after contrasts of all pairs do.",
            "GRAM, every anchor",
            "all cosines",
            "mixed rows",
        ),
    ],
    tuning=TUNING,
)
