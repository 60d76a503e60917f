"""Hydra on real 8×8 digits among other digits: arbitrary pairs of classes as positives, with the filter and without.

A picture is a digit with two others below it, brighter by half, and its label is that of the first: two thirds of what
is seen say nothing. Plain digits would not do, since every variant knows them.

1. Where any class may be an anchor's partner, vectors should be worse by eight points and more without the filter.
2. With it, arbitrary partners should cost nothing against supervised contrast, whose partner is the own class.
3. The paper says that arbitrary pairs prevent the collapse of dimensions: the effective rank should be higher than with
   supervised contrast. It could fail because ten classes need few dimensions whatever is contrasted.
4. The gates of two classes should be the more alike, the more often the classes are taken for each other.

Accuracy is that of the ten nearest neighbours by the encoder's vectors. The floor is an untrained encoder, the ceiling
supervised contrast where no other digits are below. All arms take the same steps, with temperature and learning rate
chosen in as many trials.

    accord claims tune hydra_pairs && accord claims run hydra_pairs
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr
from shared.digits import WORDS, Digits, tuning_digits
from torch import Tensor, nn

from accord.claims import Arm, Claim, Measured, Question, Scale, Tuning
from accord.data.inputs import ImageInput
from accord.encoders.base import Encoder, Features
from accord.evaluation.knn import knn_scores
from accord.functional import effective_rank, warmup_cosine_at
from accord.methods import DataInfo, Step
from accord.methods.image.hydra_pairs import HydraPairs

EPOCHS, BATCH, WARMUP, NEIGHBOURS = 40, 128, 0.05, 10
LOUD = 1.5  # how bright the other digits are
KNN, RANK, GATES = "accuracy of 10 neighbours", "effective rank", "gates like confusions"
SEARCH = {"temperature": [0.05, 0.1, 0.2, 0.4], "lr": (5e-4, 5e-3, "log")}
HEAD: dict[str, Any] = {"dim": 32, "hidden": 64, "label_dim": 64, "gate_hidden": 128}
SUPERVISED: dict[str, Any] = {"gate": "open", "partner": "identical"}


class Rows(NamedTuple):
    """Digits among others: ``(N, 192)`` in [0, 1.5], and ``(N,)`` the digit that counts."""

    x: Tensor
    labels: Tensor


class AmongOthers(Encoder):
    """Two layers on the grey values of three digits."""

    modality = "image"

    def __init__(self, hidden: int = 128, dim: int = 64) -> None:
        super().__init__()
        self.input, self.dim = ImageInput(size=8), dim
        self.layers = nn.Sequential(nn.Linear(192, hidden), nn.ReLU(), nn.Linear(hidden, dim), nn.ReLU())

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of ``(B, 192)``."""
        return Features(pooled=self.layers(x))

    def blocks(self) -> list[nn.Module]:
        """The two layers."""
        return [self.layers[:2], self.layers[2:]]

    def spec(self) -> dict[str, Any]:
        """The name."""
        return {"name": "among_others"}


def among_others(digits: Digits, seed: int, loud: float = LOUD) -> Rows:
    """Each digit with two others drawn from the same digits, so many times as bright."""
    random = np.random.default_rng(seed)
    grey = digits.pixels.reshape(len(digits.labels), -1) / 255
    others = [loud * grey[random.integers(len(grey), size=len(grey))] for _ in range(2)]
    x = np.concatenate([grey, *others], axis=1).astype(np.float32)
    return Rows(torch.from_numpy(x), torch.from_numpy(digits.labels))


