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

    python claims/capro.py
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from shared.digits import CONFUSED, MEANINGS, WebDigits, web_digits
from shared.encoders import DigitEncoder, TableEncoder
from shared.record import paired, write

from accord.methods import DataInfo, Method
from accord.methods.noisy.baselines import CrossEntropy, Prototypical
from accord.methods.noisy.capro import Capro
from accord.training.artifact import Model
from accord.training.config import TrainingConfig
from accord.training.fit import fit

SEEDS = (10, 11, 12, 13, 14)  # not those on which the settings below were chosen
VANILLA, PROTOTYPES = 5, 20  # epochs
NETWORK = {
    "dim": 64,
    "queue_size": 512,
    "momentum": 0.99,
    "prototype_momentum": 0.99,
    "few_shot": 20,
    "strong_scale": (0.5, 1.0),
    "vanilla_epochs": VANILLA,
    "prototype_epochs": PROTOTYPES,
    "init_epoch": 1,
    "clean_epoch": 2,
    "finetune_epochs": 0,
    "weight_instance": 0.1,
}
CE, LABELS, TEXTS, SMOOTHED = "cross_entropy", "prototypical", "capro, unsmoothed", "capro"
PLAIN, INSTANCES = "capro, beta = 0", "capro, instance loss of weight 1"
ARMS: dict[str, tuple[type[Method], dict[str, Any]]] = {
    CE: (CrossEntropy, {}),
    LABELS: (Prototypical, {**NETWORK, "beta": 0.1}),
    TEXTS: (Capro, {**NETWORK, "smooth_texts": False}),
    SMOOTHED: (Capro, NETWORK),
    PLAIN: (Capro, {**NETWORK, "beta": 0.0}),
    INSTANCES: (Capro, {**NETWORK, "weight_instance": 1.0}),
}
TRAINING = {"batch_size": 64, "lr": 5e-3, "epochs": VANILLA + PROTOTYPES}

PURITY = "points of the share of right labels among the trusted pictures of the ambiguous labels"
CONFUSED_ACCURACY = "points of accuracy on the six confused digits"
ACCURACY = "points of accuracy on all digits"
TOLERANCE = 1.0  # points


@dataclass(frozen=True)
class Comparison:
    """One statement: two arms and a metric."""

    claim: str
    statement: str
    method: str
    baseline: str
    metric: str
    tolerance: float = 0.0


COMPARISONS = (
    Comparison(
        "capro_purity",
        "Pictures chosen by smoothed text carry the right label more often than all pictures of the label.",
        SMOOTHED,
        LABELS,
        PURITY,
    ),
    Comparison(
        "capro_purity_smoothing",
        "Smoothing the texts does not lower the purity of the trusted pictures by a point.",
        SMOOTHED,
        TEXTS,
        PURITY,
        TOLERANCE,
    ),
    Comparison(
        "capro_prototypes",
        "With the instance loss at a tenth of its weight, prototypes from pictures chosen by text are more accurate on "
        "confused digits than those from all pictures.",
        SMOOTHED,
        LABELS,
        CONFUSED_ACCURACY,
    ),
    Comparison(
        "capro_prototypes_smoothing",
        "Smoothing the texts does not cost a point of accuracy on confused digits.",
        SMOOTHED,
        TEXTS,
        CONFUSED_ACCURACY,
        TOLERANCE,
    ),
    Comparison(
        "capro_cross_entropy_confused",
        "With the instance loss at a tenth of its weight, CAPro beats the accuracy of cross-entropy on confused "
        "digits.",
        SMOOTHED,
        CE,
        CONFUSED_ACCURACY,
    ),
    Comparison(
        "capro_cross_entropy",
        "With the instance loss at a tenth of its weight, CAPro beats the accuracy of cross-entropy over all digits.",
        SMOOTHED,
        CE,
        ACCURACY,
    ),
    Comparison(
        "capro_instance_weight",
        "With the instance loss at its full weight, CAPro beats the accuracy of cross-entropy on confused digits.",
        INSTANCES,
        CE,
        CONFUSED_ACCURACY,
    ),
    Comparison(
        "capro_bootstrapping",
        "Collective bootstrapping (beta = 0.1 against 0) does not cost a point of accuracy.",
        SMOOTHED,
        PLAIN,
        ACCURACY,
        TOLERANCE,
    ),
)


def main() -> None:
    """Measure the claims, print and write them."""
    values: dict[str, dict[str, list[float]]] = {arm: {} for arm in ARMS}
    seconds = dict.fromkeys(ARMS, 0.0)
    for seed in SEEDS:
        data = web_digits(seed)
        for arm in ARMS:
            start = time.perf_counter()
            found = scores(trained(data, arm, seed), data)
            seconds[arm] += time.perf_counter() - start
            for metric, value in found.items():
                values[arm].setdefault(metric, []).append(value)
            print(
                f"seed {seed}, {arm}:",
                ", ".join(f"{value:.1f} {metric}" for metric, value in found.items()),
                flush=True,
            )
    for one in COMPARISONS:
        both = ((arm, values[arm][one.metric]) for arm in (one.method, one.baseline))
        spent = seconds[one.method] + seconds[one.baseline]
        write(paired(one.claim, one.statement, one.metric, *both, SEEDS, spent, tolerance=one.tolerance))


def trained(data: WebDigits, arm: str, seed: int) -> Method:
    """The method of an arm after training."""
    method, settings = ARMS[arm]
    torch.manual_seed(seed)
    encoders = {"image": DigitEncoder(), "text": TableEncoder(data.words, data.vectors)}
    assert data.train.labels is not None
    info = DataInfo(
        rows=len(data.train),
        classes=data.train.classes,
        definitions=tuple(data.definitions[name] for name in data.train.classes),
        label_counts=tuple(np.bincount(data.train.labels).tolist()),
    )
    model = method(settings, encoders, info)
    # Nothing frozen is worth storing: the table is as fast as a cache.
    config = TrainingConfig.parse({**TRAINING, "seed": seed, "accelerator": "cpu", "cache_features": False})
    with TemporaryDirectory() as folder:
        fit(model, data.train, config, Path(folder), progress=False)
    return model


def scores(model: Method, data: WebDigits) -> dict[str, float]:
    """Accuracy on all test digits and on the confused ones, and purity where the method trusts rows, in percent."""
    logits = Model(model).classify(data.test)
    assert logits is not None  # every arm has a classifier
    truth, predicted = np.asarray(data.test.labels), logits.argmax(dim=1).numpy()
    found = {ACCURACY: predicted == truth, CONFUSED_ACCURACY: (predicted == truth)[np.isin(truth, CONFUSED)]}
    verdicts = model.verdicts()
    if verdicts is not None and verdicts.trusted is not None:
        chosen = verdicts.trusted.numpy() & np.isin(data.train.labels, list(MEANINGS))
        found[PURITY] = (data.train.labels == data.train.truth)[chosen]
    return {metric: 100 * float(right.mean()) for metric, right in found.items()}


if __name__ == "__main__":
    main()
