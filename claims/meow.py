"""MEOW on a made graph of papers, whose links say more than their words: do weights, prototypes and contexts help?

1. Negatives weighted by clusterings against equal ones, both without the prototype term. It could fail where clusters
   are not classes.
2. The prototype term on top of the weights.
3. The fine view with what lies along the meta-paths against without; where links lead anywhere, it should not matter.
4. Learned weights (AdaMEOW) against equal ones, and against clusterings; scaled to the mean 1, which bounds the loss,
   they should do as well.

All arms have the same encoder, epochs and rate; the last epoch counts. The floor is the untrained network and what the
words alone give, the ceiling what the making of the graph knows: the probability of each class given words and links.

    accord claims run meow
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from shared.graphs import Vectors, made, papers, unlinked

from accord.claims import Arm, Claim, Measured, Question, Scale
from accord.data.corpus import Corpus
from accord.evaluation.clustering import evaluate_clustering
from accord.evaluation.embedder import Embedder
from accord.evaluation.few_labels import DRAWS, evaluate_few_labels

F1, NMI, ARI = "macro-F1 at 20", "NMI", "ARI"
WEIGHTS = {"method.prototype_weight": 0.0}
UNIFORM = {"method.weights": "uniform", **WEIGHTS}
PLAIN = {"method.contexts": False}
ADAPTIVE: dict[str, Any] = {"name": "adameow", "neighbours": 30, "temperature": 0.4}
MEAN_ONE = {**ADAPTIVE, "normalize_weights": True}


def measure(model: Embedder, train: Corpus, test: Corpus, quick: bool = False) -> Mapping[str, float]:
    """Macro-F1 from 20 labels of each class, the mean over ten draws of them; NMI and ARI of k-means."""
    few = evaluate_few_labels(model, test, train, "graph", per_class=(20,), draws=1 if quick else DRAWS)
    clusters = evaluate_clustering(model, test, "graph")
    return {metric.name: metric.value for metric in [*few, *clusters] if metric.name in (F1, NMI, ARI)}


def words(seed: int) -> Measured:
    """Words alone: square roots of their counts."""
    return Measured(measure(Vectors(torch.from_numpy(made(seed).words).sqrt()), *papers(seed)), 0, 0)


def known(seed: int) -> Measured:
    """What the making knows: the square roots of the classes' probabilities."""
    chances = torch.from_numpy(made(seed).likely).softmax(dim=1)
    return Measured(measure(Vectors(chances.sqrt()), *papers(seed)), 0, 0)


def question(name: str, statement: str, method: str, baseline: str, metric: str, **more: Any) -> Question:
    """One comparison of two arms."""
    why = "the paper's gains are one to two points"
    return Question(name, statement, method, baseline, metric, smallest=1.0, because=why, **more)


ENDS = Scale(("untrained", "words"), "known")
CLAIM = Claim(
    slug="meow",
    paper="Negatives that clusterings part count more, a prototype term and what lies along meta-paths give better "
    "node embeddings than plain contrast on the same graph.",
    kind_of_data="synthetic",
    data=papers,
    run={
        "method": {
            "name": "meow",
            "neighbours": 30,
            "temperature": 0.4,
            "clusters": [22, 69],
            "cluster_every": 5,
            "patience": 0,
        },
        "training": {"epochs": 200, "lr": 7e-4, "batch_size": 1, "accelerator": "cpu"},
    },
    arms={
        "MEOW": Arm(),
        "weights": Arm(WEIGHTS, note="no prototype term"),
        "uniform": Arm(UNIFORM, note="plain InfoNCE"),
        "weights, no contexts": Arm({**WEIGHTS, **PLAIN}),
        "MEOW, no contexts": Arm(PLAIN),
        "AdaMEOW": Arm({"method": ADAPTIVE}),
        "AdaMEOW, weights of mean 1": Arm({"method": MEAN_ONE}),
        "weights, links at random": Arm(WEIGHTS, data=unlinked),
        "weights, no contexts, links at random": Arm({**WEIGHTS, **PLAIN}, data=unlinked),
        "untrained": Arm(untrained=True),
        "words": Arm(function=words, note="square roots of their counts"),
        "known": Arm(function=known, note="probabilities of the classes by how the graph was made"),
    },
    measure=measure,
    scales={F1: ENDS, NMI: ENDS, ARI: ENDS},
    questions=[
        question(
            "weights, classification",
            "Weighted negatives classify better from 20 labels.",
            "weights",
            "uniform",
            F1,
        ),
        question(
            "weights, clusters",
            "Weighted negatives give clusters closer to the classes.",
            "weights",
            "uniform",
            NMI,
        ),
        question("prototypes", "The prototype term improves the clusters.", "MEOW", "weights", NMI),
        question(
            "prototypes, ARI",
            "The prototype term improves the clusters, by ARI.",
            "MEOW",
            "weights",
            ARI,
        ),
        question(
            "contexts",
            "What lies along the meta-paths helps to classify.",
            "weights",
            "weights, no contexts",
            F1,
        ),
        question(
            "contexts, with prototypes",
            "What lies along the meta-paths helps the whole method.",
            "MEOW",
            "MEOW, no contexts",
            F1,
        ),
        question(
            "contexts, links at random",
            "Where links lead anywhere, what lies along the meta-paths does not help to classify.",
            "weights, links at random",
            "weights, no contexts, links at random",
            F1,
            expects="equivalent",
            scale="links at random have floor and ceiling of their own, which were not measured",
        ),
        question("MEOW against plain contrast", "The whole method classifies better.", "MEOW", "uniform", F1),
        question(
            "MEOW against words",
            "The whole method classifies better than the words of the papers.",
            "MEOW",
            "words",
            F1,
            equal="nothing",
        ),
        question(
            "learned weights",
            "Learned weights classify better than equal ones.",
            "AdaMEOW",
            "uniform",
            F1,
        ),
        question(
            "learned weights against clusterings",
            "Learned weights classify better than clusterings.",
            "AdaMEOW",
            "MEOW",
            F1,
        ),
        question(
            "bounded weights",
            "Weights of mean 1 do as well as the unbounded ones.",
            "AdaMEOW, weights of mean 1",
            "AdaMEOW",
            F1,
            expects="equivalent",
        ),
    ],
    seeds=6,
    tuning="The graph was chosen on seed 100, which the record leaves out, among five by how far the untrained network "
    "and plain contrast lie below the ceiling; temperature .4, where weights matter, and one rate and length for all. "
    "Two other settings of AdaMEOW, looked at there, did no better.",
)
