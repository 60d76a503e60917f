"""CAPro on pictures found by keyword: the shipped comparison ``emoji-web``, on other seeds than its settings.

A class's training pictures are whatever its query words find among the names and tags of emoji, so that less than
half of the labels are right and some wrong ones have a pattern: "mouse" brings computer mice to the mammals. Scored on
concepts that no training picture shows, by their true labels. All arms share frozen encoder, data, seeds, optimiser,
stored copies of each view and passes over the rows; those of CAPro's network spend the last 15 of 28 on the classifier.

What the noise costs is the distance from cross-entropy on all labels to cross-entropy on the rows whose label is right:
who knew which rows are wrong could have that. True labels of all training concepts are more, since they bring pictures
that no keyword finds.

1. CAPro is more accurate than cross-entropy on the keyword's label. It could fail because a linear classifier on
   frozen features averages much of the noise away by itself.
2. CAPro is more accurate than prototypes that start from all pictures of a keyword.
3. CAPro recovers at least half of what the noise costs. It could fail because dropping a wrong label loses the picture.
4. Prototypes add to what texts give: it is more accurate than a classifier taught the trusted rows alone.
5. Where labels are right there is nothing to gain, and it should lose nothing.

    accord claims tune emoji_web && accord claims run emoji_web
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from accord.claims import Arm, Claim, Combined, Question, Scale, Tuning
from accord.data.corpus import Corpus
from accord.data.recipe import prepare
from accord.pipeline.config import RunConfig, merged, read_config

STUDY = read_config("emoji-web")
METRIC, CHANCE = "top-1", 100 / len(STUDY["run"]["data"]["classes"])
CLEAN, NOISY, ALL, CAPRO = "clean labels", "cross_entropy", "prototypical", "capro"  # the arms of the study
RIGHT, HALF = "right rows", "halfway from cross_entropy to right rows"
TEXT, CLEAN_CAPRO, UNTRAINED = "text alone", "capro, clean labels", "untrained"

RATES = {"training.lr": [1e-3, 2e-3, 4e-3], "training.weight_decay": [3.0, 10.0, 30.0]}
SEARCHES: dict[str, Mapping[str, Any]] = {
    CLEAN: RATES,
    NOISY: RATES,
    ALL: {**RATES, "method.correct_threshold": [0.6, 0.9]},
    CAPRO: {**RATES, "method.few_shot_margin": [-0.05, 0.0, 0.05]},
}
SMALLEST: dict[str, Any] = {
    "metric": METRIC,
    "unit": "points on held-out concepts",
    "smallest": 1.5,
    "because": "less would not pay for a text beside each picture and a definition of each class",
}


def right_rows(seed: int) -> tuple[Corpus, Corpus]:
    """The training rows of a split whose keyword is right, and its held-out concepts."""
    config = RunConfig.parse(merged(STUDY["run"], {"data.split.seed": seed}))
    prepared = prepare(config.data, quiet=True)
    train = prepared.train
    return train.select(np.flatnonzero(np.asarray(train.labels) == np.asarray(train.truth))), prepared.test


def halfway(noisy: Mapping[str, float], right: Mapping[str, float]) -> dict[str, float]:
    """The middle between the accuracies with all labels and with those that are right."""
    return {METRIC: (noisy[METRIC] + right[METRIC]) / 2}


STUDIED = {name: Arm(arm["changes"], search=SEARCHES[name], note=arm["note"]) for name, arm in STUDY["arms"].items()}
TAKEN_OVER = "The other CAPro has the settings that were chosen for CAPro on the keyword's labels."
KEEP_NO_OTHER = {"method.keep_threshold": 1.0, "method.correct_threshold": 1.0}  # but the trusted rows

CLAIM = Claim(
    slug="emoji_web",
    paper="CAPro keeps learning from pictures found by keyword, whose labels are often wrong, because prototypes start "
    "from the pictures whose text fits the class.",
    kind_of_data="real",
    data=STUDY["run"]["data"],
    run={key: value for key, value in STUDY["run"].items() if key != "data"},
    arms={
        **STUDIED,
        RIGHT: Arm(
            {"method": "cross_entropy"},
            data=right_rows,
            search=RATES,
            note="cross-entropy on the right rows alone",
        ),
        HALF: Combined((NOISY, RIGHT), halfway),
        TEXT: Arm(
            {**STUDIED[CAPRO].changes, **KEEP_NO_OTHER},
            settings_of=CAPRO,
            note="CAPro's trusted rows and no other: nothing is kept or corrected by prototypes",
        ),
        CLEAN_CAPRO: Arm(
            {**STUDIED[CAPRO].changes, "data.corruption": None},
            settings_of=CAPRO,
            note="CAPro on the true labels of the training concepts",
        ),
        UNTRAINED: Arm({"method": "cross_entropy"}, untrained=True),
    },
    scales={METRIC: Scale(floor=(UNTRAINED, CHANCE), ceiling=RIGHT)},
    questions=[
        Question(
            "cross_entropy",
            "CAPro is more accurate than cross-entropy on the keyword's label.",
            method=CAPRO,
            baseline=NOISY,
            **SMALLEST,
        ),
        Question(
            "prototypes",
            "CAPro is more accurate than prototypes of all pictures of a keyword.",
            method=CAPRO,
            baseline=ALL,
            **SMALLEST,
        ),
        Question(
            "half",
            "CAPro recovers at least half of what the noise costs cross-entropy.",
            method=CAPRO,
            baseline=HALF,
            equal="nothing",  # fewer right rows make fewer steps
            **SMALLEST,
        ),
        Question(
            "text alone",
            "CAPro is more accurate than its classifier on the trusted rows alone.",
            method=CAPRO,
            baseline=TEXT,
            unequal_trials=TAKEN_OVER,
            **SMALLEST,
        ),
        Question(
            "no noise",
            "On true labels CAPro is as accurate as cross-entropy.",
            method=CLEAN_CAPRO,
            baseline=CLEAN,
            unequal_trials=TAKEN_OVER,
            expects="equivalent",
            scale=Scale(floor=(UNTRAINED, CHANCE), ceiling=CLEAN),
            **SMALLEST,
        ),
    ],
    seeds=range(30, 40),
    headline=True,
    tune=Tuning(trials=6, seeds=(100, 101), metric=METRIC),
    quick={"method.vanilla_epochs": 1, "method.prototype_epochs": 2, "method.finetune_epochs": 1},
    tuning="What is not searched for was chosen on splits 100 to 103: that texts are not smoothed, that the last stage "
    "begins with a new classifier, and what is kept.",
)
