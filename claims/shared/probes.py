"""Probes of embeddings: how accurate a classifier is that a few labels of each class teach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from accord.claims import Question
from accord.data.corpus import Corpus
from accord.evaluation.embedder import Embedder
from accord.evaluation.few_labels import DRAWS, evaluate_few_labels, few_of_each
from accord.evaluation.linear_probe import fit_probe

if TYPE_CHECKING:
    from shared.digits import Digits

FEW = "accuracy, 10 labels each"


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


def ten_label_accuracy(known: Tensor, asked: Tensor, train: Digits, test: Digits, quick: bool = False) -> float:
    """Accuracy in percent of linear probes that know ten labels of each digit, the mean over ten draws of these.

    Args:
        known: features of the training digits ``(N, D)``.
        asked: features of the test digits ``(M, D)``.
        train: their labels are drawn.
        test: scored.
        quick: draw once, in a smoke run.
    """
    truth, right = torch.from_numpy(test.labels), 0.0
    draws = 1 if quick else DRAWS
    for draw in range(draws):
        chosen = few_of_each(train.labels, 10, draw)
        with torch.inference_mode(False):
            probe = fit_probe(known[torch.from_numpy(chosen)].clone(), train.labels[chosen], 10, strengths=(10.0,))
        right += float((probe.logits(asked).argmax(dim=1) == truth).float().mean())
    return 100 * right / draws


def more_accurate(name: str, statement: str, method: str, baseline: str, **more: Any) -> Question:
    """That one arm is more accurate than another by :func:`ten_label_accuracy`, or, if so expected, as accurate."""
    why = "the paper's gains are one to two points"
    return Question(name, statement, method, baseline, FEW, smallest=1.0, because=why, **more)
