"""SlotCon on scenes of three or four digits: do its two losses need each other, and do the groups mean things?

1. Grouping and slot contrast together should give better cells than either alone, by a linear probe that names the
   digit, or nothing, in each cell. Against grouping alone the difference may be small.
2. Its groups should fit the masks better than k-means on the cells of SimCLR, trained on whole crops, and better than
   k-means on its own cells. It could fail because at this size a group may be little more than a grey value.
3. Its cells should be better than SimCLR's. The paper's comparisons are on larger scenes and longer training.
4. Where both views are the same picture, agreeing on groups asks nothing of the features: adding it to slot contrast
   should then change nothing.

The floor is the untrained network, the ceiling the same network taught by the masks in as many steps.

    accord claims run slotcon
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.scenes import (
    CROPS,
    MIOU,
    POINTS,
    SCALE,
    SIMCLR,
    TRAINING,
    WHOLE,
    cell_encoder,
    ends,
    masked_scenes,
    segmentation,
)
from sklearn.metrics import normalized_mutual_info_score

from accord.claims import Arm, Claim, Question
from accord.data.corpus import Corpus
from accord.evaluation.dense import cell_classes
from accord.functional import kmeans
from accord.methods.abilities import Segments
from accord.training.artifact import Model

SLOTS = 24
NMI, BY_KMEANS = "NMI of the groups", "NMI of k-means on the cells"


def measure(model: Model, train: Corpus, test: Corpus) -> Mapping[str, float]:
    """The linear probe, and how much groups of cells say about the masks: slots, where there are any, and k-means."""
    maps = model.dense_corpus(test)
    side = (maps.shape[2], maps.shape[3])
    truth = cell_classes(test, *side).reshape(-1)
    clusters = kmeans(maps.flatten(2).mT.flatten(0, 1), SLOTS, n_iter=30)[0].numpy()
    groups = model.segment_corpus(test, side).numpy().reshape(-1) if model.can(Segments) else clusters
    said = [100 * float(normalized_mutual_info_score(truth, found)) for found in (groups, clusters)]
    return {MIOU: segmentation(model, train, test)[MIOU], NMI: said[0], BY_KMEANS: said[1]}


def question(name: str, statement: str, method: str, baseline: str, metric: str = MIOU, **more: Any) -> Question:
    """One comparison of two arms."""
    return Question(name, statement, method=method, baseline=baseline, metric=metric, **{**POINTS, **more})


GROUPS = {"unit": "points of NMI", "because": "the same groups of another k-means start differ by a point"}
CLAIM = Claim(
    slug="slotcon",
    kind_of_data="composed",
    paper="Semantic grouping and contrast of the groups, learnt together, give better features for dense tasks than "
    "either part or than contrast of whole crops, and groups that mean things.",
    data=masked_scenes,
    run={
        "method": {
            "name": "slotcon",
            "slots": SLOTS,
            "dim": 48,
            "hidden": 128,
            "momentum": 0.97,
            "teacher_temperature": 0.05,
            "colour": False,
            **CROPS,
        },
        "training": TRAINING,
    },
    encoders=cell_encoder,
    arms={
        "SlotCon": Arm(),
        "grouping only": Arm({"method.group_weight": 1.0}),
        "slots only": Arm({"method.group_weight": 0.0}),
        "SimCLR": Arm(SIMCLR, note="groups by k-means on its cells"),
        "SlotCon, equal views": Arm(WHOLE),
        "slots only, equal views": Arm({"method.group_weight": 0.0} | WHOLE),
        **ends(measure),
    },
    measure=measure,
    scales={MIOU: SCALE, NMI: SCALE},
    questions=[
        question(
            "against slots only",
            "Both losses together give better cells than slot contrast alone.",
            "SlotCon",
            "slots only",
        ),
        question(
            "against grouping only",
            "Both losses together give better cells than grouping alone.",
            "SlotCon",
            "grouping only",
        ),
        question(
            "groups",
            "Its groups say more about the masks than k-means on SimCLR's cells.",
            "SlotCon",
            "SimCLR",
            NMI,
            **GROUPS,
        ),
        question(
            "groups against its cells",
            "Its groups say more about the masks than k-means on its own cells.",
            "SlotCon",
            "SlotCon",
            NMI,
            baseline_metric=BY_KMEANS,
            **GROUPS,
        ),
        question(
            "against SimCLR",
            "Its cells are better than SimCLR's.",
            "SlotCon",
            "SimCLR",
        ),
        question(
            "equal views",
            "Where both views are the same picture, grouping adds nothing to slot contrast.",
            "SlotCon, equal views",
            "slots only, equal views",
            expects="equivalent",
        ),
    ],
    seeds=5,
    tuning="Teacher's temperature and momentum are those that were chosen on scenes of emoji; nothing was searched for "
    "here, and rate, batch and length are the same for all arms.",
)
