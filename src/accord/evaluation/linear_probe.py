"""Linear probe: multinomial logistic regression on frozen embeddings, by L-BFGS in torch.

The objective is ``mean cross-entropy + ||W||² / (2 C N)``, so that C means what it means in scikit-learn. C
is chosen on an inner validation part of the training rows (whole groups), then the probe is fitted on all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from accord.errors import ShapeError
from accord.evaluation.classification import check_same_classes, given_labels, group_rows, label_metrics, scored_rows
from accord.evaluation.embedder import Embedder, check_finite
from accord.evaluation.metric import Metric
from accord.evaluation.needs import main_modality

if TYPE_CHECKING:
    from accord.data.corpus import Corpus

FEW = 1 << 25  # multiplications of a pass over the rows, up to which one thread is as fast as several
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)  # C, weakest fit first


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe.

    Args:
        weight: ``(D, C)``.
        bias: ``(C,)``.
        mean: ``(D,)`` subtracted from the embeddings.
        scale: what they are then divided by.
        strength: the chosen C.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: float
    strength: float

    def logits(self, embeddings: Tensor) -> Tensor:
        """Logits ``(N, C)`` of ``(N, D)`` embeddings."""
        return (embeddings.float() - self.mean) / self.scale @ self.weight + self.bias


def fit_probe(
    embeddings: Tensor,
    labels: ArrayLike,
    num_classes: int | None = None,
    strengths: Sequence[float] = STRENGTHS,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> LinearProbe:
    """Fit a linear probe, choosing C on held-out training groups.

    Args:
        embeddings: ``(N, D)``.
        labels: ``(N,)`` classes or ``(N, C)`` multi-hot.
        num_classes: C for class labels; None takes the largest label.
        strengths: values of C to choose from; one value is used as it is.
        groups: ``(N,)`` rows of equal value stay together in the inner split.
        seed: seed of the inner split.

    Raises:
        ShapeError: sizes disagree.
        DataError: embeddings are not finite.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> fit_probe(points, [0, 0, 1, 1], strengths=(1.0,)).logits(points).argmax(dim=1)
        tensor([0, 0, 1, 1])
    """
    target = torch.as_tensor(np.asarray(labels))
    if embeddings.ndim != 2 or len(embeddings) != len(target):
        raise ShapeError(f"embeddings: shape {tuple(embeddings.shape)} for {len(target)} labels; expected (N, D)")
    check_finite("embeddings", embeddings)
    count = target.shape[1] if target.ndim == 2 else num_classes or int(target.max()) + 1
    mean = embeddings.float().mean(dim=0)
    scale = float((embeddings - mean).norm(dim=1).mean().clamp_min(1e-12)) / embeddings.shape[1] ** 0.5
    x = (embeddings.float() - mean) / scale
    strength = _choose(x, target, count, strengths, groups, seed) if len(strengths) > 1 else strengths[0]
    weight, bias = _fit(x, target, count, strength)
    return LinearProbe(weight, bias, mean, scale, strength)


def evaluate_linear_probe(
    model: Embedder, corpus: Corpus, reference: Corpus, modality: str | None = None, seed: int = 0
) -> list[Metric]:
    """Fit a probe on ``reference`` and score it on ``corpus``.

    Args:
        model: embeds ``modality``; it is not trained.
        corpus: labelled; scored, against the hidden truth where it is known.
        reference: labelled with the same classes; fitted on, with its given labels.
        modality: what is embedded; None for what the model looks at.
        seed: seed of the inner split that chooses C.

    Raises:
        DataError: labels are missing, the reference is empty, or the two corpora have different classes.
    """
    check_same_classes(corpus, reference)
    modality = modality or main_modality(model, corpus)
    corpus, reference = corpus.having(modality), reference.having(modality)
    rows, labels = scored_rows(corpus)
    targets = given_labels(reference)
    known = np.flatnonzero(targets >= 0) if targets.ndim == 1 else np.arange(len(targets))
    probe = fit_probe(
        model.embed_corpus(reference, modality)[torch.from_numpy(known)],
        targets[known],
        len(reference.classes),
        groups=group_rows(reference, known),
        seed=seed,
    )
    logits = probe.logits(model.embed_corpus(corpus, modality)[torch.from_numpy(rows)])
    return label_metrics(logits, labels, corpus.classes, group_rows(corpus, rows))


def _choose(
    x: Tensor, target: Tensor, count: int, strengths: Sequence[float], groups: ArrayLike | None, seed: int
) -> float:
    """The C of least validation loss on a fifth of the groups, each fit started from the one before."""
    names = np.arange(len(x)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    drawn = np.random.default_rng(seed).permutation(int(names.max()) + 1)
    held = torch.from_numpy(np.isin(names, drawn[: max(1, len(drawn) // 5)]))
    if bool(held.all()):
        return strengths[len(strengths) // 2]  # one group only: nothing can be held out
    start, losses = None, []
    for strength in strengths:
        start = _fit(x[~held], target[~held], count, strength, start)
        losses.append(float(_loss(x[held] @ start[0] + start[1], target[held])))
    return strengths[int(np.argmin(losses))]


def _fit(
    x: Tensor, target: Tensor, count: int, strength: float, start: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Minimise the convex objective from ``start`` (zeros when None); weight ``(D, C)`` and bias ``(C,)``."""
    first, second = start or (x.new_zeros(x.shape[1], count), x.new_zeros(count))
    weight, bias = first.clone().requires_grad_(), second.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=200, history_size=20, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        objective = _loss(x @ weight + bias, target) + weight.square().sum() / (2 * strength * len(x))
        objective.backward()
        return objective

    with torch.enable_grad(), _threads_for(x.numel() * count):
        optimiser.step(closure)
    return weight.detach(), bias.detach()


@contextmanager
def _threads_for(multiplications: int) -> Iterator[None]:
    """One thread for little work: on busy cores thousands of tiny steps would wait for threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if multiplications <= FEW else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _loss(logits: Tensor, target: Tensor) -> Tensor:
    if target.ndim == 1:
        return F.cross_entropy(logits, target.long())
    # Summed over classes, so that each class is an independent logistic regression.
    return F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none").sum(dim=1).mean()
