"""MEOW on packages of Debian, linked by maintainers and dependencies: do weights, prototypes and contexts help?

1. Negatives weighted by clusterings against equal ones, both without the prototype term. It could fail where clusters
   are not classes: here a cluster is as likely a team of maintainers as a section.
2. The prototype term on top of the weights.
3. The fine view with what lies along the meta-paths against without.
4. Learned weights (AdaMEOW) against equal ones, and against clusterings.

All arms have the same encoder, epochs and learning rate; the last epoch counts. Tags are left out of the graph since
they nearly name the section.

    accord claims run meow
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.graphs import packages
from shared.interest import POINT

from accord.claims import Arm, Claim, Question
from accord.data.corpus import Corpus
from accord.evaluation.clustering import evaluate_clustering
from accord.evaluation.few_labels import evaluate_few_labels
from accord.training.artifact import Model

F1, NMI, ARI = "macro-F1 at 20", "NMI", "ARI"
WEIGHTS = {"method.prototype_weight": 0.0}
UNIFORM = {"method.weights": "uniform", **WEIGHTS}
ADAPTIVE = {
    "method": {"name": "adameow", "metapaths": [], "neighbours": 50, "temperature": 0.4},
}


def measure(model: Model, train: Corpus, test: Corpus) -> Mapping[str, float]:
    """Macro-F1 from 20 labels of each section, NMI and ARI of k-means."""
    few = evaluate_few_labels(model, test, train, "graph", per_class=(20,))
    clusters = evaluate_clustering(model, test, "graph")
    return {metric.name: metric.value for metric in [*few, *clusters]}


def question(name: str, statement: str, method: str, baseline: str, metric: str) -> Question:
    """One comparison of two arms."""
    return Question(name, statement, method=method, baseline=baseline, metric=metric, **POINT)


CLAIM = Claim(
    slug="meow",
    kind_of_data="real",
    paper="Negatives that clusterings part count more, a prototype term and what lies along meta-paths give better "
    "node embeddings than plain contrast on the same graph.",
    data=packages,
    run={
        "method": {
            "name": "meow",
            "neighbours": 50,
            "temperature": 0.4,
            "clusters": [60, 200],
            "cluster_every": 2,
            "patience": 0,
        },
        "training": {"epochs": 60, "lr": 2e-3, "batch_size": 1, "accelerator": "cpu"},
    },
    arms={
        "MEOW": Arm(),
        "weights": Arm(WEIGHTS, note="no prototype term"),
        "uniform": Arm(UNIFORM, note="plain InfoNCE"),
        "weights, no contexts": Arm({**WEIGHTS, "method.contexts": False}),
        "MEOW, no contexts": Arm({"method.contexts": False}),
        "AdaMEOW": Arm(ADAPTIVE),
        "AdaMEOW, weights of mean 1": Arm({"method": {**ADAPTIVE["method"], "normalize_weights": True}}),
    },
    measure=measure,
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
        question("MEOW against plain contrast", "The whole method classifies better.", "MEOW", "uniform", F1),
        question(
            "learned weights",
            "Learned weights classify better than equal ones.",
            "AdaMEOW",
            "uniform",
            F1,
        ),
        question(
            "learned weights against clusterings",
            "Learned weights are at least as good as clusterings.",
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
        ),
    ],
    tuning="Nothing was tuned: temperature .4, where weights matter, and one learning rate for all arms.",
)
