"""ILA's claims, on clips of real 8×8 digits that move: is it enough to look at neighbouring frames?

The four classes are two movements and their reverses, which show the same single frames. All arms classify clips by the
names of the movements, with the same transformer on frames, texts, rows and steps; they differ in what happens between
frames: nothing, messages (X-CLIP), or implicit alignment. But for one arm, the frames are merged by their mean, so that
whatever is known of their order comes from inside the tower.

1. With alignment more movements are found than by a mean over frames that know nothing of each other. It could fail
   because the windows are wide for 4 × 4 patches and the maps of two frames alone say little about the whole.
2. Direction is the accuracy among clips for which the movement or its reverse was answered. Messages have no position
   and are at a coin's level; a pair of neighbours is ordered, so that alignment should be above.
3. Against messages that a transformer with positions merges, the whole of X-CLIP, alignment knows more of direction.
4. Neither the alignment loss nor points that move should cost accuracy; that they bring some is the paper's, but a
   small gain. The points of one arm stay in the middle.

The floor is chance and the untrained network, the ceiling 100: every clip shows what its digit does.

Alignment adds parameters and time: arms are compared at equal steps, not at equal time.
"""

from __future__ import annotations

from typing import Any

from shared.moving import ACCURACY, ACTIONS, DIRECTION, PAIR, SIDE, UNMIXED, actions_found, moving_digits

from accord.claims import Arm, Claim, Question, Scale
from accord.data.corpus import Corpus

MEAN, MESSAGES, XCLIP, ILA = "mean over frames", "messages", "x-clip", "alignment"
FREE, FIXED, UNTRAINED = "alignment, no loss", "alignment, points in the middle", "untrained"
MOVES = ACTIONS[:4]
CLIPS, EPOCHS, SEEN, HIDDEN = 640, 15, 4, 32  # SEEN of a clip's eight frames
COST = 2.0  # points
POINTS: dict[str, Any] = {"smallest": 3.0, "because": "below three points the paper's gain on real clips is not seen"}
SIZES = {"size": SIDE, "patch": 6, "width": 64, "depth": 2, "frames": SEEN, "temporal": "mean"}


def few_clips(seed: int) -> tuple[Corpus, Corpus]:
    """As many clips as seven arms get through on a core in less than half a minute each."""
    return moving_digits(seed, train=CLIPS, test=400, actions=MOVES)


def messages(on: bool, merged: str) -> dict[str, Any]:
    """Changes of the run for X-CLIP's tower, with messages or without."""
    options = {**SIZES, "message": on, "temporal": merged}
    return {
        "method": {"name": "xclip", **UNMIXED},
        "encoders.video": {"name": "cross_frame", "options": options},
    }


CLAIM = Claim(
    slug="ila",
    kind_of_data="composed",
    paper="Pointing at where neighbouring frames meet, and showing each frame what lies there, models motion better "
    "than attention over time does, and without it.",
    data=few_clips,
    run={
        "method": {"name": "ila", **UNMIXED, "erase": 0.0},
        "encoders": {
            "video": {"name": "alignment", "options": {**SIZES, "hidden": HIDDEN}},
            "text": {"name": "tiny_text", "options": {"width": 64, "depth": 1, "heads": 4}},
        },
        "training": {"epochs": EPOCHS, "batch_size": 32, "lr": 2e-3, "warmup": 1 / 6, "accelerator": "cpu"},
    },
    arms={
        MEAN: Arm(messages(False, "mean")),
        MESSAGES: Arm(messages(True, "mean")),
        XCLIP: Arm(messages(True, "mit")),
        ILA: Arm(),
        FREE: Arm({"method.alignment_weight": 0.0}),
        FIXED: Arm({"encoders.video.freeze": ["*.points.*"]}, note="what points is not trained from its start"),
        UNTRAINED: Arm(untrained=True),
    },
    measure=actions_found,
    scales={
        ACCURACY: Scale((UNTRAINED, 100 / len(MOVES)), 100.0),
        PAIR: Scale((UNTRAINED, 200 / len(MOVES)), 100.0),
        DIRECTION: Scale(50.0, 100.0),
    },
    questions=[
        Question(
            "accuracy",
            "With alignment more movements are found than by a mean over frames.",
            method=ILA,
            baseline=MEAN,
            metric=ACCURACY,
            **POINTS,
        ),
        Question(
            "direction",
            "Alignment tells a movement from its reverse more often than a coin does, though the frames are merged by "
            "their mean.",
            method=ILA,
            baseline=50.0,
            metric=DIRECTION,
            **POINTS,
        ),
        Question(
            "more than messages",
            "It does so more often than messages between frames, merged alike.",
            method=ILA,
            baseline=MESSAGES,
            metric=DIRECTION,
            **POINTS,
        ),
        Question(
            "more than x-clip",
            "It does so more often than messages that a transformer with positions merges.",
            method=ILA,
            baseline=XCLIP,
            metric=DIRECTION,
            **POINTS,
        ),
        Question(
            "loss",
            f"Drawing the contents of the windows together does not cost {COST:g} points of accuracy.",
            method=ILA,
            baseline=FREE,
            metric=ACCURACY,
            margin=-COST,
            **POINTS,
        ),
        Question(
            "points",
            f"Neither do points that move, against windows in the middle, by {COST:g} points of accuracy.",
            method=ILA,
            baseline=FIXED,
            metric=ACCURACY,
            margin=-COST,
            **POINTS,
        ),
    ],
    seeds=5,
    tuning="None: the learning rate is that of the claim on X-CLIP, which was chosen for X-CLIP.",
)