def outcome(
    seed: int,
    config: Mapping[str, Any],
    *,
    epochs: int = EPOCHS,
    loud: float = LOUD,
    settings: Mapping[str, Any] | None = None,
    share: float = 0.0,
    quick: bool = False,
) -> Measured:
    """Train an encoder and measure it: an arm of the claim."""
    parts = tuning_digits(seed, share)
    train, test = (among_others(digits, 2 * seed + place, loud) for place, digits in enumerate(parts))
    torch.manual_seed(seed)
    chosen = {"lr": 1e-3, **(settings or {})}
    lr = float(chosen.pop("lr"))
    facts = DataInfo(rows=len(train.labels), classes=WORDS)
    method = HydraPairs({**HEAD, **config, **chosen}, {"image": AmongOthers()}, facts)
    passes = min(epochs, 1) if quick else epochs
    steps = passes * (len(train.labels) // BATCH)
    fitted(method, train, steps, lr)
    return Measured(measure(method.eval(), train, test), steps, passes)


def fitted(method: HydraPairs, rows: Rows, steps: int, lr: float) -> None:
    """Train in place, with Adam and the usual schedule."""
    optimizer = torch.optim.Adam(method.parameters(), lr=lr)
    each = len(rows.labels) // BATCH
    method.train()
    for index in range(steps):
        if index % each == 0:
            batches = torch.randperm(len(rows.labels)).split(BATCH)
        chosen = batches[index % each]
        batch = {"image": rows.x[chosen], "label": rows.labels[chosen], "index": chosen}
        step = Step(index=index, total=steps, seed=int(torch.randint(2**31, ())), watched=False)
        optimizer.param_groups[0]["lr"] = warmup_cosine_at(index, round(WARMUP * steps), steps, base=lr)
        optimizer.zero_grad()
        method.loss(batch, step)["total"].backward()
        optimizer.step()
        method.after_step(step)


@torch.inference_mode()
def measure(method: HydraPairs, train: Rows, test: Rows) -> dict[str, float]:
    """Accuracy of neighbours, rank of the vectors, and whether classes that are alike have gates that are alike."""
    known, asked = (method.embed({"image": rows.x})["image"] for rows in (train, test))
    guess = knn_scores(known, train.labels.numpy(), asked, k=NEIGHBOURS, num_classes=len(WORDS)).argmax(dim=1)
    found = {
        KNN: 100 * float((guess == test.labels).float().mean()),
        RANK: float(effective_rank(asked, center=True)),
    }
    if method.config.gate != "open":
        found[GATES] = gates_like_confusions(method, train, test)
    return found


def gates_like_confusions(method: HydraPairs, train: Rows, test: Rows) -> float:
    """Rank correlation over pairs of classes: cosine of their gates, and how often pixels take one for the other."""
    classes = torch.arange(len(WORDS))
    gates = nn.functional.normalize(method.gates(classes, classes), dim=1)
    known, asked = (nn.functional.normalize(rows.x[:, :64], dim=1) for rows in (train, test))
    votes = knn_scores(known, train.labels.numpy(), asked, k=NEIGHBOURS, num_classes=len(WORDS))  # (N, C)
    taken = torch.stack([votes[test.labels == label].mean(dim=0) for label in classes])  # (C, C)
    first, second = torch.triu_indices(len(WORDS), len(WORDS), 1)
    return float(spearmanr((gates @ gates.T)[first, second], (taken + taken.T)[first, second]).statistic)


def arm(note: str, **config: Any) -> Arm:
    """An arm with as many trials as any other."""
    return Arm(function=partial(outcome, config=config), search=SEARCH, note=note)


def accurate(name: str, statement: str, method: str, baseline: str, **more: Any) -> Question:
    """A question to the accuracy of neighbours."""
    because = "a point is five of the test rows, and what the paper's variants differ by"
    return Question(name, statement, method, baseline, KNN, smallest=1.0, because=because, **more)


CLAIM = Claim(
    slug="hydra_pairs",
    kind_of_data="composed",
    paper="Any two classes can be positives of each other, where a filter opens to every pair the dimensions in which "
    "they are alike; the features are as good as those of supervised contrast and collapse less.",
    arms={
        "filter, arbitrary": arm("squared gates"),
        "filter, arbitrary, subspace": arm("cosine of what is open", similarity="subspace"),
        "filter, identical": arm("the partner is the own class", partner="identical"),
        "no filter, arbitrary": arm("supervised contrast with arbitrary pairs", gate="open"),
        "no filter, identical": arm("supervised contrast", **SUPERVISED),
        "untrained": Arm(function=partial(outcome, config={}, epochs=0), note="random weights"),
        "digits alone": Arm(
            function=partial(outcome, config=SUPERVISED, loud=0.0),
            settings_of="no filter, identical",
            note="supervised contrast without the other digits",
        ),
    },
    seeds=10,
    headline=True,
    scales={KNN: Scale("untrained", "digits alone"), RANK: Scale(1.0, 64.0), GATES: Scale(0.0, 1.0)},
    tune=Tuning(trials=6, seeds=(100, 101), metric=KNN),
    questions=[
        accurate(
            "filter",
            "With arbitrary partners, neighbours are more accurate by at least 8 points with the filter than without.",
            "filter, arbitrary",
            "no filter, arbitrary",
            margin=8.0,
        ),
        accurate(
            "filter, subspace",
            "So they are where similarity is the cosine of what is open.",
            "filter, arbitrary, subspace",
            "no filter, arbitrary",
            margin=8.0,
        ),
        accurate(
            "cost of arbitrary pairs",
            "With the filter, arbitrary partners are as good as supervised contrast.",
            "filter, arbitrary",
            "no filter, identical",
            expects="equivalent",
        ),
        accurate(
            "filter, identical",
            "With the own class as partner the filter does not matter.",
            "filter, identical",
            "no filter, identical",
            expects="equivalent",
        ),
        Question(
            "rank",
            "The vectors of arbitrary pairs have a higher effective rank than those of supervised contrast.",
            "filter, arbitrary",
            "no filter, identical",
            RANK,
            unit="dimensions",
            smallest=1.0,
            because="one dimension of sixty-four",
        ),
        Question(
            "relations",
            "Gates of classes that are often taken for each other are alike.",
            "filter, arbitrary",
            0.0,
            GATES,
            unit="rank correlation",
            smallest=0.1,
            because="a tenth says which of ten classes are alike hardly better than chance",
        ),
    ],
    tuning="Temperature and learning rate were searched for in as many trials for each arm. Network, batch and length "
    "are the same for all.",
)
