"""CAPro's claims, on web digits: real 8×8 digits whose labels and texts are as wrong as a web search's.

For three labels half of the pictures show one other digit, always the same, and a tenth of all other labels is
random; a third of the texts is junk. All arms share encoder, data, seeds, optimiser and number of epochs. The arms of
CAPro's network differ in how the trusted pictures are chosen, from which the prototypes start, and in nothing else,
save that pictures are protected from correction only where they were chosen, not where all of them are trusted.

1. Pictures chosen by text are right more often than all pictures of a label, and the accuracy on the six confused
   digits profits. It could fail because the prototype of a label whose pictures are half wrong may still lie nearer
   to the right half, and because junk texts may be chosen.
2. Smoothing the texts over visual neighbours does not lose what texts gain. It could fail because the vanilla encoder
   has learnt from the wrong labels who is whose neighbour, and because the own text is replaced.
3. Collective bootstrapping does not lose accuracy against a low-dimensional cross-entropy without it. It could fail
   because in the beginning the queue's opinion is as wrong as the labels.

Settings are the paper's, save for what follows the number of rows and steps (sizes, momenta, epochs, crops), for AdamW,
for the third stage, which is left out, and for the weight of the instance loss: 0.1 instead of 1. What becomes of the
comparison at 1 is measured too. They, the learning rate and the noise of the texts were chosen on seeds 0 and 1, about
ten trials, most of which looked at CAPro and fewer at the other arms; the seeds reported are others. Cross-entropy is
still improving at the end of this budget, so that its distance to CAPro holds for this budget only.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from shared.digits import CONFUSED, MEANINGS, WebDigits, web_digits
from shared.encoders import PixelEncoder, TableEncoder
from shared.interest import POINT

from accord.claims import Arm, Claim, Question
from accord.data.corpus import Corpus
from accord.encoders.base import Encoder
from accord.methods.abilities import JudgesRows
from accord.training.artifact import Model

VANILLA, PROTOTYPES = 12, 48  # epochs
NETWORK = {
    "dim": 64,
    "queue_size": 512,
    "momentum": 0.99,
    "prototype_momentum": 0.99,
    "few_shot": 20,
    "strong_scale": (0.5, 1.0),
    "vanilla_epochs": VANILLA,
    "prototype_epochs": PROTOTYPES,
    "init_epoch": 8,
    "clean_epoch": 8,
    "finetune_epochs": 0,
    "weight_instance": 0.1,
}
CAPRO = {"name": "capro", **NETWORK}
CE, LABELS, TEXTS, SMOOTHED = "cross_entropy", "prototypical", "capro, unsmoothed", "capro"
PLAIN, INSTANCES = "capro, beta = 0", "capro, instance loss of weight 1"

PURITY = "share of right labels among the trusted pictures of the ambiguous labels"
CONFUSED_ACCURACY = "accuracy on the six confused digits"
ACCURACY = "accuracy on all digits"
TOLERANCE = 1.0  # points
UNEQUAL = "The settings were found looking at CAPro; how few of the trials looked at the others was not counted."

WRONG = 0.65
web = cache(lambda seed: web_digits(seed, WRONG))


def data(seed: int) -> tuple[Corpus, Corpus]:
    """Digits under the labels of a web search, and held-out digits."""
    return web(seed).train, web(seed).test


def encoders(train: Corpus, seed: int) -> Mapping[str, Encoder]:
    """A small network for pictures, and what a sentence encoder would say of the texts."""
    found: WebDigits = web(seed)
    return {"image": PixelEncoder(), "text": TableEncoder(found.words, found.vectors)}


def scores(model: Model, train: Corpus, test: Corpus) -> dict[str, float]:
    """Accuracy on all test digits and on the confused ones, and purity where the method trusts rows, in percent."""
    logits = model.classify(test)
    assert logits is not None  # every arm has a classifier
    truth, predicted = np.asarray(test.labels), logits.argmax(dim=1).numpy()
    found = {ACCURACY: predicted == truth, CONFUSED_ACCURACY: (predicted == truth)[np.isin(truth, CONFUSED)]}
    judge = JudgesRows.of(model.method)
    verdicts = None if judge is None else judge.verdicts()
    if verdicts is not None and verdicts.trusted is not None:
        chosen = verdicts.trusted.numpy() & np.isin(train.labels, list(MEANINGS))
        found[PURITY] = (train.labels == train.truth)[chosen]
    return {metric: 100 * float(right.mean()) for metric, right in found.items()}


CLAIM = Claim(
    slug="capro",
    kind_of_data="composed",
    paper="Prototypes that start from pictures whose smoothed texts fit the class survive labels that are wrong in a "
    "systematic way, where prototypes of all pictures of a label do not.",
    data=data,
    run={
        "data": {"definitions": web(0).definitions},
        "training": {
            "batch_size": 64,
            "lr": 5e-3,
            "epochs": VANILLA + PROTOTYPES,
            "accelerator": "cpu",
        },
    },
    encoders=encoders,
    arms={
        CE: Arm({"method.name": "cross_entropy"}),
        LABELS: Arm({"method": {**NETWORK, "name": "prototypical", "beta": 0.1}}),
        TEXTS: Arm({"method": {**CAPRO, "smooth_texts": False}}),
        SMOOTHED: Arm({"method": CAPRO}),
        PLAIN: Arm({"method": {**CAPRO, "beta": 0.0}}),
        INSTANCES: Arm({"method": {**CAPRO, "weight_instance": 1.0}}),
    },
    measure=scores,
    questions=[
        Question(
            "purity",
            "Pictures chosen by smoothed text carry the right label more often than all pictures of the label.",
            method=SMOOTHED,
            baseline=LABELS,
            metric=PURITY,
            unequal_trials=UNEQUAL,
            **POINT,
        ),
        Question(
            "purity_smoothing",
            "Smoothing the texts does not lower the purity of the trusted pictures by a point.",
            method=SMOOTHED,
            baseline=TEXTS,
            metric=PURITY,
            margin=-TOLERANCE,
            **POINT,
        ),
        Question(
            "prototypes",
            "With the instance loss at a tenth of its weight, prototypes from pictures chosen by text are more "
            "accurate on confused digits than those from all pictures.",
            method=SMOOTHED,
            baseline=LABELS,
            metric=CONFUSED_ACCURACY,
            unequal_trials=UNEQUAL,
            **POINT,
        ),
        Question(
            "prototypes_smoothing",
            "Smoothing the texts does not cost a point of accuracy on confused digits.",
            method=SMOOTHED,
            baseline=TEXTS,
            metric=CONFUSED_ACCURACY,
            margin=-TOLERANCE,
            **POINT,
        ),
        Question(
            "cross_entropy_confused",
            "With the instance loss at a tenth of its weight, CAPro beats the accuracy of cross-entropy on confused "
            "digits.",
            method=SMOOTHED,
            baseline=CE,
            metric=CONFUSED_ACCURACY,
            unequal_trials=UNEQUAL,
            **POINT,
        ),
        Question(
            "cross_entropy",
            "With the instance loss at a tenth of its weight, CAPro beats the accuracy of cross-entropy over all "
            "digits.",
            method=SMOOTHED,
            baseline=CE,
            metric=ACCURACY,
            unequal_trials=UNEQUAL,
            **POINT,
        ),
        Question(
            "instance_weight",
            "With the instance loss at its full weight, CAPro beats the accuracy of cross-entropy on confused digits.",
            method=INSTANCES,
            baseline=CE,
            metric=CONFUSED_ACCURACY,
            unequal_trials=UNEQUAL,
            **POINT,
        ),
        Question(
            "bootstrapping",
            "Collective bootstrapping (beta = 0.1 against 0) does not cost a point of accuracy.",
            method=SMOOTHED,
            baseline=PLAIN,
            metric=ACCURACY,
            margin=-TOLERANCE,
            **POINT,
        ),
    ],
    seeds=(10, 11, 12, 13, 14),  # not those on which the settings were chosen
    quick={"method.vanilla_epochs": 1, "method.prototype_epochs": 3},
    tuning="On seeds 0 and 1, about ten trials, most of which looked at CAPro and fewer at the other arms.",
)
