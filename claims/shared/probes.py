"""Probes of embeddings: how accurate a classifier is that a few labels of each class teach."""

from __future__ import annotations

from accord.data.corpus import Corpus
from accord.evaluation.embedder import Embedder
from accord.evaluation.few_labels import DRAWS, evaluate_few_labels


def few_label_accuracy(model: Embedder, train: Corpus, test: Corpus, per_class: int = 10, quick: bool = False) -> float:
    """Accuracy in percent of linear probes on so many labels of each class, the mean over ten draws of the labels.

    Which ten rows of a class are drawn moves a single probe by more than most methods do.

    Args:
        model: embeds pictures.
        train: the labels are drawn from it.
        test: scored.
        per_class: labels of each class.
        quick: draw once, in a smoke run.
    """
    draws = 1 if quick else DRAWS
    metrics = evaluate_few_labels(model, test, train, "image", per_class=(per_class,), draws=draws)
    return next(metric.value for metric in metrics if metric.name == f"micro-F1 at {per_class}")
